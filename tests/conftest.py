import pickle
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.shapes import make_shapes
from econvnext_mmdet.paddle_names import to_torch_name

ROOT = Path(__file__).parents[1]
WIDEN = dict(mini=0.25, tiny=0.125, small=0.125)


@pytest.fixture(scope='session', params=['mini', 'tiny', 'small'])
def reference(request):
    """A reduced classifier of the reference: its arch, its arrays, and its weights under our names, in float64."""
    name = Path(__file__).parent / 'data' / 'reference' / f'e_convnext_{request.param}_reduced'
    arrays = {key: torch.from_numpy(value).double() for key, value in np.load(f'{name}.npz').items()}
    with open(f'{name}.pdparams', 'rb') as file:
        weights = pickle.load(file)
    state = {}
    for key, value in weights.items():
        ours = to_torch_name(key) if isinstance(value, np.ndarray) else None
        if ours is not None:
            state[ours] = torch.from_numpy(value.T.copy() if ours == 'head.fc.weight' else value).double()
    arch = dict(arch=request.param, widen_factor=WIDEN[request.param], deepen_factor=0.34)
    return SimpleNamespace(arch=arch, arrays=arrays, state=state, paddle_names=[
        key for key, value in weights.items() if isinstance(value, np.ndarray)])


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A folder with 12 training and 6 validation images of synthetic shapes, 64 x 64."""
    path = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(str(path), num_train=12, num_val=6, size=(64, 64), seed=1)
    return path


def readme_block(mark):
    """The README's one Python block with some text, as it prints it."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)
    block, = (textwrap.dedent(block) for block in blocks if mark in block)
    return block


@pytest.fixture
def small():
    """A small backbone: mini with an eighth of its widths and a third of its blocks."""
    return lambda **kwargs: EConvNeXt(**{**dict(arch='mini', widen_factor=0.25, deepen_factor=0.34), **kwargs})


def options(shapes, work_dir):
    """What makes of the demo config a run of seconds: a narrow backbone, two epochs of three iterations."""
    changes = {
        'work_dir': str(work_dir), 'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 1,
        'model.backbone.widen_factor': 0.25, 'model.backbone.deepen_factor': 0.34,
        'model.neck.in_channels': [48, 96, 192], 'train_dataloader.batch_size': 4, 'default_hooks.logger.interval': 1,
        'model.test_cfg.score_thr': 0.,  # after so short a training all scores are low
    }
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.num_workers'] = 0
        changes[f'{split}_dataloader.persistent_workers'] = False
        changes[f'{split}_dataloader.dataset.data_root'] = f'{shapes}/'
    for split in ('val', 'test'):
        changes[f'{split}_evaluator.ann_file'] = f'{shapes}/annotations/val.json'
    return changes
