"""Reading Paddle's ``.pdparams``, pickles of NumPy arrays, without running anything that such a file may hold."""
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, Dict

import numpy as np

from .errors import UserError


class _DType:
    """Stands for ``numpy.dtype`` while reading: numbers only, with a byte order."""

    def __init__(self, code: Any, *_):
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in 'biuf':
            raise UserError(f'it holds an array of {code!r}, and only arrays of numbers are read')
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _, order, subdtype, names, fields, *_ = state
        if subdtype is not None or names is not None or fields is not None:
            raise UserError('it holds an array of records, and only arrays of numbers are read')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for ``numpy.ndarray`` while reading: its content comes as bytes alone."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, 'F' if fortran else 'C')

    def fill(self, content: bytes, dtype: _DType, shape: tuple, order: str) -> '_Array':
        if not isinstance(content, (bytes, bytearray)):
            raise UserError('it holds an array of objects, and only arrays of numbers are read')
        # In the machine's byte order, as torch wants it, and not on top of read-only bytes.
        array = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)
        self.value = array.astype(array.dtype.newbyteorder('='), order='C')
        return self


def _reconstruct(*_) -> _Array:
    """For ``numpy.core.multiarray._reconstruct``, which makes an empty array; its state follows."""
    return _Array()


def _from_buffer(content: bytes, dtype: _DType, shape: tuple, order: str) -> _Array:
    """For ``numpy.core.numeric._frombuffer``, of pickles of protocol 5."""
    return _Array().fill(content, dtype, shape, order)


def _scalar(dtype: _DType, content: bytes) -> _Array:
    return _Array().fill(content, dtype, (), 'C')


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    """For ``_codecs.encode``, by which protocol 2 holds bytes."""
    return text.encode(encoding)


# All that is called or made; NumPy's names are of before 2.0 and since.
ADMITTED = {
    **{(f'numpy.{core}.multiarray', name): value for core in ('core', '_core')
       for name, value in (('_reconstruct', _reconstruct), ('scalar', _scalar))},
    **{(f'numpy.{core}.numeric', '_frombuffer'): _from_buffer for core in ('core', '_core')},
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _DType,
    ('_codecs', 'encode'): _encode,
    ('builtins', 'bytes'): bytes,
    ('__builtin__', 'bytes'): bytes,  # in protocol 2
    ('collections', 'OrderedDict'): OrderedDict,
}


class _ArrayUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise UserError(f'it asks for {module}.{name}, which is neither an array nor a plain container: nothing of '
                            'it was run. Parameters saved by Paddle ask for no such thing.')
        return ADMITTED[module, name]


def read_pdparams(path: str) -> Dict[str, np.ndarray]:
    """Read the parameters of a ``.pdparams`` file; needs no Paddle.

    Args:
        path (str): A pickle of a dict of NumPy arrays by name, of protocol 2 to 5.

    Returns:
        dict[str, ndarray]: The arrays. Other entries, such as ``StructuredToParameterName@@``, are left out.

    Raises:
        UserError: The file is missing, truncated or no such pickle, or it asks for code: nothing of it is run.
    """
    if zipfile.is_zipfile(path):
        raise UserError(f'{path} is an archive, as PyTorch\'s checkpoints are, and no .pdparams file; a checkpoint of '
                        'PyTorch needs no conversion')
    try:
        with open(path, 'rb') as file:
            content = _ArrayUnpickler(file, encoding='latin1').load()
    except UserError as error:
        raise UserError(f'{path} is refused: {error}') from None
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from None
    except Exception as error:  # an unpickler fails with whatever its opcodes meet
        raise UserError(f'{path} is truncated or no .pdparams file: {type(error).__name__}: {error}') from None
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, not the parameters of a model by name')
    arrays = {name: entry.value for name, entry in content.items() if hasattr(entry, 'value')}
    if not arrays:
        raise UserError(f'{path} holds no arrays by name')
    return arrays
