"""A whole source through a tracker: decoding, tracking and writing side by side."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memotr.io.frames import Frame, Source
from memotr.io.live import newest
from memotr.io.sinks import Sink
from memotr.tracks import Tracks

AHEAD = 3  # frames decoded before the tracker asks for them
BEHIND = 4  # frames tracked and not yet written


class FrameTracker(Protocol):
    """What of a tracker is needed here; :class:`memotr.Tracker` is one."""

    def reset(self) -> None: ...

    def update(self, frame: NDArray[np.uint8], /) -> Tracks: ...


def track_source(
    tracker: FrameTracker,
    source: Source,
    sinks: Sequence[Sink] = (),
    on_frame: Callable[[Frame, Tracks], None] | None = None,
) -> None:
    """Track a source from its first frame to its last and write every frame to all sinks, in order.

    One thread decodes ahead of the tracker and one draws and encodes behind it, with a bounded number of frames between
    them. The tracker starts from a fresh memory. ``Tracks.frame`` is the frame's number in the source. The sinks are
    closed whatever happens, a Ctrl-C included: their files then hold all frames tracked so far.

    Args:
        tracker: called in this thread only.
        source: open; it stays open.
        sinks: closed at the end.
        on_frame: called in this thread after every frame.

    Raises:
        UserError: a frame cannot be read, a file cannot be written, or the source has no frame.
        Exception: whatever the tracker or ``on_frame`` raises.
    """
    output = _Output(sinks)
    writer = ThreadPoolExecutor(1, "memotr-write")
    written: deque[Future[None]] = deque()
    try:
        tracker.reset()
        with closing(newest(source) if source.live else _decoded_ahead(source)) as frames:
            for frame in frames:
                tracks = dataclasses.replace(tracker.update(frame.image), frame=frame.index)
                written.append(writer.submit(output.write, frame, tracks))
                if len(written) > BEHIND:
                    written.popleft().result()
                if on_frame is not None:
                    on_frame(frame, tracks)
    finally:
        # By the thread that writes: it finishes the files even if a second Ctrl-C ends the waiting here.
        written.append(writer.submit(output.close))
        writer.shutdown()
        for done in written:
            done.result()


def _decoded_ahead(source: Source) -> Generator[Frame, None, None]:
    """The source's frames, fetched by another thread."""
    frames = iter(source)
    decoder = ThreadPoolExecutor(1, "memotr-decode")
    try:
        pending = deque(decoder.submit(next, frames, None) for _ in range(AHEAD))
        while (frame := pending.popleft().result()) is not None:
            pending.append(decoder.submit(next, frames, None))
            yield frame
    finally:
        decoder.shutdown(cancel_futures=True)  # a generator cannot be closed while it runs
        frames.close()


class _Output:
    """All sinks as one."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks
        self.failed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes nothing any more once a sink has failed: the others would go on with a frame missing."""
        if self.failed:
            return
        try:
            for sink in self.sinks:
                sink.write(frame, tracks)
        except BaseException:
            self.failed = True
            raise

    def close(self) -> None:
        """Closes every sink, then raises the first error that doing so gave."""
        errors = []
        for sink in self.sinks:
            try:
                sink.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
