"""Every config has the name that its settings give. Detectors and ImageNet classifiers have the documented settings."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import datasets_of, load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import ROOT
from .helpers import DETECTORS, PATHS, epochs_of

pytestmark = pytest.mark.usefixtures('mmdet_scope')

# The names that do not follow the naming rule, and the configs that they stand for.
ENTRY_POINTS = {
    'retinanet_e_convnext': 'retinanet/retinanet_e-convnext-tiny_fpn_1x_coco',
    'mask_rcnn_e_convnext': 'mask_rcnn/mask-rcnn_e-convnext-tiny_fpn_1x_coco',
    'demo/retinanet_e_convnext_mini_shapes': 'demo/retinanet_e-convnext-mini_fpn-96_9e_shapes',
    'demo/mask_rcnn_e_convnext_mini_shapes': 'demo/mask-rcnn_e-convnext-mini_fpn-96_6e_shapes',
}
ALGORITHMS = dict(
    ImageClassifier='',
    RetinaNet='retinanet',
    MaskRCNN='mask-rcnn',
    CascadeRCNN='cascade-mask-rcnn',
    PPYOLOE='ppyoloe-{size}',
    YOLOv10='yolov10-{size}',
)
BACKBONES = {
    'EConvNeXt': 'e-convnext-{arch}',
    'mmpretrain.ConvNeXt': 'convnext-{arch}',
    'ResNet': 'r{depth}',
    'PPYOLOECSPResNet': 'cspresnet',
    'YOLOv10CSPDarknet': 'csp-darknet',
}
DATA = dict(BCCD='bccd', DUO='duo', RUOD='ruod', VOCdevkit='voc0712', imagenet='in1k', shapes_classification='shapes')


def schedule_of(cfg):
    """The schedule field of a config's name."""
    epochs, batch_size = epochs_of(cfg), cfg.train_dataloader.batch_size
    dataset = datasets_of(cfg, 'train')[0]
    steps = {step.type: step for step in dataset.pipeline}
    prefix = 'frozen-' if cfg.model.backbone.get('frozen_stages', -1) >= 0 else ''
    prefix += 'layer-decay-' if cfg.optim_wrapper.get('constructor') == 'LayerDecayOptimWrapperConstructor' else ''
    prefix += 'ms-{}-{}-'.format(*(side for _, side in steps['RandomResize'].scale)) if 'RandomResize' in steps else ''
    prefix += 'ms-crop-' if 'RandomChoice' in steps else ''
    if dataset.data_root.startswith('data/imagenet'):
        average = '-ema' if any(hook.type == 'EMAHook' for hook in cfg.get('custom_hooks') or ()) else ''
        return f'{prefix}{cfg.auto_scale_lr.base_batch_size // batch_size}xb{batch_size}{average}'
    if any(scheduler.type == 'MultiStepLR' for scheduler in cfg.param_scheduler):
        return f'{prefix}{epochs // 12}x'
    return f'{prefix}{epochs}e'


def name_of(cfg):
    """The name that the naming rule gives to a config, from its settings."""
    model, dataset = cfg.model, datasets_of(cfg, 'train')[0]
    algorithm = ALGORITHMS[model.type].format(size='-sml'[model.neck.get('num_blocks', 0)])
    backbone = BACKBONES[model.backbone.type].format(**model.backbone)
    neck = ''
    if model.neck.type == 'FPN':
        neck = 'fpn' if model.neck.out_channels == 256 else f'fpn-{model.neck.out_channels}'
    folder = dataset.data_root.strip('/').rpartition('/')[2]
    data = DATA.get(folder, folder) + ('-equalized' if any(s.type == 'Equalize' for s in dataset.pipeline) else '')
    return '_'.join(field for field in (algorithm, backbone, neck, schedule_of(cfg), data) if field)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_names_follow_the_naming_rule(path):
    """{algorithm}_{backbone}_{neck}_{schedule}_{data}, as configs/README.md explains."""
    name = path.relative_to(ROOT / 'configs').with_suffix('').as_posix()
    target = ENTRY_POINTS.get(name, name)
    assert name_of(Config.fromfile(path)) == target.rpartition('/')[2]


@pytest.mark.parametrize('name', ENTRY_POINTS)
def test_entry_points_change_nothing(name):
    path, target = (ROOT / 'configs' / f'{stem}.py' for stem in (name, ENTRY_POINTS[name]))
    lines = [line for line in path.read_text().splitlines() if not line.startswith('#')]
    assert lines == [f"_base_ = '{target.relative_to(path.parent)}'"]
    assert Config.fromfile(path).to_dict() == Config.fromfile(target).to_dict()


