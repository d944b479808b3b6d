"""A training run that stopped at the end of an epoch and was resumed equals the undisturbed one, bit by bit."""

import shutil

import pytest
import torch

from econvnext_mmdet.engine.training import train
from econvnext_mmdet.utils.config import load_config

from ..helpers import ROOT, assert_equal, options

DEMOS = ROOT / 'configs' / 'demo'
NARROW = {'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34}
ONE_STAGE = {**NARROW, 'model.neck.in_channels': [48, 96, 192]}
WORKERS = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
EMA = {'custom_hooks': [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.01, priority=49)]}


def states(folder, epoch):
    checkpoint = torch.load(folder / f'epoch_{epoch}.pth', weights_only=False)
    return {
        key: checkpoint[key]
        for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
        if key in checkpoint
    }


def augmented(cfg):
    """Let each image be flipped at random."""
    flips = [step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'RandomFlip']
    assert flips
    for step in flips:
        step.prob = step.prob if isinstance(step.prob, list) else 0.5
    return cfg


@pytest.mark.runs
@pytest.mark.parametrize(
    'name, changes',
    [
        ('retinanet_e-convnext-mini_fpn-96_9e_shapes', {**ONE_STAGE, **WORKERS}),
        ('ppyoloe-s_e-convnext-mini_8e_shapes', {**ONE_STAGE, 'model.train_cfg.initial_epoch': 1}),
        ('yolov10-s_e-convnext-mini_8e_shapes', {**ONE_STAGE, 'model.bbox_head.in_channels': [48, 96, 192]}),
        ('mask-rcnn_e-convnext-mini_fpn-96_6e_shapes', {**NARROW, 'model.neck.in_channels': [24, 48, 96, 192]}),
    ],
)
def test_a_resumed_run_equals_the_undisturbed_one(name, changes, shapes, tmp_path):
    runs = [tmp_path / 'undisturbed', tmp_path / 'resumed']
    for folder in runs:
        if folder.name == 'resumed':
            folder.mkdir()
            shutil.copy(runs[0] / 'epoch_1.pth', folder)
        cfg = load_config(str(DEMOS / f'{name}.py'), {**options(shapes, folder), **EMA, **changes})
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        train(augmented(cfg), resume=None if folder is runs[0] else 'auto')
    assert_equal(*(states(folder, 2) for folder in runs))
