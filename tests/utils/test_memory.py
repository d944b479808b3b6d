"""The C library's treatment of freed memory."""

import subprocess
import sys
from pathlib import Path

import pytest

# A block of 64 MiB is allocated and freed 20 times. Each new one costs a page fault per 4 KiB, unless memory is kept.
CODE = """
import resource
import torch
from econvnext_mmdet.utils.memory import keep_freed_memory
{call}
torch.zeros(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not Path('/lib64/ld-linux-x86-64.so.2').exists(), reason='needs glibc')
def test_freed_memory_is_used_again():
    faults = []
    for call in ('', 'keep_freed_memory()'):
        command = [sys.executable, '-c', CODE.format(call=call)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults.append(int(done.stdout))
    assert faults[1] < faults[0] / 10
