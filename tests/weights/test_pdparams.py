import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights.pdparams import read_pdparams

from ..helpers import ROOT

ARRAYS = {
    'a': np.arange(12, dtype=np.float32).reshape(3, 4),
    'b': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    'c': np.array(7, np.int64),
    'd': np.zeros((0, 3), np.float16),
    'e': np.arange(4, dtype='>f4'),
    'f': np.array([True, False]),
}


@pytest.mark.parametrize('protocol', range(2, 6))
@pytest.mark.parametrize('core', ['numpy._core', 'numpy.core'])
def test_pickles_of_protocols_2_to_5_and_of_old_and_new_numpy_are_read(tmp_path, protocol, core):
    content = pickle.dumps(
        OrderedDict(ARRAYS, **{'StructuredToParameterName@@': dict(a='a_0'), 's': np.float32(2.5)}), protocol=protocol
    )
    if protocol < 4:  # a line break ends each name; from protocol 4 on, its length precedes it
        content = content.replace(b'numpy._core', core.encode())
    elif core == 'numpy.core':
        content = content.replace(b'\x8c\x16numpy._core.multiarray', b'\x8c\x15numpy.core.multiarray').replace(
            b'\x8c\x13numpy._core.numeric', b'\x8c\x12numpy.core.numeric'
        )
        content = without_frames(content)
    (tmp_path / 'net.pdparams').write_bytes(content)
    found = read_pdparams(str(tmp_path / 'net.pdparams'))
    assert set(found) == {*ARRAYS, 's'} and found['s'] == np.float32(2.5)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder('=') and found[name].flags.writeable
        torch.from_numpy(found[name])


def without_frames(content):
    """Remove the optional frames of protocol 4, because their lengths no longer fit."""
    while b'\x95' in content[:11]:
        at = content.index(b'\x95')
        content = content[:at] + content[at + 9 :]
    return content


class Hostile:
    """Makes pickle call a function when it is unpickled."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_hostile_pickles_run_nothing(write_pdparams, tmp_path):
    witness = tmp_path / 'witness'
    calls = [
        (os.system, f'touch {witness}'),
        (eval, f"open('{witness}', 'w')"),
        (open, str(witness), 'w'),
        (np.fromfile, str(tmp_path)),
        (getattr, dict, 'fromkeys'),
        (io.open_code, str(witness)),
        (type, 'x', (), {}),
        (np.load, str(witness)),
        (pickle.loads, b''),
    ]
    for call in calls:
        for protocol in (2, 4):
            for content in (Hostile(*call), dict(ARRAYS, a=Hostile(*call)), [Hostile(*call)]):
                path = write_pdparams(content, protocol)
                with pytest.raises(UserError, match='net.pdparams is refused: it refers to .* No code .* was run'):
                    read_pdparams(path)
    (tmp_path / 'net.pdparams').write_bytes(f"cos\nsystem\n(S'touch {witness}'\ntR.".encode())
    with pytest.raises(UserError, match='it refers to os.system'):
        read_pdparams(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    'array, says',
    [
        (np.array([1, 'a', None], object), 'only arrays of numbers'),
        (np.array(['a', 'bc']), 'only arrays of numbers'),
        (np.zeros(2, [('x', 'f4'), ('y', 'O')]), 'only arrays of numbers'),
        (np.array(['2024-01-01'], 'M8[D]'), 'only arrays of numbers'),
    ],
)
def test_only_arrays_of_numbers_are_accepted(write_pdparams, array, says):
    for protocol in (2, 4, 5):
        with pytest.raises(UserError, match=says):
            read_pdparams(write_pdparams(dict(a=array), protocol))


def test_unreadable_files_are_refused(write_pdparams, tmp_path):
    path = tmp_path / 'net.pdparams'
    with pytest.raises(UserError, match='cannot read .*net.pdparams: No such file'):
        read_pdparams(str(path))
    whole = (ROOT / 'tests/data/reference/e_convnext_mini_reduced.pdparams').read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='net.pdparams is truncated or is not a .pdparams file'):
            read_pdparams(str(path))
    for content, says in (([1], 'holds a list'), (dict(a=1), 'has no named arrays'), ({}, 'has no named arrays')):
        with pytest.raises(UserError, match=says):
            read_pdparams(write_pdparams(content))
    torch.save(dict(weight=torch.zeros(1)), path)
    with pytest.raises(UserError, match="an archive, like PyTorch's checkpoints, .* do not need to be converted"):
        read_pdparams(str(path))


@pytest.mark.parametrize(
    'content, says',
    [
        (b'\x80\x02}r\xff\xff\xff\x3f.', 'stores a result under the number'),  # 8 GB for a list of results
        (
            b'\x80\x02})q\x00' + b''.join(b'h%ch%c\x86q%c' % (i, i, i + 1) for i in range(60)) + b'K\x01s.',
            'nests its parts in each other',  # the hash of a tuple with 2 ** 60 parts
        ),
        (b'\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytes\nI8000000000\n\x85Rs.', 'is not a .pdparams file'),
        (b'\x80\x05}\x8c\x01a\x96\x00\x00\x00\x00\x02\x00\x00\x00s.', 'expected 8589934592 bytes'),
    ],
    ids=['memo', 'nested tuples', 'bytes', 'bytearray'],
)
def test_small_files_that_would_fill_the_memory_or_run_for_years_are_refused(tmp_path, content, says):
    (tmp_path / 'net.pdparams').write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_pdparams(str(tmp_path / 'net.pdparams'))


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / 'x.pdparams')
    with pytest.raises(UserError, match='x.pdparams is a device or a pipe'):
        read_pdparams(str(tmp_path / 'x.pdparams'))
