"""The C library's treatment of freed memory."""

import subprocess
import sys
from pathlib import Path

import pytest

# A block of 64 MiB is allocated and freed 5 times. Each new one costs a page fault per 4 KiB, unless memory is kept.
CODE = """
import resource
import torch
from econvnext_mmdet.utils.memory import keep_freed_memory

def faults():
    torch.zeros(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(not Path('/lib64/ld-linux-x86-64.so.2').exists(), reason='needs glibc')
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10
