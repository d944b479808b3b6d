from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from econvnext_mmdet.deploy.agreement import check_images
from econvnext_mmdet.deploy.export import ExportOptions, export
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.model import build_model

from ..helpers import ROOT

CLASSES = ('circle', 'square', 'triangle', 'star')
BACKBONE = {'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34}
DETECTOR = {**BACKBONE, 'model.neck.in_channels': [48, 96, 192]}
# The config of each kind, and the settings that make it narrow.
KINDS = dict(
    retinanet=('demo/retinanet_e-convnext-mini_fpn-96_9e_shapes', {**DETECTOR, 'model.test_cfg.score_thr': 0.3}),
    mask_rcnn=(
        'demo/mask-rcnn_e-convnext-mini_fpn-96_6e_shapes',
        {**DETECTOR, 'model.neck.in_channels': [24, 48, 96, 192]},
    ),
    cascade=(
        'cascade_rcnn/cascade-mask-rcnn_e-convnext-small_fpn_1x_coco',
        {
            **BACKBONE,
            'model.backbone.arch': 'mini',
            'model.neck.in_channels': [24, 48, 96, 192],
            'model.test_cfg.rcnn.score_thr': 0.0,
        },
    ),
    ppyoloe=(
        'demo/ppyoloe-s_e-convnext-mini_8e_shapes',
        {**DETECTOR, 'model.neck.out_channels': [48, 96, 192], 'model.bbox_head.in_channels': [48, 96, 192]},
    ),
    yolov10=(
        'demo/yolov10-s_e-convnext-mini_8e_shapes',
        {**DETECTOR, 'model.bbox_head.in_channels': [48, 96, 192]},
    ),
    classifier=('demo/e-convnext-mini_10e_shapes', {**BACKBONE, 'model.head.in_channels': 192}),
)


def spread(model):
    """Give a model statistics and heads as after training. With the initial ones, nearly all scores are equal."""
    for name in ('bbox_head', 'rpn_head', 'roi_head', 'head'):
        for module in getattr(model, name, nn.Identity()).modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_normal_(module.weight, gain=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the next batch
    with torch.no_grad():
        images = model.data_preprocessor(dict(inputs=list(check_images(4, (160, 160)))))['inputs']
        feats = model.train().extract_feat(images)
        if hasattr(model, 'bbox_head'):
            model.bbox_head(feats)
    model.eval()


@pytest.fixture(scope='session')
def built(shapes, tmp_path_factory):
    """A function that makes a narrow model of a kind: its config, and a checkpoint of random weights."""
    made = {}

    def build(kind):
        if kind not in made:
            name, changes = KINDS[kind]
            folder = tmp_path_factory.mktemp(kind)
            cfg = load_config(str(ROOT / 'configs' / f'{name}.py'), {**changes, 'work_dir': str(folder / 'work')})
            if 'demo/' in name and kind != 'classifier':
                for split in ('val', 'test'):
                    cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
                    cfg[f'{split}_dataloader'].dataset.data_root = f'{shapes}/'
                    cfg[f'{split}_evaluator'].ann_file = f'{shapes}/annotations/val.json'
            init_default_scope(cfg.default_scope)
            torch.manual_seed(0)
            model = build_model(cfg)
            model.init_weights()
            spread(model)
            head = getattr(model, 'bbox_head', getattr(model, 'head', None)) or model.roi_head.bbox_head
            number = (head[0] if isinstance(head, nn.ModuleList) else head).num_classes
            classes = CLASSES if number == 4 else tuple(f'class {i}' for i in range(number))
            checkpoint = str(folder / 'net.pth')
            torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), checkpoint)
            made[kind] = SimpleNamespace(cfg=cfg, checkpoint=checkpoint, folder=folder, classes=classes)
        return made[kind]

    return build


@pytest.fixture(scope='session')
def exported(built):
    """A function that exports a narrow model of a kind."""
    made = {}

    def run(kind, **options):
        key = (kind, *options.items())
        if key not in made:
            made[key] = export(built(kind).cfg, built(kind).checkpoint, ExportOptions(threads=1, **options))
        return made[key]

    return run
