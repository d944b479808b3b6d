import os

import pytest

from econvnext_mmdet.utils.cli import run_tool
from econvnext_mmdet.utils.files import write_json


def test_the_error_for_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    run_tool(lambda: write_json(str(tmp_path / 'file' / 'numbers.json'), {}))
    assert capsys.readouterr().err == f'error: {tmp_path}/file: File exists\n'
