"""Checks of the state from which a training run goes on.

PyTorch and MMEngine take over what a checkpoint holds. A value of another type fails somewhere in the first step, and a
tensor of another size can end the process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from ..utils.errors import UserError
from .config_values import is_number, is_whole

COUNTS = ('epoch', 'iter', 'max_epochs', 'max_iters')


class ResumedStateHook(Hook):
    """Refuses a checkpoint whose optimiser, schedule or counters are not those of the training run that goes on."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the state. MMEngine loads it next.

        Raises:
            UserError: A part of it has another form than that of the run.
        """
        if not runner._resume:
            return
        for problem in _problems(runner, checkpoint):
            raise UserError(
                f'{runner._load_from} cannot be resumed: {problem}. Give an earlier checkpoint, or start a new '
                'training run from its weights with load_from.'
            )


def _problems(runner: Runner, checkpoint: dict) -> Iterator[str]:
    info = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    for name in COUNTS:
        if not is_whole(info.get(name, 0)) or info.get(name, 0) < 0:
            yield f'its {name} is {info[name]!r}, and a whole number was expected'
    wrapper, found = runner.optim_wrapper, checkpoint.get('optimizer')
    if isinstance(wrapper, OptimWrapper) and isinstance(found, dict):
        yield from _problems_of_optimizer(wrapper.optimizer, found)
    schedulers, states = runner.param_schedulers, checkpoint.get('param_schedulers')
    if isinstance(schedulers, list) and isinstance(states, list):
        if len(schedulers) != len(states):
            yield f'its schedule has {len(states)} parts, and param_scheduler has {len(schedulers)}'
        for number, (scheduler, state) in enumerate(zip(schedulers, states)):
            for problem in _problems_of_schedule(scheduler.state_dict(), state):
                yield f'part {number} of its schedule {problem}'


def _problems_of_optimizer(optimizer: Optimizer, found: Mapping) -> Iterator[str]:
    groups, states = found.get('param_groups'), found.get('state')
    if not isinstance(groups, list) or not isinstance(states, dict):
        yield 'it has no state of an optimiser'
        return
    for number, (own, group) in enumerate(zip(optimizer.param_groups, groups)):
        for name, value in own.items():
            if name != 'params' and not _alike(group.get(name, value), value):
                yield f'{name} of the parameter group {number} of its optimiser is {group[name]!r}'
    params = [param for group in optimizer.param_groups for param in group['params']]
    for number, state in states.items():
        if not is_whole(number) or not 0 <= number < len(params):
            yield f'its optimiser has the state of a parameter {number!r}, and the model has {len(params)}'
            continue
        for name, value in state.items():
            right = is_number(value)
            if isinstance(value, Tensor):
                right = value.is_floating_point() and value.shape in ((), params[number].shape)
            if not right:
                yield f'{name} of the parameter {number} in its optimiser has another form than the parameter'


def _problems_of_schedule(own: Mapping, found: Any) -> Iterator[str]:
    if not isinstance(found, dict) or own.keys() != found.keys() or found.get('param_name') != own.get('param_name'):
        yield 'is of another kind than that of param_scheduler'
        return
    for name, value in own.items():
        if not _alike(found[name], value):
            yield f'has the {name} {found[name]!r}'
    if not is_whole(found['last_step']) or found['last_step'] < 0:
        yield f'has the last_step {found["last_step"]!r}'


def _alike(found: Any, expected: Any) -> bool:
    """Whether a value has the type of another one. None stands for a value that is not set."""
    if found is None or expected is None:
        return True
    if isinstance(expected, bool):
        return isinstance(found, bool)
    if isinstance(expected, (int, float)):
        return is_number(found) or found == expected  # some are infinite
    if isinstance(expected, (list, tuple)):
        return isinstance(found, (list, tuple)) and len(found) == len(expected) and all(map(_alike, found, expected))
    return isinstance(found, type(expected))
