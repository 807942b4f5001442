"""Tracking of a source, with decoding, tracking and writing in parallel."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memotr.io.frames import Frame, Source
from memotr.io.live import newest
from memotr.io.sinks import Sink, close_all
from memotr.tracks import Tracks

AHEAD = 3  # number of frames decoded ahead of the tracker
BEHIND = 4  # maximum number of frames that are tracked but not yet written


Prepared = Generator[tuple[Frame, Any], None, None]


class FrameTracker(Protocol):
    """Interface of a tracker that :func:`track_source` needs; :class:`memotr.Tracker` has it."""

    def reset(self) -> None:
        """Start a new video."""

    def prepare(self, frame: NDArray[np.uint8], /) -> Any:
        """Prepare a frame for :meth:`update`."""

    def update(self, frame: Any, /) -> Tracks:
        """Track a prepared frame."""


def track_source(
    tracker: FrameTracker,
    source: Source,
    sinks: Sequence[Sink] = (),
    on_frame: Callable[[Frame, Tracks], None] | None = None,
    *,
    whole: bool = False,
) -> None:
    """Track a source from its first frame to its last and write every frame to all sinks, in order.

    One thread decodes and prepares frames ahead of the tracker, another draws and encodes after it; the number of
    frames between them is bounded. The tracker is reset first. ``Tracks.frame`` is the frame's number in the source.
    The sinks are always closed, also after Ctrl-C: their files then hold all frames tracked so far. After a failed
    write, older files are kept instead.

    Args:
        tracker: tracker that is called in this thread only, except for ``prepare``.
        source: open source; it stays open.
        sinks: sinks that are closed at the end.
        on_frame: called in this thread after every frame.
        whole: discard the results unless all frames were tracked and written; for results that must be complete.

    Raises:
        UserError: a frame cannot be read, a file cannot be written, or the source has no frames.
        Exception: any error of the tracker or of ``on_frame``.
    """
    output = _Output(sinks, whole)
    writer = ThreadPoolExecutor(1, "memotr-write")
    written: deque[Future[None]] = deque()
    try:
        tracker.reset()
        with closing(_newest(source, tracker) if source.live else _ahead(source, tracker)) as frames:
            for frame, prepared in frames:
                tracks = dataclasses.replace(tracker.update(prepared), frame=frame.index)
                written.append(writer.submit(output.write, frame, tracks))
                if len(written) > BEHIND:
                    written.popleft().result()
                if on_frame is not None:
                    on_frame(frame, tracks)
        output.complete = True
    finally:
        # Closed by the writing thread, which finishes the files even if a second Ctrl-C interrupts the waiting below.
        written.appendleft(writer.submit(output.close))  # first: its error names the files that are kept
        writer.shutdown()
        for done in written:
            done.result()


def _newest(source: Source, tracker: FrameTracker) -> Prepared:
    """Yield the newest frame of a live source each time, with its prepared form."""
    with closing(newest(source)) as frames:
        for frame in frames:
            yield frame, tracker.prepare(frame.image)


def _ahead(source: Source, tracker: FrameTracker) -> Prepared:
    """Yield the frames of a source with their prepared form, both from another thread."""
    frames = iter(source)

    def fetch() -> tuple[Frame, Any] | None:
        frame = next(frames, None)
        return None if frame is None else (frame, tracker.prepare(frame.image))

    decoder = ThreadPoolExecutor(1, "memotr-decode")
    try:
        pending = deque(decoder.submit(fetch) for _ in range(AHEAD))
        while (fetched := pending.popleft().result()) is not None:
            pending.append(decoder.submit(fetch))
            yield fetched
    finally:
        decoder.shutdown(cancel_futures=True)  # a generator cannot be closed while it runs
        frames.close()


class _Output:
    """Group of sinks.

    Attributes:
        complete: True once every frame of the source was passed to :meth:`write`.
    """

    def __init__(self, sinks: Sequence[Sink], whole: bool) -> None:
        self.sinks, self.whole = sinks, whole
        self.complete = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write a frame to all sinks, unless one has failed: the others would lack a frame."""
        if not self.failed:
            for sink in self.sinks:
                sink.write(frame, tracks)

    def close(self) -> None:
        """Close all sinks; with ``whole``, discard their files if they are incomplete."""
        if self.whole and (self.failed or not self.complete):
            for sink in self.sinks:
                sink.give_up(keep=False)
        else:
            close_all(self.sinks)

    @property
    def failed(self) -> bool:
        return any(sink.failure is not None for sink in self.sinks)
