"""Several processes on one machine, started by the launchers as a user starts them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ..helpers import DEMO, ROOT, as_options, options, tool

pytestmark = pytest.mark.runs


@pytest.fixture
def env():
    """The environment of a launcher: torchrun, one thread for each process, and a port that is free."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'PORT': str(port), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def launch(script, *args, env):
    return subprocess.Popen(
        ['bash', f'tools/{script}', *map(str, args)],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def by_image(path):
    """The scores of each image, and its number of detections."""
    found = {}
    for entry in json.loads(path.read_text()):
        found.setdefault(entry['image_id'], []).append(round(entry['score'], 4))
    return {image: sorted(scores) for image, scores in found.items()}


@pytest.mark.parametrize('processes', [2, 4])
def test_each_image_is_evaluated_once(processes, trained, shapes, tmp_path, env):
    """Six images do not divide into four parts, so that the sampler gives some processes an image twice."""
    args = [DEMO, trained[0] / 'epoch_2.pth']
    more = ['--work-dir', tmp_path / 'work', *as_options(options(shapes, tmp_path / 'work'))]
    status, out, err = tool('tools/test.py', *args, '--out', tmp_path / 'one.json', *more)
    assert status == 0, err
    started = launch('dist_test.sh', *args, processes, '--out', tmp_path / 'all.json', *more, env=env)
    text, _ = started.communicate(timeout=300)
    assert started.returncode == 0, text[-3000:]
    one, several = by_image(tmp_path / 'one.json'), by_image(tmp_path / 'all.json')
    assert Counter({image: len(scores) for image, scores in several.items()}) == Counter(
        {image: len(scores) for image, scores in one.items()}
    )
    for image, scores in one.items():
        assert several[image] == pytest.approx(scores, abs=1e-3)


def test_a_rank_that_dies_ends_the_run_which_can_be_resumed(shapes, tmp_path, env):
    work_dir = tmp_path / 'work'
    changes = {**options(shapes, work_dir), 'train_cfg.max_epochs': 40, 'train_cfg.val_interval': 40}
    args = [DEMO, 2, '--work-dir', work_dir, *as_options(changes)]
    started = launch('dist_train.sh', *args, env=env)
    try:
        _wait_for(work_dir / 'last_checkpoint', started)
        _, victim = _ranks(started.pid)
        os.kill(victim, signal.SIGKILL)
        begin = time.time()
        text, _ = started.communicate(timeout=120)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 1 and time.time() - begin < 60
    assert 'SIGKILL' in text and not _ranks(started.pid)
    saved = int(re.search(r'epoch_(\d+)', (work_dir / 'last_checkpoint').read_text())[1])
    changes['train_cfg.max_epochs'] = changes['train_cfg.val_interval'] = saved + 1
    args = [DEMO, 2, '--work-dir', work_dir, '--resume', *as_options(changes)]
    again = launch('dist_train.sh', *args, env={**env, 'PORT': str(int(env['PORT']) + 1)})
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text[-3000:]
    assert f'Epoch(train) [{saved + 1}]' in text and (work_dir / f'epoch_{saved + 1}.pth').is_file()


def _wait_for(path, process):
    for _ in range(600):
        if path.is_file():
            return
        assert process.poll() is None, process.stdout.read()[-3000:]
        time.sleep(0.2)
    raise AssertionError(f'{path} was not written')


def _ranks(launcher):
    """The process ids of the training processes that a launcher has started, by rank."""
    found = {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            parent = int((folder / 'stat').read_text().rpartition(') ')[2].split()[1])
            variables = dict(item.split('=', 1) for item in (folder / 'environ').read_text().split('\0') if '=' in item)
        except (OSError, ValueError):
            continue
        if parent == launcher and 'RANK' in variables:
            found[int(variables['RANK'])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]
