"""How a run shows on the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memotr.io.frames import Frame, Source
from memotr.io.sinks import Sink
from memotr.tracks import Tracks


class TrackingProgress:
    """A progress bar on stderr, told of every frame; afterwards it knows the totals.

    Attributes:
        frames: number of frames so far.
        ids: the identities seen so far.
        seconds: since the bar was shown.
    """

    def __init__(self, source: Source) -> None:
        self.frames = 0
        self.ids: set[int] = set()
        self.seconds = 0.0
        self._began = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} · {task.fields[now]} tracks · {task.fields[ids]} ids"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._bar.add_task(source.name, total=source.frame_count, speed=pace(0.0), now=0, ids=0)

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """One more frame is tracked."""
        self.frames += 1
        self.ids.update(tracks.ids.tolist())
        speed = self._bar.tasks[0].speed or self.frames / (time.monotonic() - self._began)
        self._bar.update(self._task, advance=1, speed=pace(speed), now=len(tracks), ids=len(self.ids))

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._began
        self._bar.stop()

    def summary(self, sinks: Sequence[Sink]) -> str:
        """Two lines: frames, identities, time and speed; the files that were made."""
        speed = self.frames / self.seconds if self.seconds else 0.0
        totals = f"{self.frames} frames, {len(self.ids)} ids in {self.seconds:.1f} s ({pace(speed)})"
        made = [sink for sink in sinks if sink.frames]
        files = ", ".join(str(sink.path) for sink in made) or "nothing"
        older = " (in place of older ones)" if any(sink.replaces for sink in made) else ""
        return f"{totals}\nwrote {files}{older}"


def pace(speed: float) -> str:
    """Frames per second in words; a large network on a CPU takes seconds a frame, which is to be told from nothing."""
    return f"{speed:.1f} frames/s" if speed >= 1 else f"{speed:.2g} frames/s"
