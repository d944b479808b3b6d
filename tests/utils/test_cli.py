import argparse
import os
import runpy
import signal
import subprocess
import sys

import pytest

from econvnext_mmdet.utils.cli import add_config_options, number, run_tool, whole
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.files import check_writable, write_json

from ..helpers import ROOT


def test_the_error_for_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    run_tool(lambda: write_json(str(tmp_path / 'file' / 'numbers.json'), {}))
    assert capsys.readouterr().err == f'error: {tmp_path}/file: File exists\n'


def test_a_path_with_a_line_break_is_printed_on_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    run_tool(lambda: (tmp_path / 'a\nb').read_text())
    assert capsys.readouterr().err == f'error: {tmp_path}/a\\nb: No such file or directory\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_arrives_in_a_fork_ends_the_tool(number):
    """Python discards an exception that is raised in a callback of a fork."""
    program = f"""
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sent = []
os.register_at_fork(before=lambda: sent or (sent.append(1), os.kill(os.getpid(), {int(number)})))
from econvnext_mmdet.utils.cli import run_tool

def main():
    if not os.fork():
        os._exit(0)
    time.sleep(20)

run_tool(main)
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count('\n')) == (128 + number, 1), done.stderr
    assert done.stderr.startswith('interrupted')


def test_a_signal_to_all_processes_of_a_job_ends_it_in_one_line():
    """Slurm sends SIGTERM to the workers of a loader, too. PyTorch raises an error for each worker that has ended."""
    code = """
import time
from torch.utils.data import DataLoader
from econvnext_mmdet.utils.cli import run_tool

def main():
    for _ in DataLoader(range(10**9), num_workers=2):
        print('ready', flush=True)
        time.sleep(60)

run_tool(main)
"""
    process = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == 'ready\n'
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and err == 'interrupted by SIGTERM: nothing was written\n'


def test_a_name_that_is_not_utf8_is_printed():
    program = "from econvnext_mmdet.utils.cli import run_tool; run_tool(lambda: print('a \\udcff b'))"
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'a \\udcff b\n'), done.stderr


def test_a_file_that_is_read_is_not_replaced(tmp_path):
    (tmp_path / 'gt.json').write_text('{}')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'gt.json')
    with pytest.raises(UserError, match='link.json is to be read and to be written; give another name'):
        check_writable(str(tmp_path / 'link.json'), str(tmp_path / 'gt.json'))
    check_writable(str(tmp_path / 'new.json'), str(tmp_path / 'gt.json'))


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


@pytest.mark.parametrize(
    'kind, right, wrong',
    [
        (whole(1, 9), {'1': 1, '9': 9}, ['0', '10', '-1', '1.5', 'x', '', 'nan', '9' * 5000]),
        (number(0, 9), {'0': 0.0, '1e-3': 1e-3, '9': 9.0}, ['-1', '1e1', 'nan', 'inf', '-inf', 'x', '']),
    ],
)
def test_a_number_out_of_range_is_a_usage_error(kind, right, wrong, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--size', type=kind)
    assert {text: parser.parse_args(['--size', text]).size for text in right} == right
    for text in wrong:
        with pytest.raises(SystemExit, match='2'):
            parser.parse_args([f'--size={text}'])
        assert 'argument --size: expected a' in capsys.readouterr().err


@pytest.mark.parametrize(
    'tool, arguments, says',
    [
        *(('watch_run', ['out', '--every', value, '--', 'true'], '--every') for value in ('-1', 'nan', 'inf')),
        ('benchmark_startup', ['--workers', '0', '-1'], '--workers'),
        ('benchmark_startup', ['--seed', '-1'], '--seed'),
        ('kill_and_resume', ['config.py', '--work-dir', 'x', '--kills', '-1'], '--kills'),
        ('get_flops', ['config.py', '--shape', '100000000', '64'], '--shape'),
        ('benchmark', ['--shape', '31', '64'], '--shape'),
        ('benchmark', ['--threads', '100000'], '--threads'),
        ('benchmark_training', ['config.py', '--steps', '0'], '--steps'),
        ('benchmark_training', ['config.py', '--images', '9' * 400], '--images'),
        ('compare_exports', ['config.py', 'x.pth', 'x.onnx', '--images', '0'], '--images'),
    ],
)
def test_a_tool_refuses_a_number_out_of_range(tool, arguments, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(str(ROOT / 'tools' / 'analysis_tools' / f'{tool}.py'))['parse_args']()
    assert f'argument {says}: expected a ' in capsys.readouterr().err


@pytest.mark.parametrize(
    'text',
    ["[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory", 'CUDA out of memory. Tried'],
)
def test_the_error_for_too_little_memory_is_one_line(text, capsys, monkeypatch):
    def fail():
        raise RuntimeError(f'{text}\nC++ stack')

    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    run_tool(fail)
    assert capsys.readouterr().err == f'error: there is too little memory. {text}\n'


def test_an_empty_argument_is_an_error(capsys, monkeypatch):
    """A tool could take an empty name for an option that is left out, and write nothing."""
    monkeypatch.setattr(os, '_exit', lambda status: status == 1 or pytest.fail(f'status {status}'))
    monkeypatch.setattr(sys, 'argv', ['tool', 'a.json', '--json', ''])
    run_tool(lambda: pytest.fail('it runs'))
    assert 'error: the argument after --json is empty, maybe because a variable' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['tool', 'out', '--', 'another', 'program', ''])
    run_tool(lambda: print('it runs'))
    assert capsys.readouterr().out == 'it runs\n'
