"""The configs in the pages, and E-ConvNeXt as the backbone of MMDetection's own detectors."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.checks import check_datasets

from ..helpers import ROOT, page_block
from .helpers import train_step, without_gradient

pytestmark = pytest.mark.usefixtures('mmdet_scope')

# A narrow and shallow backbone for fast tests.
BACKBONE = dict(_delete_=True, type='EConvNeXt', arch='mini', widen_factor=0.25, deepen_factor=0.34)


def test_the_config_in_the_readme_gives_a_loss_and_gradients(tmp_path):
    (tmp_path / 'swap.py').write_text(page_block('README.md', 'faster-rcnn'))
    cfg = Config.fromfile(tmp_path / 'swap.py')
    model, loss, _ = train_step(cfg)
    assert torch.isfinite(loss) and isinstance(model.backbone, EConvNeXt)
    assert without_gradient(model) == []
    assert build_optim_wrapper(model, cfg.optim_wrapper).optimizer.defaults['weight_decay'] == 0.05


def test_the_config_for_your_own_data_is_complete(shapes, tmp_path):
    """With the synthetic shapes instead of cats and dogs, the checks before training find no problem."""
    text = page_block('docs/own_data.md', 'data/mine/').replace("_base_ = '", f"_base_ = '{ROOT}/configs/")
    text = text.replace('data/mine/', f'{shapes}/')
    text = text.replace("('cat', 'dog')", "('circle', 'square', 'triangle', 'star')")
    (tmp_path / 'mine.py').write_text(text.replace('num_classes=2', 'num_classes=4'))
    check_datasets(Config.fromfile(tmp_path / 'mine.py'), ['train', 'val', 'test'])


@pytest.mark.parametrize(
    'name, out_indices, changes',
    [
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3), dict(neck=dict(in_channels=[24, 48, 96, 192]))),
        (
            'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
            (1, 2, 3),
            dict(neck=dict(in_channels=[48, 96, 192], start_level=0)),
        ),
        ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', (1, 2, 3), dict(neck=dict(in_channels=[48, 96, 192]))),
        (
            'dino/dino-4scale_r50_8xb2-12e_coco.py',
            (1, 2, 3),
            dict(neck=dict(in_channels=[48, 96, 192]), num_queries=50),  # such small images have fewer than 900 points
        ),
    ],
)
def test_mmdetections_detectors_get_a_loss_and_gradients_with_e_convnext(tmp_path, name, out_indices, changes):
    path = tmp_path / 'swap.py'
    model = dict(backbone=dict(BACKBONE, out_indices=out_indices), **changes)
    path.write_text(
        f"_base_ = 'mmdet::{name}'\ncustom_imports = dict(imports=['econvnext_mmdet'])\nmodel = {model!r}\n"
    )
    cfg = Config.fromfile(path)
    model, loss, log = train_step(cfg)
    assert isinstance(model.backbone, EConvNeXt)
    assert torch.isfinite(loss) and loss > 0
    assert model.backbone.stem[0].conv.weight.grad.abs().sum() > 0
