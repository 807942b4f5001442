"""Tracking of many sources with one network, one after another or several at once."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from memotr.addresses import without_secrets
from memotr.errors import UserError
from memotr.filenames import clean_filename
from memotr.io.frames import Frame, Source
from memotr.io.progress import TrackingBars
from memotr.io.sinks import Sink
from memotr.io.sources import is_live, live_name
from memotr.terminal import note, say
from memotr.tracking.batch import side_by_side
from memotr.tracking.pipeline import track_source
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import VideoTracker
from memotr.tracks import Tracks

MAX_LISTED = 5
"""Number of frame sizes that a note lists."""

Open = Callable[[str], Source]
OpenOutputs = Callable[[Source], list[Sink]]
OnFrame = Callable[[Frame, Tracks], None]


def check_sources(sources: Sequence[str], open_one: Open) -> dict[str, str]:
    """Open and close every file and folder, so that errors are found before hours of tracking.

    Returns:
        source → name of its results: the name of the source, or the shortest end of its path that differs from other
        sources of that name (``a/clip.mp4`` and ``b/clip.mp4`` become ``a_clip`` and ``b_clip``).

    Raises:
        UserError: a source cannot be opened or is given twice, streams have the same name, or images of one folder are
            given one by one.
    """
    names: dict[str, str] = {}
    places: set[str | Path] = set()
    images: Counter[Path] = Counter()  # folder → number of its images
    for source in sources:
        place = source if is_live(source) else _path(source)
        if place in places:
            raise UserError(f"{without_secrets(source)} is given twice; give it once")
        places.add(place)
        if is_live(source):
            names[source] = clean_filename(live_name(source))  # cameras and streams are connected to only once
            continue
        with open_one(source) as opened:
            names[source] = opened.name
        if opened.kind == "images" and Path(source).is_file():
            images[Path(source).parent] += 1
    for folder, count in images.items():
        if count > 1:
            raise UserError(
                f"{count} images of the folder {folder} are given one by one, and each would be tracked as a separate "
                "video; pass the folder to track them as one video (--start, --end and --stride choose among them)"
            )
    return _unique_names(names)


def _unique_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return source → name of its results. Names differ in more than case, for file systems that ignore case."""
    groups: dict[str, list[str]] = {}
    for source, name in names.items():
        groups.setdefault(name.casefold(), []).append(source)
    found = {sources[0]: names[sources[0]] for sources in groups.values() if len(sources) == 1}
    for sources in groups.values():
        if len(sources) == 1:
            continue
        taken = {name.casefold() for name in found.values()}
        for longer in _longer_names(sources, names):
            unique = {name.casefold() for name in longer}
            if len(unique) == len(sources) and not unique & taken:
                found.update(zip(sources, longer, strict=True))
                break
        else:
            one, other = map(without_secrets, sources[:2])
            raise UserError(
                f"{one} and {other} have the same name, and so would their results; track them one at a time, each "
                "with its own --output"
            )
    return {source: found[source] for source in names}


