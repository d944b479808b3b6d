"""A damaged state of a training run is refused before it is loaded."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from econvnext_mmdet.engine.resumed import ResumedStateHook
from econvnext_mmdet.utils.errors import UserError


def make(steps=3):
    """A runner and the checkpoint that it writes after some steps."""
    model = nn.Conv2d(3, 4, 1)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1))
    schedulers = [
        LinearLR(wrapper, start_factor=0.1, by_epoch=False, end=2),
        CosineAnnealingLR(wrapper, by_epoch=False, begin=2, end=9),
    ]
    for _ in range(steps):
        wrapper.update_params(model(torch.ones(1, 3, 2, 2)).sum())
        for scheduler in schedulers:
            scheduler.step()
    checkpoint = dict(
        meta=dict(epoch=1, iter=steps),
        message_hub=dict(runtime_info=dict(epoch=0, iter=steps - 1, max_epochs=2, max_iters=9)),
        optimizer=wrapper.state_dict(),
        param_schedulers=[scheduler.state_dict() for scheduler in schedulers],
    )
    runner = SimpleNamespace(_resume=True, _load_from='net.pth', optim_wrapper=wrapper, param_schedulers=schedulers)
    return runner, copy.deepcopy(checkpoint)


def test_the_state_of_a_run_fits_a_new_run():
    runner, _ = make(steps=0)
    ResumedStateHook().after_load_checkpoint(runner, make()[1])


def test_every_scheduler_of_mmengine_can_be_resumed():
    """Some have values that are infinite, lists, or None until the first step."""
    settings = {
        'ConstantLR': {},
        'CosineRestartLR': dict(periods=[2, 3], restart_weights=[1, 0.5], eta_min=0),
        'ExponentialLR': dict(gamma=0.9),
        'MultiStepLR': dict(milestones=[2]),
        'OneCycleLR': dict(eta_max=1.0, total_steps=9),
        'PolyLR': {},
        'ReduceOnPlateauLR': dict(monitor='loss', by_epoch=True),
        'StepLR': dict(step_size=2),
    }
    for name, arguments in settings.items():
        states = []
        for steps in (0, 3):
            runner, checkpoint = make(steps=1)
            scheduler = PARAM_SCHEDULERS.build(dict(type=name, optimizer=runner.optim_wrapper, **arguments))
            for _ in range(steps):
                scheduler.step(*([dict(loss=1.0)] if 'Plateau' in name else []))
            states.append(scheduler)
        runner.param_schedulers = [states[0]]
        ResumedStateHook().after_load_checkpoint(runner, {**checkpoint, 'param_schedulers': [states[1].state_dict()]})


@pytest.mark.parametrize(
    'part, key, value, says',
    [
        ('message_hub.runtime_info', 'epoch', 'x', "its epoch is 'x', and a whole number was expected"),
        ('message_hub.runtime_info', 'iter', -5, 'its iter is -5'),
        ('optimizer', 'state', None, 'it has no state of an optimiser'),
        (
            'optimizer.state.0',
            'exp_avg',
            torch.zeros(3),
            'exp_avg of the parameter 0 in its optimiser has another form',
        ),
        ('optimizer.state.1', 'exp_avg_sq', torch.zeros(4, dtype=torch.int64), 'exp_avg_sq of the parameter 1'),
        ('optimizer.state', 7, {}, 'its optimiser has the state of a parameter 7, and the model has 2'),
        ('optimizer.param_groups.0', 'lr', '0.1', "lr of the parameter group 0 of its optimiser is '0.1'"),
        ('optimizer.param_groups.0', 'betas', 5, 'betas of the parameter group 0 of its optimiser is 5'),
        ('', 'param_schedulers', [], 'its schedule has 0 parts, and param_scheduler has 2'),
        ('param_schedulers.1', 'param_name', 'weight_decay', 'part 1 of its schedule is of another kind'),
        ('param_schedulers.1', 'step', 1, 'part 1 of its schedule is of another kind'),
        ('param_schedulers.1', 'base_values', 'x', "part 1 of its schedule has the base_values 'x'"),
        ('param_schedulers.1', 'T_max', 'q', "part 1 of its schedule has the T_max 'q'"),
        ('param_schedulers.0', 'last_step', -3, 'part 0 of its schedule has the last_step -3'),
    ],
)
def test_a_state_of_another_form_is_named(part, key, value, says):
    runner, checkpoint = make()
    place = checkpoint
    for name in filter(None, part.split('.')):
        place = place[int(name) if name.isdecimal() else name]
    place[key] = value
    with pytest.raises(UserError, match=f'net.pth cannot be resumed: .*{says}'):
        ResumedStateHook().after_load_checkpoint(runner, checkpoint)
    runner._resume = False  # load_from takes only the weights
    ResumedStateHook().after_load_checkpoint(runner, checkpoint)
