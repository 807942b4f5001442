"""A model through a benchmark, on any number of ranks."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lightning_fabric import Fabric

from memotr.consoles import console, progress_bar
from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark
from memotr.evaluation.handout import Handout
from memotr.evaluation.tracking import track_sequences
from memotr.io.frames import Frame
from memotr.models.memotr import MeMOTR
from memotr.terminal import log
from memotr.tracking.batch import side_by_side
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks
from memotr.vocabulary import Precision

GLANCE = 0.2  # seconds between two looks at what other ranks do


def track_benchmark(
    fabric: Fabric, model: MeMOTR, benchmark: Benchmark, folder: Path, *, precision: Precision = "32", batch: int = 1
) -> str | None:
    """Track every sequence that has no results in ``folder`` yet. Called by every rank; all return when all is done.

    Args:
        fabric: launched.
        model: on any device.
        benchmark: what to track.
        folder: shared by all ranks; see :func:`memotr.evaluation.tracking.track_sequences`.
        precision: of the heavy arithmetic.
        batch: how many sequences each rank tracks at once.

    Returns:
        What went wrong on one of the ranks, in one line, if anything did: the same on all of them.

    Raises:
        KeyboardInterrupt: one of the ranks was asked to stop: on all of them, a frame later.
    """
    handout = Handout.over(fabric, len(benchmark.sequences))
    tracker = Tracker(model.to(fabric.device), precision=precision)
    numbers = benchmark.class_numbers(model.config.classes)

    def track_some(tracker: Tracker) -> None:
        sequences = (benchmark.sequences[k] for k in handout)
        track_sequences(tracker, sequences, folder, benchmark.results, class_numbers=numbers, on_frame=progress)

    with BenchmarkProgress(handout, benchmark, folder, visible=fabric.is_global_zero) as progress:
        try:
            side_by_side(tracker, batch, track_some, stop=handout.stop)
        except UserError as error:
            handout.fail(str(error))
        except KeyboardInterrupt:
            handout.stop()
        handout.count("ranks")
        while fabric.is_global_zero and handout.count("ranks", 0) < fabric.world_size:
            progress.show()
            time.sleep(GLANCE)
    fabric.barrier()
    failure, stopped = handout.failure(), handout.stopped()
    fabric.barrier()  # until all have asked: the first rank keeps the answers
    if stopped and failure is None:
        raise KeyboardInterrupt
    return failure


class BenchmarkProgress:
    """A bar on stderr over the frames of all ranks; a line now and then where it is no terminal."""

    def __init__(self, handout: Handout, benchmark: Benchmark, folder: Path, *, visible: bool) -> None:
        done = [len(s) for s in benchmark.sequences if benchmark.results.file(folder, s.name).exists()]
        self._handout, self._visible = handout, visible
        self._total = benchmark.num_frames - sum(done)
        target = console(stderr=True)
        self._bar = progress_bar(
            target,
            "{task.fields[speed]:.1f} frames/s",
            title=f"{len(benchmark.sequences) - len(done)} sequences",
            visible=visible and target.is_terminal,
        )
        self._task = self._bar.add_task("", total=self._total, speed=0.0)
        self._told = self._began = time.monotonic()
        if visible and done:
            others = "going on with the others" if self._total else "there is nothing left to track"
            log(f"{len(done)} sequences were done before: {others}")

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """One more frame is tracked on this rank. Raises KeyboardInterrupt where another rank was asked to stop."""
        self._handout.count("frames")
        if self._handout.stopped():
            raise KeyboardInterrupt
        if self._visible:
            self.show()

    def show(self) -> None:
        """What all ranks have done."""
        frames, now = self._handout.count("frames", 0), time.monotonic()
        speed = frames / max(now - self._began, 1e-9)
        self._bar.update(self._task, completed=frames, speed=speed)
        if self._bar.disable and now - self._told > 60:
            self._told = now
            log(f"{frames:,} of {self._total:,} frames, {speed:.1f} a second")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
