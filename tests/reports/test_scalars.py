import json

import pytest

from econvnext_mmdet.reports.scalars import read_scalars
from econvnext_mmdet.utils.errors import UserError

SCALARS = [{'loss': 2.5, 'step': 50}, {'coco/bbox_mAP': 0.25, 'step': 1}]
TEXT = ''.join(json.dumps(entry) + '\n' for entry in SCALARS)


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'scalars.json'


def test_lines_are_read_in_order(file):
    file.write_text(TEXT)
    assert read_scalars(str(file)) == SCALARS
    file.write_text('')
    assert read_scalars(str(file)) == []


@pytest.mark.parametrize('end', ['{"loss": 1', '{"loss": 1.0, "st', '{'])
def test_an_unfinished_last_line_is_skipped(file, end):
    file.write_text(TEXT + end)
    assert read_scalars(str(file)) == SCALARS


def test_a_complete_last_line_needs_no_newline(file):
    file.write_text(TEXT.rstrip())
    assert read_scalars(str(file)) == SCALARS


@pytest.mark.parametrize('line', [b'{"loss": 1', b'[1, 2]', b'1.5', b'', b'text', b'\xff\xfe'])
@pytest.mark.parametrize('rest', ['', TEXT])
def test_a_malformed_finished_line_is_an_error(file, line, rest):
    file.write_bytes(TEXT.encode() + line + b'\n' + rest.encode())
    with pytest.raises(UserError, match='cannot read .*scalars.json as a training log: line 3 is not a JSON object'):
        read_scalars(str(file))


def test_a_missing_file_is_an_error(file):
    with pytest.raises(UserError, match='cannot read .*scalars.json as a training log: No such file'):
        read_scalars(str(file))
