"""Samples of a program and its children."""

import csv
import os
import runpy
import signal
import subprocess
import sys
import time

import cv2
import pytest

from econvnext_mmdet.benchmarks.startup import time_start, write_dataset
from econvnext_mmdet.benchmarks.watching import Sample, Watched, check_samples, watch, write_samples
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO, ROOT

# A child takes 60 MiB and three files, then both end.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', '''
import time
kept, files = bytearray(b'x' * (60 << 20)), [open('/dev/null') for _ in range(3)]
print('ready', flush=True)
time.sleep(3)
'''])
status = child.wait()
sys.exit(7)
"""


def test_memory_files_and_processes_of_children_count(tmp_path):
    watched = watch([sys.executable, '-c', PARENT], str(tmp_path / 'log'), every=0.2, awaited='ready')
    alone = watched.samples[0]
    most = max(watched.samples, key=lambda sample: sample.memory)
    assert watched.status == 7 and 0 < watched.seen < 30
    assert most.processes == 2 and most.memory - alone.memory > 60
    assert max(sample.files for sample in watched.samples) >= 3 + 3 + 3
    write_samples(watched.samples, str(tmp_path / 'out'), 'a title')
    rows = list(csv.DictReader((tmp_path / 'out' / 'samples.csv').open()))
    assert len(rows) == len(watched.samples) and float(rows[0]['memory']) == alone.memory
    assert cv2.imread(str(tmp_path / 'out' / 'samples.png')).shape[0] > 300


def test_a_log_is_not_written_through_a_link_and_not_emptied_for_a_program_that_is_not_there(tmp_path):
    kept, log = tmp_path / 'kept', tmp_path / 'log'
    kept.write_text('mine')
    log.symlink_to(kept)
    with pytest.raises(UserError, match='there is no program nothing_here'):
        watch(['nothing_here'], str(log))
    assert log.read_text() == 'mine'
    watch([sys.executable, '-c', "print('other')"], str(log), every=0.1)
    assert kept.read_text() == 'mine' and log.read_text() == 'other\n'


def test_a_program_can_be_ended_after_a_text(tmp_path):
    command = [sys.executable, '-c', "import time; print('now', flush=True); time.sleep(600)"]
    watched = watch(command, str(tmp_path / 'log'), every=0.1, awaited='now', then=0.2)
    assert watched.seen < 30 and watched.samples[-1].seconds < 60 and watched.status != 0


def test_the_end_of_a_program_is_not_waited_for(tmp_path):
    start = time.monotonic()
    watched = watch([sys.executable, '-c', ''], str(tmp_path / 'log'), every=600)
    assert watched.status == 0 and time.monotonic() - start < 60


def test_an_interrupted_watch_writes_what_it_saw(tmp_path):
    watched = [sys.executable, '-c', 'import time; time.sleep(600)']
    command = [sys.executable, ROOT / 'tools/analysis_tools/watch_run.py', '--every', '0.1', tmp_path, '--', *watched]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / 'output.log').exists():
            time.sleep(0.1)
        time.sleep(1)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and 'what was seen of it is in OUT_DIR' in err
    assert len((tmp_path / 'samples.csv').read_text().splitlines()) > 2 and (tmp_path / 'samples.png').is_file()


def test_an_empty_output_folder_is_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['watch_run.py', '', '--every', '0.05', '--', 'sleep', '0.3'])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_path(str(ROOT / 'tools' / 'analysis_tools' / 'watch_run.py'))['main']()
    assert {path.name for path in tmp_path.iterdir()} == {'output.log', 'samples.csv', 'samples.png'}


def test_a_title_is_drawn_as_it_is_written(tmp_path):
    command = 'bash -c echo $x^{ $ \udcff 猫'
    write_samples([Sample(0, 100, 5, 1)], str(tmp_path), command)
    assert (tmp_path / 'samples.png').is_file()


def test_a_leak_shows_in_the_levels():
    flat = Watched([Sample(i, 100, 5, 1) for i in range(40)], 0, None)
    leaking = Watched([Sample(i, 100 + i, 5 + i, 1) for i in range(40)], 0, None)
    assert flat.level('memory') == (100, 100) and flat.peak == 100
    first, second = leaking.level('memory')
    assert second - first == pytest.approx(15) and leaking.level('files')[1] - leaking.level('files')[0] == 15


@pytest.mark.runs
def test_the_start_of_both_tools_is_timed(tmp_path):
    write_dataset(str(tmp_path / 'data'), images=40, classes=3, objects=4, seed=0)
    found = time_start(str(ROOT / 'tools'), str(ROOT / DEMO), str(tmp_path / 'data'), str(tmp_path / 'work'), 3, 0)
    assert set(found) == {'this package', 'MMDetection'}
    assert all(1 < started.seconds < 300 and 300 < started.memory < 5000 for started in found.values())


def test_what_cannot_be_written_is_an_error_before_the_program_starts(tmp_path):
    os.mkfifo(tmp_path / 'log')
    with pytest.raises(UserError, match='log is a device or a pipe'):
        watch([sys.executable, '-c', ''], str(tmp_path / 'log'))
    (tmp_path / 'samples.png').mkdir()
    with pytest.raises(IsADirectoryError, match='samples.png'):
        check_samples(str(tmp_path))
