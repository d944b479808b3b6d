"""Reading Paddle's ``.pdparams`` files, which are pickles of NumPy arrays, without running any code in them."""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from typing import Any, Literal

import numpy as np

from ..utils.errors import UserError
from ..utils.files import check_no_pipe


class _DType:
    """Replaces ``numpy.dtype`` while reading. It accepts only numeric types, in any byte order."""

    def __init__(self, code: Any, *_: Any):
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in 'biuf':
            raise UserError(f'it holds an array of type {code!r}, but only arrays of numbers are accepted')
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _, order, subdtype, names, fields, *_ = state
        if subdtype is not None or names is not None or fields is not None:
            raise UserError('it holds an array of records, but only arrays of numbers are accepted')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Replaces ``numpy.ndarray`` while reading. It accepts its content only as bytes."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, 'F' if fortran else 'C')

    def fill(self, content: bytes, dtype: _DType, shape: tuple, order: Literal['C', 'F']) -> '_Array':
        if not isinstance(content, (bytes, bytearray)):
            raise UserError('it holds an array of objects, but only arrays of numbers are accepted')
        # The copy has the machine's byte order, which torch needs, and is writable, unlike the bytes.
        array = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)
        self.value = array.astype(array.dtype.newbyteorder('='), order='C')
        return self


def _reconstruct(*_: Any) -> _Array:
    """Replaces ``numpy.core.multiarray._reconstruct``, which makes an empty array. The array's state follows."""
    return _Array()


def _from_buffer(content: bytes, dtype: _DType, shape: tuple, order: Literal['C', 'F']) -> _Array:
    """Replaces ``numpy.core.numeric._frombuffer``, which pickles of protocol 5 use."""
    return _Array().fill(content, dtype, shape, order)


def _scalar(dtype: _DType, content: bytes) -> _Array:
    """Replaces ``numpy.core.multiarray.scalar``."""
    return _Array().fill(content, dtype, (), 'C')


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    """Replaces ``_codecs.encode``, with which protocol 2 stores bytes."""
    return text.encode(encoding)


def _bytes() -> bytes:
    """Replaces ``bytes``, with which protocol 2 stores an empty one. With a number, it would fill the memory."""
    return b''


# A file can use only these names. NumPy 2.0 renamed numpy.core to numpy._core.
ALLOWED = {
    **{
        (f'numpy.{core}.multiarray', name): value
        for core in ('core', '_core')
        for name, value in (('_reconstruct', _reconstruct), ('scalar', _scalar))
    },
    **{(f'numpy.{core}.numeric', '_frombuffer'): _from_buffer for core in ('core', '_core')},
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _DType,
    ('_codecs', 'encode'): _encode,
    ('builtins', 'bytes'): _bytes,
    ('__builtin__', 'bytes'): _bytes,  # in protocol 2
    ('collections', 'OrderedDict'): OrderedDict,
}


# The steps of a pickle whose result may be used again and again: names, texts, bytes and the types of arrays.
PLAIN = {'GLOBAL', 'STACK_GLOBAL', 'REDUCE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING'}
PLAIN |= {'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'}
REPEATS = 20  # how often a file may use other results again


def _check_size(content: bytes) -> None:
    """Check that a pickle builds no more than it holds, without building it.

    A tuple of two equal tuples, of which each has two, and so on, is a small file that takes years to compare. A
    result with a huge number makes the unpickler reserve the memory for all smaller numbers.

    Raises:
        UserError: It would build more.
    """
    repeatable: set[int] = set()
    stored, repeats, before = 0, 0, ''
    number: Any
    for step, number, _ in pickletools.genops(content):
        if step.name in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            place = stored if step.name == 'MEMOIZE' else int(number)
            stored += 1
            if place > len(content):
                raise UserError(f'it stores a result under the number {place}, and has only {len(content)} bytes')
            if before in PLAIN:
                repeatable.add(place)
            else:
                repeatable.discard(place)
        elif step.name == 'DUP' or (step.name in ('GET', 'BINGET', 'LONG_BINGET') and int(number) not in repeatable):
            repeats += 1
            if repeats > REPEATS:
                raise UserError('it nests its parts in each other, as no file with parameters does')
        before = step.name


class _ParameterUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UserError(
                f'it refers to {module}.{name}, which is neither an array nor a plain container. Parameters that '
                'Paddle saved never do this. No code in the file was run.'
            )
        return ALLOWED[module, name]


def read_pdparams(path: str) -> dict[str, np.ndarray]:
    """Read the parameters of a ``.pdparams`` file. Paddle is not needed.

    Args:
        path: A pickle, with protocol 2 to 5, of a dict of NumPy arrays by name.

    Returns:
        The arrays by name. Other entries, such as ``StructuredToParameterName@@``, are left out.

    Raises:
        UserError: The file is missing, is truncated or is not such a pickle, or it refers to code other
            than NumPy's arrays. Such code is not run.
    """
    check_no_pipe(path)
    if zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is an archive, like PyTorch's checkpoints, and not a .pdparams file. PyTorch's checkpoints do not "
            'need to be converted.'
        )
    try:
        with open(path, 'rb') as file:
            pickled = file.read()
        _check_size(pickled)
        content = _ParameterUnpickler(io.BytesIO(pickled), encoding='latin1').load()
    except UserError as error:
        raise UserError(f'{path} is refused: {error}') from None
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from None
    except Exception as error:  # a broken file can make the unpickler raise anything
        raise UserError(f'{path} is truncated or is not a .pdparams file: {type(error).__name__}: {error}') from None
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}; expected a dict of parameters by name')
    arrays = {name: entry.value for name, entry in content.items() if hasattr(entry, 'value')}
    if not arrays:
        raise UserError(f'{path} has no named arrays')
    if not all(isinstance(name, str) for name in arrays):
        raise UserError(f'{path} has arrays whose names are no texts')
    return arrays
