"""Many sources through one network: one after another, or several at once as a batch."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from memotr.addresses import without_secrets
from memotr.errors import UserError
from memotr.io.frames import Frame, Source
from memotr.io.progress import TrackingBars
from memotr.io.sinks import Sink
from memotr.io.sources import is_live
from memotr.tracking.batch import side_by_side
from memotr.tracking.run import FrameTracker, track_source
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks

NOTHING_FOUND = (
    "nothing was tracked: the checkpoint may not know what is to be seen here (see memotr info), "
    "or --det-thresh is too high"
)

Open = Callable[[str], Source]
OpenOutputs = Callable[[Source], list[Sink]]


def check_sources(sources: Sequence[str], open_one: Open) -> None:
    """Open and close every file and folder, so that a wrong one is known before hours of tracking the others.

    Raises:
        UserError: one cannot be opened, or the results of two would have the same names.
    """
    found: dict[str, str] = {}
    for source in sources:
        if is_live(source):
            continue  # it is not to be connected to twice
        with open_one(source) as opened:
            name = opened.name
        if name in found:
            raise same_name(source, found[name])
        found[name] = source


def same_name(one: str, other: str) -> UserError:
    return UserError(
        f"{without_secrets(one)} and {without_secrets(other)} have the same name, and so would their results; give "
        "them one at a time, each with an --output of its own"
    )


def track_sources(
    tracker: FrameTracker, sources: Sequence[str], open_one: Open, open_outputs: OpenOutputs, batch: int = 1
) -> bool:
    """Track sources into files of their own, with progress on stderr and a summary of each on stdout.

    One that fails does not stop the others; what it has so far is kept. An interruption stops all of them.

    Args:
        tracker: forgets everything before each source.
        sources: what to open.
        open_one: opens it.
        open_outputs: the files that it becomes.
        batch: how many are tracked at once; more than one need a :class:`memotr.Tracker`.

    Returns:
        Whether all were read to their end: False where one broke off, and its results end there.

    Raises:
        UserError: of the only source, or how many have failed.
        KeyboardInterrupt: stopped; all files are complete up to here.
    """
    with TrackingBars() as bars:
        work = _Work(sources, open_one, open_outputs, bars)
        try:
            if isinstance(tracker, Tracker):
                side_by_side(tracker, min(batch, len(sources)), work, work.stop)
            else:
                work(tracker)
        except KeyboardInterrupt:
            sys.stderr.write(f"memotr: stopped{work.left()}\n")
            raise
    if len(sources) == 1 and work.failures:
        raise work.failures[0]
    for failure in work.failures:
        print(f"memotr: {failure}", file=sys.stderr)
    if work.failures:
        raise UserError(f"{len(work.failures)} of {len(sources)} sources could not be tracked to their end, see above")
    return not work.broke_off


class _Work:
    """Takes the next source that nobody has taken, until none is left; in one thread or in several."""

    def __init__(self, sources: Sequence[str], open_one: Open, open_outputs: OpenOutputs, bars: TrackingBars) -> None:
        self.failures: list[UserError] = []
        self.broke_off = False  # reading one of the sources did
        self._waiting = deque(sources)
        self._open_one, self._open_outputs, self._bars = open_one, open_outputs, bars
        self._stopped = threading.Event()
        self._owners: dict[str, list[str]] = {}  # by name: the source that was opened under it first

    def stop(self) -> None:
        """Called from outside: every thread ends at its next frame."""
        self._stopped.set()

    def left(self) -> str:
        """Which sources nobody has begun, in words."""
        return f"; not begun: {', '.join(map(without_secrets, self._waiting))}" if self._waiting else ""

    def __call__(self, tracker: FrameTracker) -> None:
        while not self._stopped.is_set():
            try:
                source = self._waiting.popleft()
            except IndexError:  # none is left; to ask first would be no use, with others asking too
                return
            try:
                self._track(tracker, source)
            except UserError as error:
                self.failures.append(error)

    def _track(self, tracker: FrameTracker, source: str) -> None:
        with self._open_one(source) as frames:
            mine = [source]
            owner = self._owners.setdefault(frames.name, mine)
            if owner is not mine:  # streams: check_sources leaves them alone
                raise same_name(source, owner[0])
            sinks = self._open_outputs(frames)
            progress = self._bars.add(frames)

            def on_frame(frame: Frame, tracks: Tracks) -> None:
                progress(frame, tracks)
                if self._stopped.is_set():
                    raise KeyboardInterrupt

            try:
                track_source(tracker, frames, sinks, on_frame)
            finally:
                self.broke_off |= frames.broke_off
                # In one write each: other threads have something to say, too.
                sys.stderr.write("".join(f"memotr: warning: {note}\n" for note in frames.notes))
                if progress.frames:
                    sys.stdout.write(f"{progress.summary(sinks)}\n")
                if progress.frames and not progress.ids:
                    sys.stderr.write(f"memotr: {NOTHING_FOUND}\n")
