import argparse
import os

import pytest

from econvnext_mmdet.utils.cli import add_config_options, run_tool
from econvnext_mmdet.utils.files import write_json


def test_the_error_for_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    run_tool(lambda: write_json(str(tmp_path / 'file' / 'numbers.json'), {}))
    assert capsys.readouterr().err == f'error: {tmp_path}/file: File exists\n'


def test_options_may_be_numbers_lists_and_dicts(capsys):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    options = ['a.b=2', 'c=[x,y]', "d=[{'type': 'LinearLR', 'end': 5}]", "e={'f': (1, 2)}", 'g=model_{}.pth']
    assert parser.parse_args(['--cfg-options', *options]).cfg_options == {
        'a.b': 2,
        'c': ['x', 'y'],
        'd': [dict(type='LinearLR', end=5)],
        'e': dict(f=(1, 2)),
        'g': 'model_{}.pth',
    }
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'd={type=LinearLR}'])
    assert 'expects a dict as Python writes it' in capsys.readouterr().err
