"""Timing E-ConvNeXt and its peers in turn, in the runtimes that are used for them."""

import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from ..utils.errors import UserError, errors_in
from ..utils.progress import progress_bar
from .complexity import Complexity, count
from .device import device_name, limited_threads, wait
from .memory import check_memory, peaks
from .networks import build, for_inference
from .peers import DETECTORS, Entry
from .runtimes import Job, check_runtimes, prepare
from .speed import WARM_UP

LIBRARIES = ('torch', 'torchvision', 'timm', 'onedl-mmdetection', 'onnx', 'onnxruntime', 'openvino', 'nncf')
MATRIX = 2048  # the side of the matrices whose product gives the rate of the machine
PAUSE = 0.1  # seconds; by then, the threads of ONNX Runtime have gone to sleep
SIZES = (224, 320, 448, 640, 896, 1280)
BATCH_SIZES = (2, 4, 8)


@dataclass
class Measurement:
    """The times of one network in one runtime.

    Attributes:
        name: The name of the network.
        runtime: The runtime.
        batch_size: Images per call.
        height: The height of the images in pixels.
        width: The width of the images in pixels.
        macs: The multiply-adds of a call.
        inference_macs: The multiply-adds of the form for inference. They differ from ``macs`` for training only.
        times: The milliseconds of a call, one number per round.
        rate: The multiply-adds per second of a matrix product, the median over the same rounds.
        memory: The peak of the memory in MiB, with the weights. None if it was not measured.
    """

    name: str
    runtime: str
    batch_size: int
    height: int
    width: int
    macs: int
    inference_macs: int
    times: list[float]
    rate: float
    memory: float | None = None

    @property
    def time(self) -> float:
        """The median of the times in milliseconds."""
        return median(self.times)

    @property
    def share(self) -> float:
        """The multiply-adds per second as a share of the rate of a matrix product."""
        return self.macs / (self.time / 1000) / self.rate

    @property
    def pixels(self) -> int:
        """The pixels of all images of a call."""
        return self.batch_size * self.height * self.width


@dataclass
class Network:
    """What is known about a network before it is timed. The parameters are those of its form for inference."""

    name: str
    title: str
    ours: bool
    accuracy: float | None
    source: str
    params: int


@dataclass
class Comparison:
    """The result of a run.

    Attributes:
        environment: The device, the threads, the rounds, the date and the versions of the libraries.
        metric: The accuracy: 'top-1' or 'AP'.
        networks: The networks, in the order of the command.
        measurements: The measurements, by runtime and network.
        failures: One sentence for each network that a runtime could not run.
    """

    environment: dict[str, Any]
    metric: str
    networks: list[Network]
    measurements: list[Measurement]
    failures: list[str]


def compare(
    entries: Sequence[Entry],
    runtimes: Sequence[str],
    shape: tuple[int, int] | None = None,
    batch_size: int = 1,
    rounds: int = 10,
    threads: int | None = None,
    memory: bool = False,
) -> Comparison:
    """Time networks with random weights in each runtime, on random images in memory.

    In a runtime, each round times every network once and the product of two matrices once, so that other work on the
    machine slows all of them down equally. Two rounds run before the clock starts. All networks of a runtime are in
    memory at the same time. If stderr is a terminal, it shows a progress bar.

    Args:
        entries: The networks.
        runtimes: Names of runtimes.
        shape: Height and width of the images in pixels. Defaults to None: the size of each network's accuracy.
        batch_size: Images per call. Defaults to 1.
        rounds: The number of timed rounds. Defaults to 10.
        threads: The number of CPU threads. Defaults to None: PyTorch decides.
        memory: Measure the memory of the runtime eager, each network in a process of its own. Defaults to False.

    Returns:
        The result.

    Raises:
        UserError: A runtime does not fit the device or the batch, a library is missing, no network could be measured,
            or memory cannot be measured, or not without the runtime eager.
    """
    jobs = [Job(entry, batch_size, shape or entry.size) for entry in entries]
    return _compare([jobs], runtimes, rounds, threads, memory)


def compare_sizes(
    entries: Sequence[Entry],
    runtimes: Sequence[str],
    rounds: int = 10,
    threads: int | None = None,
    memory: bool = False,
) -> Comparison:
    """Time networks for images of 224 to 1280 pixels, and for batches of 2 to 8 images of 224 pixels.

    The sizes of one network take turns, like the networks in :func:`compare`, and the networks follow one another. The
    arguments are those of :func:`compare`.
    """
    for name in runtimes:
        if name.endswith('-int8') or name == 'train':
            raise UserError(f'{name} cannot run every size of a batch from 1 to {BATCH_SIZES[-1]}; remove it')
    cases = [(1, size) for size in SIZES] + [(batch_size, SIZES[0]) for batch_size in BATCH_SIZES]
    groups = [[Job(entry, batch_size, (size, size)) for batch_size, size in cases] for entry in entries]
    return _compare(groups, runtimes, rounds, threads, memory)


