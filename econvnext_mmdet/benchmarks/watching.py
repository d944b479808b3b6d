"""Watching the memory and the open files of a program and of all processes that it starts."""

import csv
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..deploy.libraries import library
from ..utils.drawing import short_name
from ..utils.errors import UserError
from ..utils.files import check_no_pipe, check_writable, drop_link, whole_file

UNTIL_EVEN = 0.25  # the first part of a run, in which caches fill


class Sample(NamedTuple):
    """What all processes of a program use at one moment.

    Attributes:
        seconds: The time since the start.
        memory: The memory in MiB. A page that several processes share counts once.
        files: The number of open files, pipes and sockets.
        processes: The number of processes.
    """

    seconds: float
    memory: float
    files: int
    processes: int


class Watched(NamedTuple):
    """What was seen of a program.

    Attributes:
        samples: The samples in their order.
        status: The exit status.
        seen: The seconds after which the awaited text was in the output, or None.
    """

    samples: list[Sample]
    status: int
    seen: float | None

    @property
    def peak(self) -> float:
        """The highest memory in MiB."""
        return max(sample.memory for sample in self.samples)

    def level(self, name: str) -> tuple[float, float]:
        """The medians of ``memory`` or ``files`` in the first and in the second half of the run, without its start."""
        end = self.samples[-1].seconds
        rest = [sample for sample in self.samples if sample.seconds >= UNTIL_EVEN * end]
        half = len(rest) // 2
        return tuple(  # type: ignore[return-value]
            float(np.median([getattr(sample, name) for sample in part])) for part in (rest[:half] or rest, rest[half:])
        )


def watch(
    command: Sequence[str],
    log: str,
    every: float = 1.0,
    awaited: str | None = None,
    then: float | None = None,
    samples: list[Sample] | None = None,
) -> Watched:
    """Run a program and take a sample of what it uses again and again.

    Args:
        command: The program and its arguments.
        log: The file for its output.
        every: The seconds between two samples. Defaults to 1.
        awaited: A text in the output whose time is noted. Defaults to None.
        then: End the program so many seconds after this text. Defaults to None: wait for its end.
        samples: A list that receives the samples, for a caller that needs them after Ctrl-C. Defaults to None.

    Raises:
        UserError: psutil is not installed, there is no such program, or it ended before the first sample.
    """
    psutil = library('psutil', 'benchmark')
    samples = [] if samples is None else samples
    seen = None
    if not shutil.which(command[0]):
        raise UserError(f'there is no program {command[0]}')
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    check_no_pipe(log)
    drop_link(Path(log))
    with open(log, 'wb') as output:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        parent = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                sample = _sample(psutil, parent, time.monotonic() - start)
                if sample.processes:
                    samples.append(sample)
                if awaited and seen is None and awaited.encode() in Path(log).read_bytes():
                    seen = time.monotonic() - start
                if seen is not None and then is not None and time.monotonic() - start > seen + then:
                    break
                try:
                    process.wait(every)  # a sleep would go on after the end of the program
                except subprocess.TimeoutExpired:
                    pass
        finally:
            for member in _family(psutil, parent):
                try:
                    member.terminate()
                except psutil.NoSuchProcess:
                    pass
            process.wait()
    if not samples:
        raise UserError(f'{command[0]} ended at once; its output is in {log}')
    return Watched(samples, process.returncode, seen)


def _family(psutil: ModuleType, parent: Any) -> list[Any]:
    """A process and all that it has started, or an empty list if it has ended."""
    try:
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _sample(psutil: ModuleType, parent: Any, seconds: float) -> Sample:
    memory = files = processes = 0
    for member in _family(psutil, parent):
        try:
            pss, opened = member.memory_full_info().pss, member.num_fds()
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            continue
        memory, files, processes = memory + pss, files + opened, processes + 1
    return Sample(round(seconds, 1), round(memory / 2**20, 1), files, processes)


def check_samples(folder: str) -> None:
    """Check that :func:`write_samples` can write its files, and create the folder.

    Raises:
        UserError: A file is a device or a pipe.
        OSError: A file cannot be written.
    """
    for name in ('samples.csv', 'samples.png'):
        check_writable(f'{folder}/{name}')


def write_samples(samples: Sequence[Sample], folder: str, title: str) -> None:
    """Write ``samples.csv`` and a plot of memory and open files over time, ``samples.png``.

    Args:
        samples: What was seen.
        folder: The folder, which is created.
        title: The title of the plot. A long one is cut.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with whole_file(Path(folder, 'samples.csv')) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        writer.writerows(samples)
    figure = Figure(figsize=(7, 4.5), layout='tight')
    upper, lower = figure.subplots(2, sharex=True)
    minutes = [sample.seconds / 60 for sample in samples]
    upper.plot(minutes, [sample.memory for sample in samples])
    upper.set(ylabel='memory (MiB)', ylim=(0, None))
    # An argument of a command may have bytes that are no UTF-8, or two dollar signs, which are no formula.
    upper.set_title(short_name(title.encode(errors='backslashreplace').decode(), 75), parse_math=False, fontsize=10)
    lower.plot(minutes, [sample.files for sample in samples], color='C1')
    lower.set(ylabel='open files', ylim=(0, None), xlabel='minutes')
    with whole_file(Path(folder, 'samples.png')) as part:
        figure.savefig(part, dpi=110)
