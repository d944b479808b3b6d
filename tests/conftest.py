import functools
import gc
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.fileio import load
from yapf.yapflib.yapf_api import FormatCode

from econvnext_mmdet import EConvNeXt
from econvnext_mmdet.datasets.shapes import make_shapes
from econvnext_mmdet.weights.paddle_names import to_torch_name

from .helpers import DEMO, WIDEN, options, train_with_tool


def pytest_collection_finish():
    """Leave what the modules made out of the garbage collection, which each dataset of MMEngine starts."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def formatted_once():
    """Let yapf format the text of a config once. MMEngine has it formatted ten times in a short training run."""
    kept = {}

    def format_once(text, **options):
        if text not in kept:
            kept[text] = FormatCode(text, **options)
        return kept[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', format_once)
        yield


@pytest.fixture(scope='session', autouse=True)
def metafiles_read_once():
    """Read MMDetection's metafiles once. MMEngine reads all of them for a config that inherits one of MMDetection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.utils.load', functools.cache(load))
        yield


@pytest.fixture(scope='session', params=['mini', 'tiny', 'small'])
def reference(request):
    """A reduced classifier of the reference implementation: its arch, its arrays, and its weights, in float64.

    The names of the weights are those of this package.
    """
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
    return SimpleNamespace(
        arch=arch,
        arrays=arrays,
        state=state,
        paddle_names=[key for key, value in weights.items() if isinstance(value, np.ndarray)],
    )


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A folder with 12 training and 6 validation images of synthetic shapes, 64 x 64."""
    path = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(str(path), num_train=12, num_val=6, size=(64, 64), seed=1)
    return path


@pytest.fixture
def small():
    """A function that builds a reduced backbone: mini with a quarter of its widths and a third of its blocks."""
    return lambda **kwargs: EConvNeXt(**{**dict(arch='mini', widen_factor=0.25, deepen_factor=0.34), **kwargs})


@pytest.fixture(scope='session')
def trained(shapes, tmp_path_factory):
    """The work directory and the output of a short training run of the demo config."""
    work_dir = tmp_path_factory.mktemp('work')
    return train_with_tool(DEMO, work_dir, options(shapes, work_dir))
