"""Reading ``.pth`` and ``.pkl`` files without running their code.

A ``.pth`` file is a pickle, and a pickle can call any function. PyTorch's ``weights_only`` mode builds tensors, numbers
and containers, and otherwise only what a list allows.
"""

import codecs
import os
import pickle
import re
import warnings
import zipfile
from typing import Any

import numpy as np
import torch
from mmengine.fileio import PickleHandler, register_handler
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

from ..utils.cli import TRUST, is_trusted
from ..utils.errors import UserError
from ..utils.files import check_no_pipe, one_error, use_plain_yaml


def _statistic(owner: type, name: str) -> Any:
    """What getattr is for in MMEngine's checkpoints: a method of HistoryBuffer, such as its mean.

    With the real getattr, which is on MMEngine's list, a file could reach and change the variables of a module.
    """
    if owner is not HistoryBuffer or not isinstance(name, str) or name.startswith('_'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {getattr(owner, "__name__", owner)}.{name}')
    return getattr(owner, name)


FRAME = str(pickle.FRAME[0])  # the second step of each pickle of protocol 4 or later, which PyTorch does not know
# MMEngine's checkpoints have these besides tensors: the history of each logged value, and NumPy's numbers.
_ARRAY, _SCALAR = (number.__reduce__()[0] for number in (np.empty(0), np.float64(0)))
SAFE = [
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in '?' + np.typecodes['AllInteger'] + np.typecodes['Float']},
    _ARRAY,
    _SCALAR,
    codecs.encode,  # the bytes of an array; PyTorch allows it since 2.6
]
# PyTorch finds a function by these names.
_statistic.__module__, _statistic.__qualname__, _statistic.__name__ = 'builtins', 'getattr', 'getattr'
SAFE.append(_statistic)
if digit_version(torch.__version__) >= digit_version('2.6'):
    # Files of NumPy 1 read with NumPy 2, and the other way round.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        SAFE += [(_ARRAY, f'{module}._reconstruct'), (_SCALAR, f'{module}.scalar')]


def load_pth(path: str, map_location: Any = None) -> Any:
    """Load a local ``.pth`` file without running code in it. MMEngine's loader falls back to running it.

    Code may run if the environment variable in :data:`TRUST` is 1, as ``--trust-checkpoint`` sets it.

    Args:
        path: The file.
        map_location: See ``torch.load``. Defaults to None.

    Raises:
        UserError: The file needs something that is not allowed, is damaged, or is a device or a pipe.
    """
    path = os.path.expanduser(path)
    check_no_pipe(path)
    _check_sums(path)
    torch.serialization.add_safe_globals(SAFE)  # each time, because MMEngine's loader takes its list away again
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Detected pickle protocol')  # the error below says it
            return without_program(torch.load(path, map_location=map_location, weights_only=not is_trusted()))
    except pickle.UnpicklingError as error:
        wanted = re.search(r'GLOBAL (\S+)|[Uu]nsupported (?:class|global|operand) (\S+)', str(error))
        name = wanted and (wanted[1] or wanted[2])
        if name == FRAME:
            reason = 'it is a pickle of protocol 4 or later, which PyTorch reads only together with the code in it'
        elif name is None or name.isdigit():  # not a name, but a step that PyTorch does not know
            raise UserError(
                f'{path} was not loaded: it is damaged, or no program of PyTorch wrote it. Download or copy it again, '
                'or give another file.'
            ) from None
        else:
            reason = f'it asks for {name}, which no tensor needs, and loading it could run a program of its author'
        raise UserError(
            f'{path} was not loaded: {reason}. Get the weights from a source you trust, best as .safetensors. If you '
            f'trust this file, give --trust-checkpoint, or set {TRUST}=1 where there is no such option.'
        ) from None


def without_program(checkpoint: Any) -> Any:
    """A loaded checkpoint without the text that MMEngine runs as a config when training is resumed."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and not is_trusted():
        meta.pop('config', None)
    return checkpoint


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, numbers and containers, and nothing else."""

    ALLOWED = {'numpy.ndarray': np.ndarray, 'numpy.dtype': np.dtype, '_codecs.encode': codecs.encode}
    for module in ('numpy.core', 'numpy._core'):  # of NumPy 1 and of NumPy 2
        ALLOWED[f'{module}.multiarray._reconstruct'] = _ARRAY
        ALLOWED[f'{module}.multiarray.scalar'] = _SCALAR
        ALLOWED[f'{module}.numeric._frombuffer'] = np.empty(1).__reduce_ex__(5)[0]  # in protocol 5

    def find_class(self, module: str, name: str) -> Any:
        found = self.ALLOWED.get(f'{module}.{name}')
        if found is None:
            raise UserError(
                f'it asks for {module}.{name}, which is no array, number or container, and loading it could run a '
                'program of its author. Save the data as JSON. If you trust the author, give --trust-checkpoint, or '
                f'set {TRUST}=1 where there is no such option.'
            )
        return found


class ArrayPickleHandler(PickleHandler):
    """Reads pickled annotations and proposals without running code in them."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        if is_trusted():
            return super().load_from_fileobj(file, **kwargs)
        with one_error('pickled'):
            return _ArrayUnpickler(file, **kwargs).load()


def use_safe_handlers() -> None:
    """Let ``mmengine.load`` run no code in pickled and YAML files. Datasets read annotations and proposals by it."""
    register_handler(['pkl', 'pickle'])(ArrayPickleHandler)
    use_plain_yaml()


def _check_sums(path: str) -> None:
    """Check the checksums in a file. torch.load does not."""
    if not zipfile.is_zipfile(path):
        return  # the format before PyTorch 1.6 has none; a truncated zip file is an error of torch.load
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise UserError(f'{path} is damaged: {error}. Copy or download it again.') from None
    if damaged is not None:
        raise UserError(
            f'{path} is damaged: its part {damaged} does not match the checksum in the file. Copy or download it again.'
        )
