"""These tests fuse models for inference. They compare the outputs with those before, and count what was folded."""

import re
from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.models.fuse import fuse
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights.checkpoint import read_checkpoint
from econvnext_mmdet.weights.loading import prepare_state

from .test_detectors import random_statistics

BACKBONE = dict(type='EConvNeXt', arch='mini', widen_factor=0.25, deepen_factor=0.34, out_indices=(1, 2, 3))
NECK = dict(type='FPN', in_channels=[48, 96, 192], out_channels=16, num_outs=5)


class Detector(BaseModule):
    """A backbone and what follows it, under the names that MMDetection gives them."""

    def __init__(self, backbone: dict, neck: dict, head: dict | None = None):
        super().__init__()
        self.backbone, self.neck = MODELS.build(backbone), MODELS.build(neck)
        self.head = MODELS.build(head) if head else nn.Identity()

    def forward(self, image):
        outs = self.head(self.neck(self.backbone(image)))
        return [out for group in outs for out in (group if isinstance(group, list) else [group])]


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules()


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def norms_of(model):
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize('arch, folded', [('mini', 52), ('tiny', 55), ('small', 91)])
def test_every_norm_inside_a_backbone_is_folded(arch, folded):
    model = random_statistics(EConvNeXt(arch, widen_factor=0.25, norm_output=False))
    assert len(norms_of(model)) == folded
    image = torch.rand(2, 3, 64, 96, dtype=torch.double)
    with torch.no_grad():
        expected = model(image)
        assert_same(fuse(model)(image), expected)
    assert norms_of(model) == []


def test_float32_maps_stay_equal_to_1e_5():
    model = random_statistics(EConvNeXt('mini')).float()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(image)
        found = fuse(model)(image)
    for ours, theirs in zip(found, expected):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize(
    'neck, out_indices, left',
    [
        (dict(), (1, 2, 3), []),
        (dict(add_extra_convs='on_output'), (1, 2, 3), []),
        # The extra levels read the backbone's last map, besides the lateral convolution.
        (dict(add_extra_convs='on_input'), (1, 2, 3), ['backbone.norm3']),
        (dict(add_extra_convs='on_input', num_outs=3), (1, 2, 3), []),
        # A neck that does not read the first or the last map: the maps of the backbone stay normalised.
        (dict(in_channels=[24, 48, 96, 192], start_level=1), (0, 1, 2, 3), ['backbone.norm0']),
        (dict(end_level=1, num_outs=2), (1, 2, 3), ['backbone.norm3']),
        (dict(norm_cfg=dict(type='BN')), (1, 2, 3), []),
        (dict(norm_cfg=dict(type='BN'), no_norm_on_lateral=True), (1, 2, 3), []),
        (dict(norm_cfg=dict(type='GN', num_groups=4)), (1, 2, 3), []),
    ],
)
def test_an_fpn_takes_in_the_output_norms_that_only_its_lateral_convolutions_read(neck, out_indices, left):
    model = random_statistics(Detector({**BACKBONE, 'out_indices': out_indices}, {**NECK, **neck}))
    image = torch.rand(2, 3, 96, 64, dtype=torch.double)
    with torch.no_grad():
        expected = model(image)
        assert_same(fuse(fuse(model))(image), expected)
    assert norms_of(model) == left


@pytest.mark.parametrize(
    'backbone, neck',
    [
        (dict(type='ResNet', depth=18, out_indices=(1, 2, 3)), dict(NECK, in_channels=[128, 256, 512])),
        (dict(type='ResNet', depth=18, out_indices=(0, 1, 2)), dict(NECK, in_channels=[64, 128, 256])),
        (BACKBONE, dict(type='PAFPN', in_channels=[48, 96, 192], out_channels=16, num_outs=4)),
    ],
)
def test_other_backbones_and_necks_keep_their_outputs(backbone, neck):
    model = random_statistics(Detector(backbone, neck))
    image = torch.rand(1, 3, 64, 96, dtype=torch.double)
    with torch.no_grad():
        expected = model(image)
        assert_same(fuse(model)(image), expected)


def test_a_convolution_that_levels_share_gets_the_norm_of_each_level():
    head = dict(
        type='RTMDetSepBNHead',
        num_classes=3,
        in_channels=16,
        feat_channels=16,
        stacked_convs=2,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
    )
    model = random_statistics(Detector(BACKBONE, dict(NECK, num_outs=3), head))
    first, second = (model.head.cls_convs[level][0] for level in (0, 1))
    assert first.conv is second.conv and first.bn is not second.bn
    image = torch.rand(1, 3, 64, 96, dtype=torch.double)
    with torch.no_grad():
        expected = model(image)
        assert_same(fuse(model)(image), expected)
    assert norms_of(model) == []


def test_a_fused_model_refuses_to_be_trained_wherever_it_is():
    model = fuse(EConvNeXt('mini', widen_factor=0.25))
    assert not any(module.training for module in model.modules())
    model.eval()
    for whole in (model, deepcopy(model), nn.Sequential(model)):
        with pytest.raises(UserError, match='fused for inference.*cannot be trained'):
            whole.train()


@pytest.mark.parametrize('part', ['whole', 'backbone'])
@pytest.mark.parametrize('extension', ['.pth', '.safetensors'])
def test_the_checkpoint_of_a_fused_model_is_refused_by_name(tmp_path, part, extension):
    model = Detector(BACKBONE, NECK)
    plain = deepcopy(model)
    fuse(model if part == 'whole' else model.backbone)
    path = str(tmp_path / f'fused{extension}')
    if extension == '.pth':
        torch.save(dict(state_dict=model.state_dict()), path)
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    message = re.escape(path) + '.*is the checkpoint of a fused model'
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)
    for allow_partial in (False, True):
        with pytest.raises(UserError, match=message):
            prepare_state(plain, CheckpointLoader.load_checkpoint(path), path, allow_partial=allow_partial)
    backbone = MODELS.build(dict(BACKBONE, init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.')))
    with pytest.raises(UserError, match=message):
        backbone.init_weights()
