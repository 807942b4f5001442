"""Scoring jobs, one per sequence, run in this process or in worker processes.

Worker processes import this module, so its imports are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.errors import UserError
from memotr.metrics.fields import score
from memotr.metrics.preprocessing import Fields, metric_inputs
from memotr.metrics.teta import teta_sequence, with_last_pixels, with_regions
from memotr.metrics.teta_scores import TetaCounts
from memotr.processes import available_processors, process_pool, uninterrupted

BOXES_PER_WORKER = 200_000  # scored in a second or two; starting a process takes one


@dataclass(frozen=True, eq=False)
class Job:
    """Sequence to score.

    Attributes:
        truth: ground truth of the sequence.
        predictions: predicted boxes.
        num_classes: number of classes.
        with_teta: also compute TETA.
    """

    truth: SequenceTruth
    predictions: VideoBoxes
    num_classes: int
    with_teta: bool

    @property
    def size(self) -> int:
        """Number of boxes in ground truth and predictions."""
        return len(self.truth.objects) + len(self.predictions)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Metrics of a sequence.

    Attributes:
        name: name of the sequence.
        fields: TrackEval's fields of each class.
        teta: counts of TETA, if requested.
    """

    name: str
    fields: list[Fields]
    teta: TetaCounts | None


def run_job(job: Job) -> Outcome:
    """Score one sequence."""
    fields = [score(data) for data in metric_inputs(job.truth, job.predictions, job.num_classes)]
    teta = None
    if job.with_teta:
        labels, predictions = with_last_pixels(with_regions(job.truth)), with_last_pixels(job.predictions)
        teta = teta_sequence(labels, predictions, job.num_classes)
    return Outcome(job.truth.name, fields, teta)


def run_jobs(jobs: Sequence[Job], workers: int | None) -> Iterator[Outcome]:
    """Run jobs, and yield their outcomes as they complete.

    Args:
        jobs: jobs to run, in any order.
        workers: number of processes, 1 for this process only; None: as many as make scoring faster.

    Raises:
        UserError: ``workers`` is below 1, or a worker process was killed.
    """
    workers = _useful_workers(jobs) if workers is None else workers
    if workers < 1:
        raise UserError(f"{workers} workers: use at least 1")
    if workers == 1 or len(jobs) == 1:
        yield from map(run_job, jobs)
        return
    # The longest first, to keep all workers busy until the end. Only as many as can run are submitted, because an
    # interrupted run waits for all submitted jobs.
    waiting = iter(sorted(jobs, key=lambda job: job.size, reverse=True))
    with process_pool(min(workers, len(jobs))) as pool:
        try:
            with uninterrupted():
                running = {pool.submit(run_job, job) for job in islice(waiting, workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(run_job, job) for job in islice(waiting, len(done))}
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for lack of memory; --workers 1 needs the least memory"
            ) from error


def _useful_workers(jobs: Sequence[Job]) -> int:
    return max(1, min(available_processors(), len(jobs), sum(job.size for job in jobs) // BOXES_PER_WORKER))
