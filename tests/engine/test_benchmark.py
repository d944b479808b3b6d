"""The speed of inference: what is timed, not how long it takes."""
import torch

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.complexity import default_shape
from econvnext_mmdet.engine import benchmark
from econvnext_mmdet.engine.run import load_config
from econvnext_mmdet.models.ppyoloe import PPYOLOEHead

from ..conftest import ROOT, options


def test_inference_is_timed_in_turn_and_as_deployed(monkeypatch):
    cfg = load_config(str(ROOT / 'configs/demo/retinanet_e_convnext_mini_shapes.py'), options('data', 'work'))
    seen, folded = [], []
    forward = EConvNeXt.forward
    monkeypatch.setattr(EConvNeXt, 'forward', lambda self, x: (
        seen.append((tuple(x.shape), self.training, torch.is_grad_enabled())), forward(self, x))[1])
    monkeypatch.setattr(EConvNeXt, 'switch_to_deploy', lambda self: folded.append(self), raising=False)
    latencies, device = benchmark.time_inference([(cfg, (64, 96)), (cfg, (32, 64))], runs=3)
    assert seen == 5 * [((1, 3, 64, 96), False, False), ((1, 3, 32, 64), False, False)]
    assert len(folded) == 2
    assert len(latencies) == 2 and min(latencies) > 0
    if not torch.cuda.is_available():
        assert device.startswith('CPU, ') and f', {torch.get_num_threads()} thread' in device


def test_training_is_timed_at_one_size_and_in_the_longest_phase(monkeypatch):
    """Of a config whose batches have random sizes, and whose first epochs have an assigner of their own."""
    cfg = load_config(str(ROOT / 'configs/ppyoloe/ppyoloe-s_e-convnext-mini_36e_coco.py'))
    assert default_shape(cfg) == (640, 640)
    cfg.model.backbone.update(widen_factor=0.25, deepen_factor=0.34)
    cfg.model.neck.update(in_channels=[48, 96, 192], out_channels=[24, 48, 96])
    cfg.model.bbox_head.in_channels = [24, 48, 96]
    seen = []
    forward = EConvNeXt.forward
    monkeypatch.setattr(EConvNeXt, 'forward', lambda self, x: (seen.append(tuple(x.shape)), forward(self, x))[1])
    monkeypatch.delattr(PPYOLOEHead, 'assign_by_place')
    speed = benchmark.time_training(cfg, (64, 96), batch_size=2, steps=2)
    assert seen == 4 * [(2, 3, 64, 96)] and speed.images > 0
