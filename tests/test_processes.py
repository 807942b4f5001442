"""Processes end with the one that started them, whatever ends that one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from benchmarks.kill_runs import GRACE, MarkedProcess
from memotr.processes import LAUNCHER, process_pool

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes as Linux lists them")

BUSY_POOL = """
import sys, threading, time
from memotr.processes import process_pool, uninterrupted

def busy():
    print("begun", flush=True)
    time.sleep(1000)

if __name__ == "__main__":
    with process_pool(2) as pool:
        with uninterrupted():
            jobs = [pool.submit(busy) for _ in range(2)]
        for job in jobs:
            job.result()
"""

LAUNCHING = """
import os, subprocess, sys
from memotr.processes import launching
with launching():
    command = [sys.executable, "-u", "-c", sys.argv[1]]
    ranks = [subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(k)}) for k in (1, 2)]
ranks[0].wait()
"""


FOLLOWING = """
import time
from memotr.processes import follow_launcher
follow_launcher()
print("begun")
time.sleep(1000)
"""


@pytest.mark.parametrize("program", [BUSY_POOL, LAUNCHING], ids=["pool", "ranks"])
def test_no_process_outlives_a_killed_parent(program, tmp_path):
    file, log = tmp_path / "program.py", tmp_path / "log.txt"
    file.write_text(program)
    run = MarkedProcess([sys.executable, str(file), FOLLOWING], log)
    try:
        while log.read_text().count("begun") < 2:
            assert run.process.poll() is None, log.read_text()
        assert len(run.alive()) >= 3
        run.process.kill()
        run.process.wait()
        assert run.all_gone(GRACE)
    finally:
        run.kill_all()


def test_a_rank_whose_launcher_has_ended_before_it_looks():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    command = [sys.executable, "-c", FOLLOWING]
    environment = os.environ | {"LOCAL_RANK": "1", LAUNCHER: str(ended.pid)}
    assert subprocess.run(command, env=environment, timeout=GRACE, check=False).returncode == 1


def signals_seen():
    return {number.name: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}


def test_workers_of_a_pool_ignore_stop_signals():
    with process_pool(1) as pool:
        handlers = pool.submit(signals_seen).result()
        blocked = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    assert set(handlers.values()) == {signal.SIG_IGN}
    assert signal.SIGTERM not in blocked


FEW_FILES = """
import resource, sys
from memotr.errors import UserError
from memotr.processes import allow_open_files
limits = tuple(map(int, sys.argv[1:]))
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
try:
    allow_open_files(100, "data.workers")
except UserError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((16, 200), "(100, 200)"),
        ((150, 200), "(150, 200)"),
        (
            (16, 16),
            "data.workers needs 100 open files, the limit is 16: raise it (ulimit -n) or lower data.workers\n(16, 16)",
        ),
    ],
)
def test_the_limit_of_open_files(limits, told):
    command = [sys.executable, "-c", FEW_FILES, *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == told, done.stderr
