"""Measuring the peak memory of networks, each in a process of its own."""

import ctypes
import gc
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from mmengine.logging import MMLogger

from .device import check_process_memory, process_memory, reset_peak
from .runtimes import Job, prepare


def check_memory() -> None:
    """Check that memory can be measured.

    Raises:
        UserError: There is neither a GPU nor Linux.
    """
    if not torch.cuda.is_available():
        check_process_memory()


def peaks(jobs: Sequence[Job], threads: int) -> list[float]:
    """The peak memory in MiB of one eager call of each job, with the weights.

    On a CPU it is the memory above what a process uses that has loaded the libraries and has called the network once,
    but does not hold it any more.

    Args:
        jobs: Jobs of one network.
        threads: The number of CPU threads.
    """
    measured = {}
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        # Memory that the process keeps after a small job is no larger than what the next job needs.
        for job in sorted(jobs, key=lambda job: job.batch_size * job.shape[0] * job.shape[1]):
            measured[job] = pool.submit(_peak, job, threads).result()
    return [measured[job] for job in jobs]


def _peak(job: Job, threads: int) -> float:
    MMLogger.get_instance('benchmark', log_level='ERROR')  # MMEngine would log a line for each classifier
    torch.set_num_threads(threads)
    prepare(job._replace(batch_size=1, shape=(64, 64)), 'eager', threads)()  # loads libraries
    before = _used()
    call = prepare(job, 'eager', threads)
    _used()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 2**20 - before
    reset_peak()
    call()
    return process_memory('VmHWM') - before


def _used() -> float:
    """The memory in MiB that is used now, after freed memory went back to the system."""
    gc.collect()
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**20
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # glibc has it
    if trim is not None:
        trim(0)
    return process_memory('VmRSS')
