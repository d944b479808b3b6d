import pytest
import torch
from mmcv.ops import RoIAlign
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from torch import nn

from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model, prefer_channels_last, unscaled_sample, unwrap

from ..helpers import DEMO, ROOT


def test_a_wrapped_model_is_unwrapped(tmp_path):
    model = nn.Linear(2, 2)
    assert unwrap(model) is model
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/init', rank=0, world_size=1)
    try:
        assert unwrap(MMDistributedDataParallel(model)) is model
    finally:
        torch.distributed.destroy_process_group()


def test_a_classifier_gets_the_preprocessor_of_its_config():
    cfg = load_config(str(ROOT / 'configs' / 'imagenet' / 'e-convnext-mini_16xb64_in1k.py'))
    model = build_model(cfg)
    assert model.data_preprocessor.mean.flatten().tolist() == pytest.approx(cfg.data_preprocessor.mean)


@pytest.mark.parametrize(
    'changes, says',
    [
        ({'model.backbone.type': 'EConvNext'}, 'not registered; .*EConvNext is not in'),
        ({'model.backbone.widths': 3}, 'a type an argument that it does not have: .*widths.*; correct the name'),
    ],
)
def test_an_error_in_the_model_is_explained(changes, says):
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(changes)
    with pytest.raises(UserError, match=says):
        build_model(cfg)


def test_an_unscaled_sample_has_one_size_and_a_scale_factor_of_1():
    sample = unscaled_sample((48, 64))
    assert sample.img_shape == sample.ori_shape == sample.batch_input_shape == (48, 64)
    assert sample.scale_factor == (1, 1)


def test_channels_are_last_unless_the_model_has_an_operator_of_mmcv():
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    prefer_channels_last(layers)
    assert layers(torch.zeros(1, 3, 9, 9)).is_contiguous(memory_format=torch.channels_last)
    with_operator = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), RoIAlign(7))
    prefer_channels_last(with_operator)
    assert with_operator[:2](torch.zeros(1, 3, 9, 9)).is_contiguous()


def test_mmcvs_operators_read_maps_with_channels_last_wrongly():
    """The reason why such models keep their layout. If this test fails, MMCV has mended it."""
    features, regions = torch.rand(1, 8, 20, 30), torch.tensor([[0, 1, 2, 15, 17.0]])
    layer = RoIAlign(7, 1.0, 0)
    expected = layer(features, regions)
    assert not torch.allclose(layer(features.to(memory_format=torch.channels_last), regions), expected, atol=0.01)
