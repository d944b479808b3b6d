import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from torch import nn

from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.model import build_model, unscaled_sample, unwrap

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
