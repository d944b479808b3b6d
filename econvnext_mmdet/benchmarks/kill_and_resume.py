"""Kill a training run again and again, and compare its end with that of an undisturbed one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..engine.saving import checkpoints_in, latest_checkpoint
from ..utils.errors import UserError
from ..utils.files import check_new_folder
from ..weights.unpickling import load_pth

STATES = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


class Killed(NamedTuple):
    """What the kills did.

    Attributes:
        kills: The number of kills.
        epochs: The number of epochs of the latest checkpoint after each kill, 0 without one.
        parts: The number of half-written files that the kills left behind. The next run ignores them.
        differing: The names of the states that differ from the undisturbed run. Empty if it is bit-equal.
    """

    kills: int
    epochs: list[int]
    parts: int
    differing: list[str]


def kill_and_resume(
    command: Sequence[str], work_dir: str, kills: int, seed: int = 0, say: Callable[[str], None] = print
) -> Killed:
    """Train once without a disturbance, and once with SIGKILL at random moments and ``--resume`` after each.

    Args:
        command: The training command: tools/train.py with its arguments, but without ``--work-dir`` and ``--resume``.
        work_dir: A new folder for both runs.
        kills: The number of kills.
        seed: The seed of the moments. Defaults to 0.
        say: Gets a line for each run. Defaults to ``print``.

    Returns:
        What was found.

    Raises:
        UserError: The folder exists, or a run that is not killed fails.
    """
    check_new_folder(work_dir)
    whole, broken = Path(work_dir, 'undisturbed'), Path(work_dir, 'killed')
    started = time.monotonic()
    _run(command, whole)
    duration = time.monotonic() - started
    if not checkpoints_in(str(whole)):
        raise UserError(
            f'the training run left no checkpoint in {whole}. Leave default_hooks.checkpoint.out_dir as it is, and '
            'train for at least one epoch.'
        )
    say(f'undisturbed: {duration:.0f} s')
    moments = random.Random(seed)
    epochs: list[int] = []
    parts = 0
    for number in range(1, kills + 1):
        moment = moments.uniform(0, duration)
        finished = _run([*command, '--resume'], broken, moment)
        latest = latest_checkpoint(str(broken))
        epochs.append(load_pth(latest)['meta']['epoch'] if latest else 0)
        parts += len([*broken.glob('.part-*')])
        say(f'{number}: {"finished" if finished else "killed"} after {moment:.1f} s, {epochs[-1]} epochs are kept')
        if finished:  # start over, so that every kill meets a run that trains
            shutil.rmtree(broken)
    _run([*command, '--resume'], broken)
    first, second = (load_pth(checkpoints_in(str(folder))[0]) for folder in (whole, broken))
    differing = [name for name in STATES if not equal(first.get(name), second.get(name))]
    return Killed(kills, epochs, parts, differing)


def equal(first: Any, second: Any) -> bool:
    """Whether two states, which may hold tensors, are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and [*first] == [*second] and equal([*first.values()], [*second.values()])
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


def _run(command: Sequence[str], work_dir: Path, seconds: float | None = None) -> bool:
    """Run a training command, and kill it with its workers after a time. Returns whether it ended by itself."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with open(work_dir / 'output.txt', 'a') as output:
        process = subprocess.Popen(
            [sys.executable, *command, '--work-dir', str(work_dir)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status:
        raise UserError(f'a training run failed with the exit status {status}; see {work_dir}/output.txt')
    return True