def _longer_names(sources: Sequence[str], names: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield lists of longer and longer names: with the suffix, with the parent folder, with both, and so on."""
    paths = [Path(names[source]) if is_live(source) else _path(source) for source in sources]
    for depth in range(max(len(path.parts) for path in paths)):
        for whole in (False, True):
            yield [
                clean_filename("_".join([*_above(path, depth), path.name if whole else names[source]]))
                for source, path in zip(sources, paths, strict=True)
            ]


def _above(path: Path, depth: int) -> tuple[str, ...]:
    """Return the names of the last ``depth`` folders above a path."""
    return path.relative_to(path.anchor).parent.parts[-depth:] if depth else ()


def _path(source: str) -> Path:
    """Return the absolute path of a file or folder, an ``img1`` folder standing for its sequence."""
    path = Path(os.path.abspath(source))  # noqa: PTH100  # a symbolic link is another source than its target
    return path.parent if path.name == "img1" else path


def track_sources(
    tracker: VideoTracker, names: Mapping[str, str], open_one: Open, open_outputs: OpenOutputs, batch: int = 1
) -> bool:
    """Track each source into its own files, with progress on stderr and a summary on stdout.

    A source that fails does not stop the others, and its results so far are kept. An interruption stops all sources.

    Args:
        tracker: tracker that is reset before each source.
        names: sources as the user named them, and the names of their results, see :func:`check_sources`.
        open_one: opens a source.
        open_outputs: opens the output files of a source.
        batch: number of sources to track at once; more than one require a :class:`memotr.Tracker`.

    Returns:
        True if all sources were read to their end; False if one broke off: its results end there.

    Raises:
        UserError: the error of the only source, or the number of sources that failed.
        KeyboardInterrupt: the run was interrupted; all files are complete up to then.
    """
    with TrackingBars() as bars:
        work = _Work(tracker, names, open_one, open_outputs, bars)
        try:
            if isinstance(tracker, Tracker) and min(batch, len(names)) > 1:
                side_by_side(tracker, min(batch, len(names)), work.track_all, work.stop)
            else:
                for source in work.waiting():
                    with work.keeping_errors(), work.opened(source) as (frames, sinks, on_frame):
                        track_source(tracker, frames, sinks, on_frame)
        except KeyboardInterrupt:
            note(f"stopped{work.left()}")
            raise
    if len(names) == 1 and work.failures:
        raise work.failures[0]
    note(*work.failures)
    if work.failures:
        raise UserError(f"{len(work.failures)} of {len(names)} sources could not be tracked to their end, see above")
    return not work.broke_off


def _several_sizes(name: str, sizes: Mapping[tuple[int, ...], int]) -> str:
    """Return a note about frames of different sizes: (height, width) → number of its first frame."""
    listed = [f"{width} x {height} (from frame {first})" for (height, width), first in sizes.items()]
    more = ", …" if len(listed) > MAX_LISTED else ""
    return f"{name}: frames have several sizes, {', '.join(listed[:MAX_LISTED])}{more}; boxes are in pixels of each"


class _Work:
    """Queue of sources, which one or several threads track until it is empty."""

    def __init__(
        self,
        tracker: VideoTracker,
        names: Mapping[str, str],
        open_one: Open,
        open_outputs: OpenOutputs,
        bars: TrackingBars,
    ) -> None:
        self.failures: list[UserError] = []
        self.broke_off = False  # reading of a source broke off
        self._tracker, self._names = tracker, names
        self._waiting = deque(names)
        self._open_one, self._open_outputs, self._bars = open_one, open_outputs, bars
        self._stopped = threading.Event()

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep an error for later, so that other sources are tracked."""
        try:
            yield
        except UserError as error:
            self.failures.append(error)

    def stop(self) -> None:
        """Ask every thread to stop at its next frame."""
        self._stopped.set()

    def left(self) -> str:
        """Return a text for messages with the sources that were not begun; empty if there are none."""
        return f"; not begun: {', '.join(map(without_secrets, self._waiting))}" if self._waiting else ""

    def track_all(self, tracker: Tracker) -> None:
        """Track sources from the queue until it is empty."""
        for source in self.waiting():
            with self.keeping_errors(), self.opened(source) as (frames, sinks, on_frame):
                track_source(tracker, frames, sinks, on_frame)

    def waiting(self) -> Iterator[str]:
        """Take one source after the other from the queue."""
        while not self._stopped.is_set():
            try:
                yield self._waiting.popleft()
            except IndexError:  # empty; checking first would not help, because other threads take sources, too
                return

    @contextmanager
    def opened(self, source: str) -> Iterator[tuple[Source, list[Sink], OnFrame]]:
        """Open a source, its outputs and its progress bar for :func:`track_source`, and report at the end."""
        with self._open_one(source) as frames:
            frames.name = self._names[source]
            sinks = self._open_outputs(frames)
            progress = self._bars.add(frames)

            sizes: dict[tuple[int, ...], int] = {}  # (height, width) → its first frame

            def on_frame(frame: Frame, tracks: Tracks) -> None:
                progress(frame, tracks)
                sizes.setdefault(frame.image.shape[:2], frame.index)
                if self._stopped.is_set():
                    raise KeyboardInterrupt

            try:
                yield frames, sinks, on_frame
            finally:
                self.broke_off |= frames.broke_off
                notes = [*frames.notes, *(text for sink in sinks for text in sink.notes)]
                note(*(f"warning: {warning}" for warning in notes))
                if len(sizes) > 1:
                    note(_several_sizes(frames.name, sizes))
                if progress.frames:
                    totals, files = progress.summary(sinks)
                    say(f"{totals}, precision {self._tracker.precision}", files)
                if progress.frames and not progress.ids:
                    note(self._tracker.explain_no_tracks())
