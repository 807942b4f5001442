"""Memory that is freed stays with the process: pages are not asked for, and zeroed, again and again."""

import subprocess
import sys

import pytest

CHILD = """
import resource, sys
import torch
from memotr.allocation import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):  # until its small lists are full
    torch.ones(16 << 20)  # 64 MB, more than glibc keeps by itself
before = faults()
for _ in range(10):
    torch.ones(16 << 20)
print(kept, faults() - before)
"""


def page_faults(how):
    run = subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True)
    kept, count = run.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_used_again():
    kept, few = page_faults("keep")
    if kept == "False":
        pytest.skip("another C library than glibc")
    _, many = page_faults("leave")
    assert few < many / 10, f"{few} page faults, and {many} without"


def test_elsewhere_nothing_happens(monkeypatch):
    from memotr.allocation import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "win32")
    assert keep_freed_memory() is False
