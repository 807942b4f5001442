"""A whole source through a tracker: decoding, tracking and writing side by side."""

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

AHEAD = 3  # frames decoded before the tracker asks for them
BEHIND = 4  # frames tracked and not yet written


Prepared = Generator[tuple[Frame, Any], None, None]


class FrameTracker(Protocol):
    """What of a tracker is needed here; :class:`memotr.Tracker` is one."""

    def reset(self) -> None: ...

    def prepare(self, frame: NDArray[np.uint8], /) -> Any: ...

    def update(self, frame: Any, /) -> Tracks: ...


def track_source(
    tracker: FrameTracker,
    source: Source,
    sinks: Sequence[Sink] = (),
    on_frame: Callable[[Frame, Tracks], None] | None = None,
    *,
    whole: bool = False,
) -> None:
    """Track a source from its first frame to its last and write every frame to all sinks, in order.

    One thread decodes and prepares ahead of the tracker and one draws and encodes behind it, with a bounded number of
    frames between them. The tracker starts from a fresh memory. ``Tracks.frame`` is the frame's number in the source.
    The sinks are closed whatever happens, a Ctrl-C included: their files then hold all frames tracked so far. Only a
    failed write leaves older files in place.

    Args:
        tracker: called in this thread only, but for ``prepare``.
        source: open; it stays open.
        sinks: closed at the end.
        on_frame: called in this thread after every frame.
        whole: discard the results unless all frames were tracked and written.

    Raises:
        UserError: a frame cannot be read, a file cannot be written, or the source has no frame.
        Exception: whatever the tracker or ``on_frame`` raises.
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
        # By the thread that writes: it finishes the files even if a second Ctrl-C ends the waiting here.
        written.appendleft(writer.submit(output.close))  # its error says most
        writer.shutdown()
        for done in written:
            done.result()


def _newest(source: Source, tracker: FrameTracker) -> Prepared:
    """Of a live source always the last frame, with what the tracker takes of it."""
    with closing(newest(source)) as frames:
        for frame in frames:
            yield frame, tracker.prepare(frame.image)


def _ahead(source: Source, tracker: FrameTracker) -> Prepared:
    """The source's frames with what the tracker takes of them, made by another thread."""
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
    """All sinks as one.

    Attributes:
        complete: every frame of the source has been given to :meth:`write`.
    """

    def __init__(self, sinks: Sequence[Sink], whole: bool) -> None:
        self.sinks, self.whole = sinks, whole
        self.complete = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Writes nothing any more once a sink has failed: the others would go on with a frame missing."""
        if not self.failed:
            for sink in self.sinks:
                sink.write(frame, tracks)

    def close(self) -> None:
        """Close all sinks, or discard their files where only whole ones are wanted."""
        if self.whole and (self.failed or not self.complete):
            for sink in self.sinks:
                sink.give_up(keep=False)
        else:
            close_all(self.sinks)

    @property
    def failed(self) -> bool:
        return any(sink.failure is not None for sink in self.sinks)
