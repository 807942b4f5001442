"""Progress of tracking on the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.progress import Progress

from memotr.consoles import console, progress_bar
from memotr.io.frames import Frame, Source
from memotr.io.sinks import Sink
from memotr.tracks import Tracks

NAME_LENGTH = 19


class TrackingBars:
    """Progress bars on stderr, one for each source that is being tracked, within a context."""

    def __init__(self) -> None:
        self._bars = progress_bar(
            console(stderr=True),
            "{task.fields[speed]} · {task.fields[now]} tracks · {task.fields[ids]} ids",
            transient=False,
            visible=True,  # without a terminal, the final state is printed
        )

    def add(self, source: Source) -> TrackingProgress:
        """Add a bar for a source whose tracking starts now."""
        self._bars.start()  # not earlier, so that a run that fails before prints only its error
        return TrackingProgress(self._bars, source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars.tasks:
            self._bars.stop()


class TrackingProgress:
    """Progress bar of one source, to be called with every frame.

    Attributes:
        frames: number of frames so far.
        ids: identities so far.
    """

    def __init__(self, bars: Progress, source: Source) -> None:
        self.frames = 0
        self.ids: set[int] = set()
        self._start = time.monotonic()
        self._bars = bars
        self._source = source
        self._task = bars.add_task(shortened(source.name), total=source.frame_count, speed=pace(0.0), now=0, ids=0)

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a tracked frame and update the bar."""
        self.frames += 1
        self.ids.update(tracks.ids.tolist())
        speed = self.frames / max(time.monotonic() - self._start, 1e-9)
        total = self._source.frame_count  # an estimate may turn out to be wrong
        self._bars.update(self._task, advance=1, total=total, speed=pace(speed), now=len(tracks), ids=len(self.ids))

    def summary(self, sinks: Sequence[Sink]) -> tuple[str, str]:
        """Return two lines: frames, identities, time and speed; and the written files, once the sinks are closed."""
        seconds = time.monotonic() - self._start
        self._bars.update(self._task, total=self.frames)  # the true number; until now it may have been an estimate
        frames = f"{self.frames} frame{'s' * (self.frames != 1)}"
        totals = f"{frames}, {len(self.ids)} ids in {seconds:.1f} s ({pace(self.frames / max(seconds, 1e-9))})"
        written = [sink for sink in sinks if sink.finished]
        files = ", ".join(str(sink.path) for sink in written) or "nothing"
        older = " (in place of older ones)" if any(sink.replaces for sink in written) else ""
        return totals, f"wrote {files}{older}"


def shortened(name: str) -> str:
    """Cut a long name in the middle, so that a bar fits into a terminal of 80 columns."""
    half = (NAME_LENGTH - 1) // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"


def pace(speed: float) -> str:
    """Format a number of frames per second, with two significant digits below 1."""
    return f"{speed:.1f} frames/s" if speed >= 1 else f"{speed:.2g} frames/s"
