"""Training steps of the configs: gradients, mixed precision, and a process group."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample

from ..helpers import DEMO, ROOT
from .helpers import DETECTORS, train_step, without_gradient

pytestmark = pytest.mark.usefixtures('mmdet_scope')


@pytest.mark.parametrize(
    'name',
    [
        'imagenet/e-convnext-mini_16xb64_in1k.py',
        'demo/retinanet_e_convnext_mini_shapes.py',
        'demo/ppyoloe-s_e-convnext-mini_8e_shapes.py',
        'demo/yolov10-s_e-convnext-mini_8e_shapes.py',
    ],
)
def test_mixed_precision_gives_the_losses_of_float32(name):
    """With autocast as in --amp, but on the CPU in bfloat16, in which an overflow of float16 would not show."""
    cfg = Config.fromfile(ROOT / 'configs' / name)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    if cfg.default_scope == 'mmpretrain':
        model = MMPRETRAIN_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        inputs = dict(
            inputs=torch.rand(4, 3, 64, 64) * 255, data_samples=[DataSample().set_gt_label(i) for i in range(4)]
        )
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


@pytest.mark.parametrize('path', [p for p in DETECTORS if p.parent.name in ('bccd', 'demo')], ids=lambda p: p.stem)
def test_every_parameter_of_the_small_configs_gets_a_gradient(path):
    """Distributed training refuses parameters without a gradient, such as the norm of an output that no neck uses."""
    cfg = Config.fromfile(path)
    head = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    model, loss, _ = train_step(cfg, head.num_classes)
    assert torch.isfinite(loss)
    assert without_gradient(model) == []


@pytest.mark.parametrize(
    'name',
    [
        'retinanet/retinanet_e-convnext-mini_fpn_1x_coco.py',
        'mask_rcnn/mask-rcnn_e-convnext-mini_fpn_1x_coco.py',
        'cascade_rcnn/cascade-mask-rcnn_e-convnext-small_fpn_1x_coco.py',
    ],
)
def test_every_parameter_of_a_detector_with_fpn_gets_a_gradient(name):
    cfg = Config.fromfile(ROOT / 'configs' / name)
    stages = (cfg.model.train_cfg or {}).get('rcnn') or []
    for stage in [stages] if isinstance(stages, dict) else stages:
        stage.sampler.num = 32  # boxes of an image; the 512 of the config take most of the time
    model, _, _ = train_step(cfg)
    assert without_gradient(model) == []


def test_the_demo_trains_in_a_process_group(tmp_path):
    """The model is in MMEngine's wrapper for distributed training, in a group of one process."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        cfg = Config.fromfile(DEMO)
        cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
        cfg.model.neck.in_channels = [48, 96, 192]
        model = MMDistributedDataParallel(MODELS.build(cfg.model))
        for _ in range(2):  # an unused parameter becomes an error in the second forward pass
            data = model.module.data_preprocessor(demo_mm_inputs(1, [[3, 64, 64]], num_classes=4), training=True)
            loss, _ = model.module.parse_losses(model(**data, mode='loss'))
            loss.backward()
    finally:
        torch.distributed.destroy_process_group()