@pytest.mark.parametrize('path', DETECTORS, ids=lambda path: path.stem)
def test_detectors_build_and_have_the_settings_of_their_schedule(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    assert cfg.custom_imports.imports == ['econvnext_mmdet']
    optimizer = cfg.optim_wrapper
    assert optimizer.optimizer.type == 'AdamW' and optimizer.clip_grad.max_norm > 0
    assert optimizer.paramwise_cfg.norm_decay_mult == optimizer.paramwise_cfg.bias_decay_mult == 0
    assert cfg.auto_scale_lr.base_batch_size > 0
    assert any(s.type == 'LinearLR' and s.start_factor < 1 for s in cfg.param_scheduler)  # the warm-up
    if path.stem.endswith('voc0712'):
        assert cfg.val_evaluator == cfg.test_evaluator and cfg.val_evaluator.type == 'VOCMetric'
        assert (cfg.val_evaluator.metric, cfg.val_evaluator.eval_mode) == ('mAP', '11points')
    else:
        assert cfg.val_evaluator.type == cfg.test_evaluator.type == 'OfficialCocoMetric'
        assert cfg.val_evaluator.metric == (['bbox', 'segm'] if model.with_mask else 'bbox')
    assert model.with_mask == ('mask' in path.stem)
    if '_36e_' in path.stem:
        assert cfg.train_cfg.max_epochs == 36 and optimizer.optimizer.lr == 2e-4
        assert optimizer.optimizer.weight_decay == 5e-4 and cfg.train_dataloader.batch_size == 4
        assert cfg.custom_hooks[0].momentum == (2e-4 if 'ppyoloe' in path.stem else 1e-4)
        (augment,) = cfg.model.data_preprocessor.batch_augments
        assert (augment.type, augment.random_size_range) == ('BatchSyncRandomResize', (320, 768))
        assert model.data_preprocessor.pad_size_divisor == 32
        if 'ppyoloe' in path.stem:
            assert model.bbox_head.initial_epoch == 12
    if 'e-convnext' in path.stem or 'e_convnext' in path.stem:
        assert isinstance(model.backbone, EConvNeXt)
        arch = next((a for a in ('mini', 'small') if a in path.stem), 'tiny')
        assert cfg.model.backbone.arch == arch
        assert list(model.backbone.out_channels) == cfg.model.neck.in_channels
    if 'ms-640-800-3x' in path.stem:
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 36
        assert any(t.type == 'RandomResize' for t in cfg.train_dataloader.dataset.pipeline)
    elif 'ms-crop-3x' in path.stem:
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 36
        plain, cut = cfg.train_dataloader.dataset.pipeline[3].transforms
        assert plain[0].scales == cut[-1].scales and cut[1].type == 'RandomCrop'
        assert [min(scale) for scale in plain[0].scales] == list(range(480, 801, 32))
    elif '_1x_' in path.stem or 'frozen-1x' in path.stem:
        assert epochs_of(cfg) == 12 and cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('path', [path for path in DETECTORS if '_36e_' in path.stem], ids=lambda path: path.stem)
def test_missing_data_is_an_error_that_says_where_it_belongs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = path.stem.rpartition('_')[2].partition('-')[0]
    folder = dict(duo='DUO', ruod='RUOD', voc0712='VOCdevkit').get(data, data)
    with pytest.raises(
        UserError,
        match=f'no annotation file data/{folder}/.*expected the annotations at .* and the '
        f'images in data/{folder}/.*arrange the data like this or change data_root',
    ):
        train(load_config(str(path)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('arch, params', [('mini', 7_658_992), ('tiny', 13_248_520), ('small', 19_427_848)])
def test_imagenet_configs_have_the_recipe_of_the_reference(arch, params):
    cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / f'e-convnext-{arch}_16xb64_in1k.py')
    init_default_scope('mmpretrain')
    model = MMPRETRAIN_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    assert sum(param.numel() for param in model.parameters()) == params
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.eta_min, cfg.train_cfg.max_epochs) == (20, 20, 300, 1e-6, 300)
    optimizer = cfg.optim_wrapper.optimizer
    # The reference has a learning rate of 2.5e-4 for 4 GPUs x 64 images.
    assert optimizer.lr / cfg.auto_scale_lr.base_batch_size == pytest.approx(2.5e-4 / (4 * 64))
    assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0.05)
    assert optimizer.betas == (0.9, 0.999)
    assert cfg.auto_scale_lr.base_batch_size == 1024
    transforms = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert transforms['RandomErasing'].erase_prob == 0.25 and transforms['RandomResizedCrop'].interpolation == 'bicubic'
    augment = transforms['RandAugment']
    assert (augment.magnitude_level, augment.magnitude_std, augment.policies) == (9, 0.5, 'timm_increasing')
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, crop.crop_size) == (256, 224)
    images, labels = torch.rand(4, 3, 64, 64), [DataSample().set_gt_label(i) for i in range(4)]
    model.init_weights()
    data = model.data_preprocessor(dict(inputs=images, data_samples=labels), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert all(param.grad is not None for param in model.parameters())
