"""Tracking of many sources with one network, one after another or several at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from memotr.addresses import without_secrets
from memotr.errors import UserError
from memotr.io.frames import Frame, Source
from memotr.io.progress import TrackingBars
from memotr.io.sinks import Sink
from memotr.io.sources import is_live
from memotr.terminal import note, say
from memotr.tracking.batch import side_by_side
from memotr.tracking.pipeline import track_source
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import VideoTracker
from memotr.tracks import Tracks

Open = Callable[[str], Source]
OpenOutputs = Callable[[Source], list[Sink]]


def check_sources(sources: Sequence[str], open_one: Open) -> list[str]:
    """Open and close every file and folder, so that errors are found before hours of tracking.

    Returns:
        The names of the sources, which are those of their results.

    Raises:
        UserError: one cannot be opened, or the results of two would have the same names.
    """
    found: dict[str, str] = {}
    for source in sources:
        if is_live(source):
            continue  # cameras and streams are connected to only once
        with open_one(source) as opened:
            name = opened.name
        if name in found:
            raise same_name(source, found[name])
        found[name] = source
    return list(found)


def same_name(one: str, other: str) -> UserError:
    """Return the error for two sources of the same name."""
    return UserError(
        f"{without_secrets(one)} and {without_secrets(other)} have the same name, and so would their results; give "
        "them one at a time, each with an --output of its own"
    )


def track_sources(
    tracker: VideoTracker, sources: Sequence[str], open_one: Open, open_outputs: OpenOutputs, batch: int = 1
) -> bool:
    """Track each source into its own files, with progress on stderr and a summary on stdout.

    A source that fails does not stop the others, and its results so far are kept. An interruption stops all sources.

    Args:
        tracker: tracker that is reset before each source.
        sources: sources as the user named them.
        open_one: opens a source.
        open_outputs: opens the output files of a source.
        batch: number of sources to track at once; more than one require a :class:`memotr.Tracker`.

    Returns:
        Whether all sources were read to their end; False if one broke off, where its results end.

    Raises:
        UserError: the error of the only source, or the number of sources that failed.
        KeyboardInterrupt: the run was interrupted; all files are complete up to then.
    """
    with TrackingBars() as bars:
        work = _Work(sources, open_one, open_outputs, bars)
        try:
            if isinstance(tracker, Tracker) and min(batch, len(sources)) > 1:
                side_by_side(tracker, min(batch, len(sources)), work.track_all, work.stop)
            else:
                for source in work.waiting():
                    work.track(tracker, source)
        except KeyboardInterrupt:
            note(f"stopped{work.left()}")
            raise
    if len(sources) == 1 and work.failures:
        raise work.failures[0]
    note(*work.failures)
    if work.failures:
        raise UserError(f"{len(work.failures)} of {len(sources)} sources could not be tracked to their end, see above")
    return not work.broke_off


class _Work:
    """Queue of sources that one or several threads track until it is empty."""

    def __init__(self, sources: Sequence[str], open_one: Open, open_outputs: OpenOutputs, bars: TrackingBars) -> None:
        self.failures: list[UserError] = []
        self.broke_off = False  # whether reading one of the sources broke off
        self._waiting = deque(sources)
        self._open_one, self._open_outputs, self._bars = open_one, open_outputs, bars
        self._stopped = threading.Event()
        self._owners: dict[str, list[str]] = {}  # name → first source with that name

    @contextmanager
    def _keeping_errors(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self.failures.append(error)

    def stop(self) -> None:
        """Ask every thread to stop at its next frame."""
        self._stopped.set()

    def left(self) -> str:
        """Return a text that lists the sources that were not begun."""
        return f"; not begun: {', '.join(map(without_secrets, self._waiting))}" if self._waiting else ""

    def waiting(self) -> Iterator[str]:
        """Take one source after the other from the queue."""
        while not self._stopped.is_set():
            try:
                yield self._waiting.popleft()
            except IndexError:  # empty; checking first would not help, because other threads take sources, too
                return

    def track_all(self, tracker: VideoTracker) -> None:
        """Track sources from the queue until it is empty."""
        for source in self.waiting():
            self.track(tracker, source)

    def track(self, tracker: VideoTracker, source: str) -> None:
        """Track one source; keep its error for later if it fails."""
        with self._keeping_errors(), self._open_one(source) as frames:
            mine = [source]
            owner = self._owners.setdefault(frames.name, mine)
            if owner is not mine:  # for streams, which check_sources does not open
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
                note(*(f"warning: {warning}" for warning in frames.notes))
                if progress.frames:
                    totals, files = progress.summary(sinks)
                    say(f"{totals}, precision {tracker.precision}", files)
                if progress.frames and not progress.ids:
                    note(tracker.explain_no_tracks())
