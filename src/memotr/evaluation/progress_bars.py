"""Progress bars of scoring and tracking on the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import Progress

from memotr.consoles import console, progress_bar
from memotr.terminal import log

if TYPE_CHECKING:
    from memotr.evaluation.benchmark import Benchmark
    from memotr.evaluation.work_queue import WorkQueue
    from memotr.io.frames import Frame
    from memotr.tracks import Tracks

LOG_INTERVAL = 60  # seconds between lines if stderr is not a terminal


class _ProgressBar:
    """Base class of progress bars, which are shown within their context."""

    _bar: Progress

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()


class ScoringProgress(_ProgressBar):
    """Progress bar over sequences on stderr; removed at the end, and not shown if stderr is not a terminal."""

    def __init__(self, title: str = "scoring") -> None:
        self._bar = progress_bar(console(stderr=True), "{task.description}", title=title)
        self._task = self._bar.add_task("reading", total=None)

    def __call__(self, name: str, total: int) -> None:
        """Count one more sequence of ``total`` as done."""
        self._bar.update(self._task, advance=1, total=total, description=name)


class BenchmarkProgress(_ProgressBar):
    """Progress bar over the frames of all ranks on stderr; a line per minute if stderr is not a terminal."""

    def __init__(self, queue: WorkQueue, benchmark: Benchmark, folder: Path, *, visible: bool) -> None:
        done = [len(s) for s in benchmark.sequences if benchmark.results.file(folder, s.name).exists()]
        self._queue, self._visible = queue, visible
        self._total = benchmark.num_frames - sum(done)
        target = console(stderr=True)
        self._bar = progress_bar(
            target,
            "{task.fields[speed]:.1f} frames/s",
            title=f"{len(benchmark.sequences) - len(done)} sequences",
            visible=visible and target.is_terminal,
        )
        self._task = self._bar.add_task("", total=self._total, speed=0.0)
        self._logged = self._began = time.monotonic()
        if visible and done:
            rest = "continuing with the others" if self._total else "nothing left to track"
            log(f"{len(done)} of {len(benchmark.sequences)} sequences already have results: {rest}")

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a frame tracked on this rank. Raises KeyboardInterrupt if another rank was interrupted."""
        self._queue.count("frames")
        if self._queue.stopped():
            raise KeyboardInterrupt
        if self._visible:
            self.show()

    def show(self) -> None:
        """Update the number of frames tracked by all ranks."""
        frames, now = self._queue.count("frames", 0), time.monotonic()
        speed = frames / max(now - self._began, 1e-9)
        self._bar.update(self._task, completed=frames, speed=speed)
        if self._bar.disable and now - self._logged > LOG_INTERVAL:
            self._logged = now
            log(f"{frames:,} of {self._total:,} frames, {speed:.1f} frames/s")
