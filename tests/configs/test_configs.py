import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.checks import check_datasets
from econvnext_mmdet.engine import run
from econvnext_mmdet.errors import UserError

from .conftest import ROOT, readme_block

# Those of classifiers are named by their network alone.
CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in path.parts and not path.stem.startswith('e-convnext'))


def small_loss(cfg, num_classes=80):
    """The losses of a batch of two images, with the model's backward pass done."""
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=num_classes, with_mask=model.with_mask)
    data = model.data_preprocessor(inputs, training=True)
    loss, log = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return model, loss, log


@pytest.fixture(autouse=True)
def scope():
    register_all_modules()
    init_default_scope('mmdet')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_each_config_builds_and_says_only_what_differs(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    assert cfg.custom_imports == dict(imports=['econvnext_mmdet'], allow_failed_imports=False) \
        or cfg.custom_imports.imports == ['econvnext_mmdet']
    optimizer = cfg.optim_wrapper
    assert optimizer.optimizer.type == 'AdamW' and optimizer.clip_grad.max_norm > 0
    assert optimizer.paramwise_cfg.norm_decay_mult == optimizer.paramwise_cfg.bias_decay_mult == 0
    assert cfg.auto_scale_lr.base_batch_size > 0
    assert any(s.type == 'LinearLR' and s.start_factor < 1 for s in cfg.param_scheduler)  # the warm-up
    assert cfg.val_evaluator.type == cfg.test_evaluator.type == 'OfficialCocoMetric'
    assert cfg.val_evaluator.metric == (['bbox', 'segm'] if model.with_mask else 'bbox')
    assert model.with_mask == ('mask' in path.stem)
    if '_36e_' in path.stem:
        assert cfg.train_cfg.max_epochs == 36 and optimizer.optimizer.lr == 2e-4
        assert optimizer.optimizer.weight_decay == 5e-4 and cfg.train_dataloader.batch_size == 4
        assert cfg.custom_hooks[0].momentum == (2e-4 if 'ppyoloe' in path.stem else 1e-4)
        augment, = cfg.model.data_preprocessor.batch_augments
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
    elif '_1x_' in path.stem:
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 12


@pytest.mark.parametrize('path', [path for path in CONFIGS if '_36e_' in path.stem], ids=lambda path: path.stem)
def test_data_that_is_missing_is_an_error_that_says_where_it_belongs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = path.stem.rpartition('_')[2].partition('-')[0]
    folder = dict(duo='DUO', ruod='RUOD').get(data, data)
    with pytest.raises(UserError, match=f'no annotation file data/{folder}/.*expected the annotations at .* and the '
                                        f'images in data/{folder}/.*lay the data out so or change data_root'):
        run.train(run.load_config(str(path)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('arch, params', [('mini', 7_658_992), ('tiny', 13_248_520), ('small', 19_427_848)])
def test_the_imagenet_configs_have_the_references_recipe(arch, params):
    cfg = Config.fromfile(ROOT / 'configs' / 'imagenet' / f'e-convnext-{arch}_16xb64_in1k.py')
    init_default_scope('mmpretrain')
    model = MMPRETRAIN_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    assert sum(param.numel() for param in model.parameters()) == params
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.eta_min, cfg.train_cfg.max_epochs) == (20, 20, 300, 1e-6, 300)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 0.05)
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


@pytest.mark.parametrize('name', ['imagenet/e-convnext-mini_16xb64_in1k.py',
                                  'demo/retinanet_e_convnext_mini_shapes.py',
                                  'demo/ppyoloe-s_e-convnext-mini_8e_shapes.py',
                                  'demo/yolov10-s_e-convnext-mini_8e_shapes.py'])
def test_losses_in_mixed_precision_are_those_of_float32(name):
    """As --amp computes them, on the CPU in bfloat16: no step is left without a type or overflows."""
    cfg = Config.fromfile(ROOT / 'configs' / name)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    if cfg.default_scope == 'mmpretrain':
        model = MMPRETRAIN_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        inputs = dict(inputs=torch.rand(4, 3, 64, 64) * 255, data_samples=[
            DataSample().set_gt_label(i) for i in range(4)])
    else:
        model = MODELS.build(cfg.model)
        inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=4)
    model.init_weights()
    data = model.train().data_preprocessor(inputs, training=True)
    expected, _ = model.parse_losses(model(**data, mode='loss'))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert all(param.grad.dtype == torch.float32 and torch.isfinite(param.grad).all() for param in model.parameters())


