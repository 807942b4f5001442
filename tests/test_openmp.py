"""Waiting OpenMP threads sleep while other programs use the processors, and spin again afterwards."""

import os
import subprocess
import sys

import pytest

from memotr import openmp
from memotr.build import build_model
from memotr.config import load_config
from memotr.openmp import BUSY, CALM, CALM_INTERVALS, Adaptation, Load, WaitPolicy, adapt_waiting, openmp_library
from memotr.processes import available_processors
from memotr.tracking.tracker import Tracker

CHILD = """
import sys, threading, time
{first}
from memotr import openmp
import torch

def until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)

def teams():
    return sum(thread.name == "memotr-openmp-team" for thread in threading.enumerate())

def waiting_cost():
    "CPU seconds of small layers with pauses between them."
    before = time.process_time()
    for _ in range(50):
        values.relu()
        time.sleep(0.005)
    return time.process_time() - before

torch.set_num_threads(2)
values = torch.randn(300, 1000)
results = [values.softmax(1)]
costs = [waiting_cost()]
others, asked = 64, []
openmp.Load.of_others = lambda load: asked.append(teams()) or others
openmp.INTERVAL = 0.005
openmp.adapt_waiting()
openmp.adapt_waiting()
until(lambda: sum(asked) >= 20)
most = max(asked)
results.append(values.softmax(1))
costs.append(waiting_cost())
others = 0
until(lambda: not teams())
results.append(values.softmax(1))
watching = sum(thread.name == "memotr-openmp" for thread in threading.enumerate())
print(watching, most, all(torch.equal(results[0], other) for other in results), costs[0] / costs[1])
"""
libgomp = pytest.mark.skipif(
    not openmp.CPU_TIMES.is_file()
    or available_processors() < 2
    or openmp_library() is None
    or hasattr(openmp_library(), "kmp_set_blocktime"),
    reason="of libgomp on Linux, with two processors",
)


@pytest.fixture(autouse=True)
def nothing_adapted_yet(monkeypatch):
    monkeypatch.setattr(openmp, "_adaptation", None)
    monkeypatch.setattr(Adaptation, "start", lambda thread: None)
    for name in openmp.USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@libgomp
@pytest.mark.parametrize("first", ["import torch", "import memotr"])
def test_a_busy_machine_has_one_sleeping_team_until_it_is_calm(first):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = CHILD.format(first=first)
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    watching, teams, same_bits, ratio = run.stdout.split()
    assert (watching, teams, same_bits) == ("1", "1", "True")
    assert float(ratio) > 3, "waiting costs as much CPU time as before"


def test_the_load_is_measured_once_per_process(monkeypatch):
    adapt_waiting()
    adaptation = openmp._adaptation
    adapt_waiting()
    assert openmp._adaptation is adaptation
    monkeypatch.setattr(os, "getpid", lambda: -1)  # a forked child
    adapt_waiting()
    assert openmp._adaptation is not adaptation


@pytest.mark.parametrize("name", openmp.USER_SETTINGS)
def test_a_setting_of_the_user_is_respected(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    adapt_waiting()
    assert openmp._adaptation is None


def test_trackers_adapt(monkeypatch):
    Tracker(build_model(load_config("tiny")))
    assert (openmp._adaptation is not None) == openmp.CPU_TIMES.is_file()


def test_threads_sleep_at_once_and_spin_after_a_while():
    policy = WaitPolicy()
    assert not policy.sleeps(BUSY), "not busy yet"
    assert policy.sleeps(2 * BUSY)
    calm = [policy.sleeps(0.0) for _ in range(CALM_INTERVALS - 1)]
    assert all(calm), "not calm for long enough"
    assert policy.sleeps((BUSY + CALM) / 2), "less busy, but not calm: counted anew"
    assert [policy.sleeps(CALM) for _ in range(CALM_INTERVALS)] == [True] * (CALM_INTERVALS - 1) + [False]
    assert not policy.sleeps((BUSY + CALM) / 2), "such a load does not end the spinning"


@pytest.mark.skipif(not openmp.CPU_TIMES.is_file(), reason="of Linux")
def test_the_load_counts_other_programs_on_these_processors(tmp_path, monkeypatch):
    file, second = tmp_path / "stat", os.sysconf("SC_CLK_TCK")

    def look(time, own, user, steal):
        monkeypatch.setattr(openmp.time, "monotonic", lambda: time)
        monkeypatch.setattr(openmp.time, "process_time", lambda: own)
        file.write_text(
            f"cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 {user * second} 0 0 {time} 7 0 0 {steal * second} 0 0\n"
            f"cpu1 {time} 0 0 0 0 0 0 0 0 0\ncpu2 {user * second} 0 0 {time} 7 0 0 {steal * second} 0 0\nintr 1 2\n"
        )

    monkeypatch.setattr(openmp, "CPU_TIMES", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2})
    look(time=10, own=1, user=5, steal=1)
    load = Load()
    look(time=12, own=2.5, user=6, steal=2)  # 4 s of work on processors 0 and 2 within 2 s, 1.5 s of them ours
    assert load.of_others() == pytest.approx(1.25)


def test_an_unsupported_library_gives_one_warning(monkeypatch):
    library = type("Library", (), {"GOMP_parallel": None, "kmp_set_blocktime": None})()
    monkeypatch.setattr(openmp, "openmp_library", lambda: library)
    monkeypatch.setattr(openmp, "INTERVAL", 0)
    loads = iter([64.0])
    monkeypatch.setattr(Load, "of_others", lambda load: next(loads))
    with pytest.warns(UserWarning, match="set KMP_BLOCKTIME=0 before Python starts") as warned:
        Adaptation().run()
    assert len(warned) == 1
