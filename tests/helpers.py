"""What several test modules share. Fixtures are in conftest.py."""

import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
DEMO = str(ROOT / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py')
# The widen_factor of the reduced networks of the reference implementation, by arch.
WIDEN = dict(mini=0.25, tiny=0.125, small=0.125)

FORKED = multiprocessing.get_context('forkserver')
FORKED.set_forkserver_preload(['econvnext_mmdet', 'mmdet.apis', 'mmpretrain'])


def assert_agrees(found, expected):
    """Check that the difference is at most 1e-5 of the largest expected magnitude."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_equal(first, second, place=''):
    """Compare two states with all their tensors."""
    assert type(first) is type(second), place
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key, value in first.items():
            assert_equal(value, second[key], f'{place}.{key}')
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), place
        for number, (one, other) in enumerate(zip(first, second)):
            assert_equal(one, other, f'{place}[{number}]')
    else:
        assert first == second, place


# Code that makes modules and packages look as if they were not installed. `{absent!r}` is the list of their names.
HIDE = """
import importlib.util
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {absent!r} or name.partition('.')[0] in {absent!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
find_spec = importlib.util.find_spec
def absent(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = absent
"""


def options(shapes, work_dir):
    """Options that turn the demo config into a run of a few seconds: a narrow backbone, two epochs of three steps."""
    changes = {
        'work_dir': str(work_dir),
        'train_cfg.max_epochs': 2,
        'train_cfg.val_interval': 1,
        'model.backbone.widen_factor': 0.25,
        'model.backbone.deepen_factor': 0.34,
        'model.neck.in_channels': [48, 96, 192],
        'train_dataloader.batch_size': 4,
        'default_hooks.logger.interval': 1,
        'model.test_cfg.score_thr': 0.0,  # after so few steps all scores are low
    }
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.num_workers'] = 0
        changes[f'{split}_dataloader.persistent_workers'] = False
        changes[f'{split}_dataloader.dataset.data_root'] = f'{shapes}/'
    for split in ('val', 'test'):
        changes[f'{split}_evaluator.ann_file'] = f'{shapes}/annotations/val.json'
    return changes


def as_options(changes):
    """Changes to a config, as command-line arguments."""
    values = (f'{key}={json.dumps(value) if isinstance(value, list) else value}' for key, value in changes.items())
    return ['--cfg-options', *(value.replace(' ', '') for value in values)]


def tool(*args, **kwargs):
    """Run a tool as a user does, and return its exit status, stdout and stderr.

    It runs in a fork of a process that has imported the libraries and done nothing else, because importing takes longer
    than most tests. With options of ``subprocess.run``, it runs in a process of its own.
    """
    args = [str(arg) for arg in args]
    if kwargs:
        done = subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, **kwargs)
        return done.returncode, done.stdout, done.stderr
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        process = FORKED.Process(target=_run_tool, args=(args, dict(os.environ), out, err))
        process.start()
        process.join()
        return process.exitcode, out.read_text(), err.read_text()


def _run_tool(args, environment, out, err):
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        with open(path, 'wb') as file:
            os.dup2(file.fileno(), number)
    os.chdir(ROOT)
    sys.argv = args
    runpy.run_path(args[0], run_name='__main__')


def train_with_tool(config, work_dir, changes):
    """Train with tools/train.py, and return the work directory and the output."""
    status, out, err = tool('tools/train.py', config, '--work-dir', work_dir, *as_options(changes))
    assert status == 0, err
    return work_dir, out + err


def count_convolutions(model):
    """A list to which each convolution of a model adds its multiply-adds whenever it runs."""
    macs = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, _, out: macs.append(
                    out.numel() * m.in_channels // m.groups * m.kernel_size[0] * m.kernel_size[1]
                )
            )
    return macs


def page_block(page, mark):
    """The only Python block of a page that contains ``mark``. The page is a path from the root of the project."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.S)
    (block,) = (textwrap.dedent(block) for block in blocks if mark in block)
    return block