def _compare(
    groups: Sequence[Sequence[Job]], runtimes: Sequence[str], rounds: int, threads: int | None, memory: bool
) -> Comparison:
    """Measure groups of jobs. The jobs of a group take turns."""
    jobs = [job for group in groups for job in group]
    for batch_size in {job.batch_size for job in jobs}:
        check_runtimes(runtimes, batch_size)
    if memory:
        check_memory()
        if 'eager' not in runtimes:
            raise UserError(f'memory is measured in the runtime eager; got {", ".join(runtimes)}. Add eager.')
    entries = list(dict.fromkeys(job.entry for job in jobs))
    failures: list[str] = []
    measurements: list[Measurement] = []
    with limited_threads(threads) as used, progress_bar(auto_refresh=False) as progress:
        counts = {job: _count(job, for_inference(build(job.entry))) for job in _track(progress, jobs, 'counting')}
        for runtime in runtimes:
            for group in groups:
                measurements += _measure(group, runtime, rounds, used, counts, failures, progress)
        if memory:
            for entry in _track(progress, entries, 'measuring memory'):
                own = [job for job in jobs if job.entry == entry]
                found = dict(zip(own, peaks(own, used)))
                for measured in measurements:
                    if (measured.name, measured.runtime) == (entry.name, 'eager'):
                        measured.memory = found[Job(entry, measured.batch_size, (measured.height, measured.width))]
        device = device_name(torch.cuda.is_available())
    if not measurements:
        raise UserError('no network could be measured; choose other runtimes, or a smaller image or batch', *failures)
    params = {job.entry: counts[job].params for job in jobs}
    return Comparison(
        dict(
            device=device,
            threads=used,
            rounds=rounds,
            date=datetime.datetime.now().astimezone().isoformat(timespec='minutes'),
            versions=dict(_versions()),
        ),
        'AP' if entries[0] in DETECTORS else 'top-1',
        [Network(e.name, e.title, e.ours, e.accuracy, e.source, params[e]) for e in entries],
        measurements,
        failures,
    )


def _track(progress: Progress, items: Sequence, description: str) -> Iterator:
    """Iterate with a bar that goes away at the end."""
    task = progress.add_task(description, total=len(items))
    for item in items:
        progress.refresh()
        yield item
        progress.advance(task)
    progress.remove_task(task)


def _count(job: Job, network: nn.Module) -> Complexity:
    """The parameters of a network, and the multiply-adds of its forward pass for a batch."""
    with errors_in(job.entry.title):
        counted = count(network, torch.zeros(1, 3, *job.shape))
    return Complexity(counted.params, counted.macs * job.batch_size)


def _measure(
    jobs: Sequence[Job],
    runtime: str,
    rounds: int,
    threads: int,
    counts: dict[Job, Complexity],
    failures: list[str],
    progress: Progress,
) -> list[Measurement]:
    """Time jobs in one runtime, in turn, and add a sentence to ``failures`` for each that it cannot run."""
    prepared: dict[Job, Callable[[], object]] = {}
    macs = {job: counts[job].macs for job in jobs}
    for job in _track(progress, jobs, f'preparing {runtime}'):
        try:
            call = prepare(job, runtime, threads)
            call()
        except UserError:
            raise
        except Exception as error:  # exporters and compilers can raise anything
            reason = (str(error).strip().splitlines() or [''])[0]
            failures.append(f'{runtime} cannot run {job.entry.title}: {type(error).__name__}: {reason}')
            continue
        prepared[job] = call
        if runtime == 'train':
            # Backward, a layer computes the gradients of its input and of its weights: as much as forward, each.
            # torch counts too much for the weights of a grouped convolution.
            macs[job] = 3 * _count(job, build(job.entry)).macs
    matrix = torch.rand(MATRIX, MATRIX, device='cuda' if torch.cuda.is_available() else 'cpu')
    *times, products = take_turns([*prepared.values(), lambda: matrix @ matrix], rounds, progress, f'timing {runtime}')
    rate = MATRIX**3 / (median(products) / 1000)
    return [
        Measurement(job.entry.name, runtime, job.batch_size, *job.shape, macs[job], counts[job].macs, measured, rate)
        for job, measured in zip(prepared, times)
    ]


def take_turns(
    calls: Sequence[Callable[[], object]], rounds: int, progress: Progress, description: str
) -> list[list[float]]:
    """Time functions in turn. Two rounds run before the clock starts.

    In each round, each function runs twice in a row. The second run counts, because caches and allocated memory are
    then as in repeated calls. There is a pause before, because the threads of another function may still wait actively
    for more work.

    Args:
        calls: Functions without arguments.
        rounds: The number of timed rounds.
        progress: The progress bar. It is redrawn between rounds only.
        description: The text next to the bar.

    Returns:
        The times of each function in milliseconds, one per round.
    """
    on_gpu = torch.cuda.is_available()
    times: list[list[float]] = [[] for _ in calls]
    for _ in _track(progress, range(WARM_UP + rounds), description):
        for call, measured in zip(calls, times):
            time.sleep(PAUSE)
            call()
            wait(on_gpu)
            start = time.perf_counter()
            call()
            wait(on_gpu)
            measured.append(1000 * (time.perf_counter() - start))
    return [measured[WARM_UP:] for measured in times]


def _versions() -> Iterator[tuple[str, str]]:
    """The names and versions of the libraries that are installed."""
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
