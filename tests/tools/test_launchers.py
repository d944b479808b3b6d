import os
import subprocess

import pytest

from ..helpers import ROOT


@pytest.mark.parametrize(
    'script, args, expected',
    [
        (
            'dist_train.sh',
            ['c.py', '4', '--amp'],
            'torchrun --nnodes 2 --node_rank 1 --nproc_per_node 4 --master_addr 10.0.0.1 --master_port 29500 '
            'tools/train.py c.py --launcher pytorch --amp',
        ),
        (
            'dist_test.sh',
            ['c.py', 'x.pth', '4', '--out', 'a b.json'],
            'torchrun --nnodes 2 --node_rank 1 --nproc_per_node 4 --master_addr 10.0.0.1 --master_port 29500 '
            'tools/test.py c.py x.pth --launcher pytorch --out a b.json',
        ),
        (
            'slurm_train.sh',
            ['part', 'job', 'c.py', 'work', '--amp'],
            'srun --partition part --job-name job --gres gpu:8 --ntasks 16 --ntasks-per-node 8 --cpus-per-task 5 '
            '--kill-on-bad-exit=1 --exclusive -t 1 python -u tools/train.py c.py --work-dir work --launcher slurm '
            '--amp',
        ),
    ],
)
def test_launchers_start_the_tools(tmp_path, script, args, expected):
    """torchrun and srun are replaced by scripts that print their arguments."""
    for name in ('torchrun', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        (tmp_path / name).chmod(0o755)
    env = {
        **os.environ,
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'NNODES': '2',
        'NODE_RANK': '1',
        'MASTER_ADDR': '10.0.0.1',
        'GPUS': '16',
        'SRUN_ARGS': '--exclusive -t 1',
    }
    done = subprocess.run(['bash', f'tools/{script}', *args], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == expected
    assert subprocess.run(['bash', f'tools/{script}', 'c.py'], cwd=ROOT, capture_output=True).returncode == 2
