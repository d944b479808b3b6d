import pytest
import torch
from mmdet.registry import MODELS

from econvnext_mmdet.benchmarks import complexity
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, count_convolutions, options


def test_counts_of_a_detector_match_a_count_by_hand(shapes, tmp_path):
    """The count by hand adds up what the hooks of all convolutions see."""
    cfg = load_config(DEMO, options(shapes, tmp_path / 'work'))
    detector, backbone = complexity.count_model(cfg, (64, 64))
    model = MODELS.build(cfg.model).eval()
    macs = count_convolutions(model)
    model(torch.zeros(1, 3, 64, 64), mode='tensor')
    assert detector.macs == sum(macs)
    assert detector.params == sum(p.numel() for p in model.parameters())
    macs.clear()
    model.backbone(torch.zeros(1, 3, 64, 64))
    assert backbone.macs == sum(macs)
    assert backbone.params == sum(p.numel() for p in model.backbone.parameters())


@pytest.mark.parametrize(
    'name, shape',
    [
        ('imagenet/e-convnext-mini_16xb64_in1k', (224, 224)),
        ('retinanet/retinanet_e-convnext-mini_fpn_1x_coco', (800, 1280)),
        ('ppyoloe/ppyoloe-s_e-convnext-mini_36e_coco', (640, 640)),
    ],
)
def test_default_shapes_are_those_that_papers_use(name, shape):
    assert complexity.default_shape(load_config(str(ROOT / 'configs' / f'{name}.py'))) == shape


def test_the_tested_shape_is_padded():
    cfg = load_config(DEMO)
    resize = next(step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    cfg.model.data_preprocessor.pad_size_divisor = 32
    resize.scale = (100, 64)
    assert complexity.tested_shape(cfg) == (64, 128)
    del resize['scale']
    with pytest.raises(UserError, match='the size of the test images is unknown: expected a Resize with a scale'):
        complexity.tested_shape(cfg)


def test_a_size_that_the_model_cannot_process_is_named(shapes, tmp_path):
    cfg = load_config(DEMO, options(shapes, tmp_path / 'work'))
    with pytest.raises(UserError, match='cannot process images of 1 x 2 pixels: RuntimeError: .*Kernel size.*another'):
        complexity.count_model(cfg, (1, 2))


@pytest.mark.parametrize(
    'name, value, says',
    [
        ('model', None, 'the config has no model'),
        ('model', 5, 'model must be a dict with a type; got 5'),
        ('model', {}, 'model must be a dict with a type; got {}'),
        ('test_dataloader', 5, 'test_dataloader must be'),
    ],
)
def test_a_malformed_config_has_no_default_shape(name, value, says):
    cfg = load_config(DEMO)
    cfg[name] = value
    with pytest.raises(UserError, match=says):
        complexity.default_shape(cfg)


@pytest.mark.parametrize('name, value', [('model', None), ('model', 5), ('model', {}), ('default_scope', 5)])
def test_a_malformed_model_is_not_counted(name, value):
    cfg = load_config(DEMO)
    cfg[name] = value
    with pytest.raises(UserError, match=f'{name}.*; got {value}'):
        complexity.count_model(cfg, (64, 64))


@pytest.mark.parametrize('scale, divisor', [('wide', 32), ((1, 2, 3), 32), ((64, 'x'), 32), (64, 0), (64, 'x')])
def test_a_malformed_size_of_the_test_images_is_named(scale, divisor):
    cfg = load_config(DEMO)
    next(step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize').scale = scale
    cfg.model.data_preprocessor.pad_size_divisor = divisor
    with pytest.raises(
        UserError, match='the size of the test images is unknown: the Resize .*; expected whole numbers'
    ):
        complexity.tested_shape(cfg)
