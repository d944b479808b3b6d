"""What the benchmarks ask of the machine: the device, its name, and the memory of this process."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..utils.errors import UserError

# The file that sets back the peak of this process's memory. Only Linux has it.
RESET = Path('/proc/self/clear_refs')


def wait(on_gpu: bool) -> None:
    """Wait for the GPU, if there is one, because its kernels run asynchronously."""
    if on_gpu:
        torch.cuda.synchronize()


def device_name(on_gpu: bool) -> str:
    """The name of the GPU, or the name of the CPU with the number of PyTorch's threads."""
    if on_gpu:
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')  # on Linux, where the platform module knows only the architecture
    lines = info.read_text(encoding='utf-8').splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    threads = torch.get_num_threads()
    return f'CPU, {(names or [platform.machine()])[0]}, {threads} thread{"s" if threads > 1 else ""}'


def check_process_memory() -> None:
    """Check that the memory of a process can be measured.

    Raises:
        UserError: The system is not Linux.
    """
    if not RESET.exists():
        raise UserError(f'the memory of a process on the CPU can be measured only on Linux, which has {RESET}')


def reset_peak() -> None:
    """Set the peak of this process's memory back to what it uses now."""
    RESET.write_text('5')


def process_memory(field: str) -> float:
    """A field of Linux's memory statistics for this process, such as 'VmRSS' (now) or 'VmHWM' (the peak), in MiB."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(re.findall(rf'{field}:\s+(\d+) kB', status)[0]) / 1024


@contextmanager
def limited_threads(threads: int | None) -> Iterator[int]:
    """Set the number of PyTorch's threads for a block, and yield it. None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)