@pytest.mark.parametrize('path', [p for p in CONFIGS if p.parent.name in ('bccd', 'demo')], ids=lambda p: p.stem)
def test_every_parameter_of_the_small_configs_gets_a_gradient(path):
    """Distributed training refuses parameters without one, as a norm on an output that the neck leaves out."""
    cfg = Config.fromfile(path)
    head = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    model, loss, _ = small_loss(cfg, head.num_classes)
    assert torch.isfinite(loss)
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize('name', ['retinanet/retinanet_e-convnext-mini_fpn_1x_coco.py',
                                  'mask_rcnn/mask-rcnn_e-convnext-mini_fpn_1x_coco.py',
                                  'cascade_rcnn/cascade-mask-rcnn_e-convnext-small_fpn_1x_coco.py'])
def test_every_parameter_of_the_coco_configs_gets_a_gradient(name):
    model, _, _ = small_loss(Config.fromfile(ROOT / 'configs' / name))
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_process_group_trains_it(tmp_path):
    """torch.distributed's wrapper, as mmengine uses it, in a group of one process."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        cfg = Config.fromfile(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')
        cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
        cfg.model.neck.in_channels = [48, 96, 192]
        model = MMDistributedDataParallel(MODELS.build(cfg.model))
        for _ in range(2):  # the second forward pass is where unused parameters are found
            data = model.module.data_preprocessor(demo_mm_inputs(1, [[3, 64, 64]], num_classes=4), training=True)
            loss, _ = model.module.parse_losses(model(**data, mode='loss'))
            loss.backward()
    finally:
        torch.distributed.destroy_process_group()


def test_the_readmes_swap_trains(tmp_path):
    (tmp_path / 'swap.py').write_text(readme_block('faster-rcnn'))
    cfg = Config.fromfile(tmp_path / 'swap.py')
    model, loss, _ = small_loss(cfg)
    assert torch.isfinite(loss) and isinstance(model.backbone, EConvNeXt)
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert build_optim_wrapper(model, cfg.optim_wrapper).optimizer.defaults['weight_decay'] == 0.05


def test_the_readmes_config_for_own_data_is_complete(shapes, tmp_path):
    """With the synthetic shapes in the place of cats and dogs, the checks before training find nothing."""
    text = readme_block('data/mine/').replace("_base_ = '", f"_base_ = '{ROOT}/configs/")
    text = text.replace('data/mine/', f'{shapes}/')
    text = text.replace("('cat', 'dog')", "('circle', 'square', 'triangle', 'star')")
    (tmp_path / 'mine.py').write_text(text.replace('num_classes=2', 'num_classes=4'))
    check_datasets(Config.fromfile(tmp_path / 'mine.py'), ['train', 'val', 'test'])


# MMDetection's own detectors with the README's swap.
BACKBONE = dict(_delete_=True, type='EConvNeXt', arch='mini', widen_factor=0.25, deepen_factor=0.34)


@pytest.mark.parametrize('name, out_indices, changes', [
    ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3), dict(neck=dict(in_channels=[24, 48, 96, 192]))),
    ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', (1, 2, 3),
     dict(neck=dict(in_channels=[48, 96, 192], start_level=0))),
    ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', (1, 2, 3), dict(neck=dict(in_channels=[48, 96, 192]))),
    ('dino/dino-4scale_r50_8xb2-12e_coco.py', (1, 2, 3),
     dict(neck=dict(in_channels=[48, 96, 192]), num_queries=50)),  # images this small have no 900 places to query
])
def test_swap_into_mmdets_detectors(tmp_path, name, out_indices, changes):
    path = tmp_path / 'swap.py'
    model = dict(backbone=dict(BACKBONE, out_indices=out_indices), **changes)
    path.write_text(f"_base_ = 'mmdet::{name}'\ncustom_imports = dict(imports=['econvnext_mmdet'])\n"
                    f'model = {model!r}\n')
    cfg = Config.fromfile(path)
    if 'batch_augments' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.batch_augments = None  # resizes to 640 and more
    model, loss, log = small_loss(cfg)
    assert isinstance(model.backbone, EConvNeXt)
    assert torch.isfinite(loss) and loss > 0
    assert model.backbone.stem[0].conv.weight.grad.abs().sum() > 0
