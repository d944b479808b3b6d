"""These tests check what is timed, not how long it takes."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.benchmarks import speed
from econvnext_mmdet.benchmarks.complexity import default_shape
from econvnext_mmdet.models.ppyoloe import PPYOLOEHead
from econvnext_mmdet.utils.config import load_config
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, options


def test_models_take_turns_in_the_timing_and_are_folded(monkeypatch):
    cfg = load_config(DEMO, options('data', 'work'))
    seen, folded = [], []
    forward = EConvNeXt.forward
    monkeypatch.setattr(
        EConvNeXt,
        'forward',
        lambda self, x: (seen.append((tuple(x.shape), self.training, torch.is_grad_enabled())), forward(self, x))[1],
    )
    monkeypatch.setattr(EConvNeXt, 'switch_to_deploy', lambda self: folded.append(self), raising=False)
    latencies, device = speed.time_inference([(cfg, (64, 96)), (cfg, (32, 64))], passes=3)
    assert seen == 5 * [((1, 3, 64, 96), False, False), ((1, 3, 32, 64), False, False)]
    assert len(folded) == 2
    assert len(latencies) == 2 and min(latencies) > 0
    if not torch.cuda.is_available():
        assert device.startswith('CPU, ') and f', {torch.get_num_threads()} thread' in device


def test_training_is_timed_at_one_size_and_in_the_longest_phase(monkeypatch):
    """The batches of this config have random sizes, and its first epochs have a different assigner."""
    cfg = load_config(str(ROOT / 'configs' / 'ppyoloe' / 'ppyoloe-s_e-convnext-mini_36e_coco.py'))
    assert default_shape(cfg) == (640, 640)
    cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
    cfg.model.neck.update(in_channels=[48, 96, 192], out_channels=[24, 48, 96])
    cfg.model.bbox_head.in_channels = [24, 48, 96]
    seen = []
    forward = EConvNeXt.forward
    monkeypatch.setattr(EConvNeXt, 'forward', lambda self, x: (seen.append(tuple(x.shape)), forward(self, x))[1])
    monkeypatch.delattr(PPYOLOEHead, 'assign_by_place')
    result = speed.time_training(cfg, (64, 96), batch_size=2, steps=2)
    assert seen == 4 * [(2, 3, 64, 96)] and result.images > 0


@pytest.mark.parametrize('name', ['e-convnext-mini_10e_shapes', 'mask_rcnn_e_convnext_mini_shapes'])
def test_the_speed_of_training_is_the_batch_size_divided_by_the_time_of_a_step(name, monkeypatch):
    """Each step of training moves the clock by half a second."""
    cfg = load_config(str(ROOT / 'configs' / 'demo' / f'{name}.py'))
    cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
    if 'neck' in cfg.model and 'in_channels' in cfg.model.neck:
        cfg.model.neck.in_channels = [24, 48, 96, 192]
    else:
        cfg.model.head.in_channels = 192
    now, sizes = [0.0], []
    step = OptimWrapper.update_params
    monkeypatch.setattr(
        OptimWrapper, 'update_params', lambda *args, **kwargs: (now.append(now[-1] + 0.5), step(*args, **kwargs))
    )
    monkeypatch.setattr(speed.time, 'perf_counter', lambda: now[-1])
    forward = EConvNeXt.forward
    monkeypatch.setattr(EConvNeXt, 'forward', lambda self, x: (sizes.append(tuple(x.shape)), forward(self, x))[1])
    result = speed.time_training(cfg, (64, 96), batch_size=3, steps=4)
    assert result.images == 3 / 0.5 and (result.batch_size, result.shape, result.memory) == (3, (64, 96), None)
    assert sizes == 6 * [(3, 3, 64, 96)]


def test_only_what_timing_needs_must_be_in_a_config(shapes, tmp_path):
    cfg = load_config(DEMO, options(shapes, tmp_path))
    cfg.update(train_cfg=None, train_dataloader=None)
    assert speed.time_training(cfg, (64, 64), batch_size=1, steps=1).batch_size == 1
    with pytest.raises(UserError, match='the config has no train_dataloader.batch_size; give --batch-size'):
        speed.time_training(cfg, (64, 64))
    cfg.optim_wrapper = None
    with pytest.raises(UserError, match='the config has no optim_wrapper'):
        speed.time_training(cfg, (64, 64), batch_size=1)
    cfg.train_dataloader = 5
    with pytest.raises(UserError, match='train_dataloader must be a dict'):
        speed.time_training(cfg, (64, 64))
