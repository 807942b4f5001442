"""Sequences spread over processes: interrupted, killed, and how many are worth their start."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from memotr.errors import UserError
from memotr.evaluation import jobs
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.results import read_results
from tests.evaluation.generated import write_split

NAMES = ("MOT17-02", "MOT17-04", "MOT17-05")


@pytest.fixture
def work(tmp_path: Path) -> list[jobs.Job]:
    gt, results = write_split(tmp_path, NAMES, frames=4)
    found = read_results(results, load_ground_truth(gt))
    return [jobs.Job(each, found.boxes[each.name], 1, False) for each in found.truth.sequences]


def die(job: jobs.Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed(work: list[jobs.Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "run_job", die)
    with pytest.raises(UserError, match="a worker process was killed, perhaps for lack of memory; --workers 1"):
        list(jobs.run_jobs(work, 2))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_while_processes_start_comes_after_all_have_started(
    work: list[jobs.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = []
    submit = ProcessPoolExecutor.submit

    def interrupted(pool: Any, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        submitted.append(arguments)
        return submit(pool, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(jobs.run_jobs(work, 2))
    assert len(submitted) == 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_small_work_takes_one_process(work: list[jobs.Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "process_pool", None)
    assert [outcome.name for outcome in jobs.run_jobs(work, None)] == list(NAMES)


def test_the_longest_are_begun_first(work: list[jobs.Job], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    submit = ProcessPoolExecutor.submit
    monkeypatch.setattr(
        ProcessPoolExecutor, "submit", lambda pool, run, job: (sizes.append(job.size), submit(pool, run, job))[1]
    )
    list(jobs.run_jobs(work, 2))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes != [job.size for job in work]
