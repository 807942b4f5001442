"""Tracking of a benchmark, distributed over any number of ranks."""

from __future__ import annotations

import time
from pathlib import Path

from lightning_fabric import Fabric

from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark
from memotr.evaluation.progress_bars import BenchmarkProgress
from memotr.evaluation.tracking import track_sequences
from memotr.evaluation.work_queue import WorkQueue
from memotr.tracking.batch import side_by_side
from memotr.tracking.tracker import Tracker

POLL_SECONDS = 0.2  # between two queries of the progress of other ranks


def track_benchmark(
    fabric: Fabric, tracker: Tracker, benchmark: Benchmark, folder: Path, *, batch: int = 1
) -> str | None:
    """Track every sequence that has no results in ``folder``.

    Call this function on every rank; it returns when all ranks are done.

    Args:
        fabric: launched fabric.
        tracker: tracker on the device of the fabric.
        benchmark: sequences to track.
        folder: folder for the results, shared by all ranks; see :func:`memotr.evaluation.tracking.track_sequences`.
        batch: number of sequences that each rank tracks at once.

    Returns:
        The first error of any rank, as one line, the same on all ranks; None if there was none.

    Raises:
        KeyboardInterrupt: a rank was interrupted; raised on all ranks, at most one frame later.
    """
    queue = WorkQueue.shared_by(fabric, len(benchmark.sequences))
    numbers = benchmark.class_numbers(tracker.config.classes)

    def track_next(tracker: Tracker) -> None:
        sequences = (benchmark.sequences[k] for k in queue)
        track_sequences(tracker, sequences, folder, benchmark.results, class_numbers=numbers, on_frame=progress)

    with BenchmarkProgress(queue, benchmark, folder, visible=fabric.is_global_zero) as progress:
        try:
            side_by_side(tracker, batch, track_next, stop=queue.stop)
        except UserError as error:
            queue.fail(str(error))
        except KeyboardInterrupt:
            queue.stop()
        queue.count("ranks")
        while fabric.is_global_zero and queue.count("ranks", 0) < fabric.world_size:
            progress.show()
            time.sleep(POLL_SECONDS)
    fabric.barrier()
    failure, stopped = queue.failure(), queue.stopped()
    fabric.barrier()  # waits until all ranks have queried the store, which ends with the first rank
    if stopped and failure is None:
        raise KeyboardInterrupt
    return failure
