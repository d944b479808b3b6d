"""The harness that kills training runs, in a short form. tests/integration/test_resume.py has each detector."""

import pytest
import torch

from econvnext_mmdet.benchmarks.kill_and_resume import equal, kill_and_resume
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT, as_options, options


@pytest.mark.runs
def test_a_killed_run_ends_like_the_undisturbed_one(shapes, tmp_path):
    changes = options(shapes, tmp_path)
    del changes['work_dir']
    lines = []
    command = [str(ROOT / 'tools' / 'train.py'), DEMO, *as_options(changes)]
    found = kill_and_resume(command, str(tmp_path / 'runs'), kills=2, seed=12, say=lines.append)
    assert found.differing == [] and found.kills == len(found.epochs) == 2
    assert len(lines) == 3 and any('killed after' in line for line in lines)


def test_a_single_bit_is_a_difference():
    state = dict(weight=torch.ones(3), step=[1, 2.0])
    assert equal(state, dict(weight=torch.ones(3), step=[1, 2.0]))
    assert not equal(state, dict(weight=torch.ones(3), step=[1, 2.5]))
    assert not equal(state, dict(weight=torch.ones(3) + 1e-7, step=[1, 2.0]))
    assert not equal(state, dict(weight=torch.ones(3)))


def test_a_run_that_leaves_no_checkpoint_is_not_killed(tmp_path):
    with pytest.raises(UserError, match='the training run left no checkpoint in .*undisturbed. Leave default_hooks'):
        kill_and_resume(['-c', 'pass'], str(tmp_path / 'runs'), kills=9)
