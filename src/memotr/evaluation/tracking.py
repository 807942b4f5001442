"""Results to be scored: every sequence of a split through the tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

from memotr.data.sequences import Sequence
from memotr.io.bdd import BddSink
from memotr.io.frames import DEFAULT_FPS, Selection
from memotr.io.images import ImageSource
from memotr.io.mot import MotSink
from memotr.tracking.run import track_source
from memotr.tracking.tracker import Tracker

UNFINISHED = "unfinished"


def track_sequences(
    tracker: Tracker,
    sequences: Iterable[Sequence],
    folder: Path,
    *,
    as_bdd: bool = False,
    on_sequence: Callable[[Sequence], None] | None = None,
) -> None:
    """Track sequences into ``folder/<name>.txt`` (MOTChallenge; frames count from 1, in a second half, too).

    A sequence that has its file is left alone, so that an interrupted run goes on where it stopped: files of sequences
    that are not done yet lie in ``folder/unfinished``.

    Args:
        tracker: its memory is emptied before each sequence.
        sequences: what to track.
        folder: made if it is not there.
        as_bdd: write BDD100K's JSON, ``folder/<name>.json``, instead.
        on_sequence: told of every sequence that is done.

    Raises:
        UserError: an image cannot be read, or a file cannot be written.
    """
    for sequence in sequences:
        file = f"{sequence.name}.json" if as_bdd else f"{sequence.name}.txt"
        if not (folder / file).exists():
            path = folder / UNFINISHED / file
            sink = BddSink(path, video_name=sequence.name) if as_bdd else MotSink(path)
            with _source(sequence) as source:
                track_source(tracker, source, [sink])
            path.replace(folder / file)
        if on_sequence is not None:
            on_sequence(sequence)
    unfinished = folder / UNFINISHED
    if unfinished.is_dir() and not any(unfinished.iterdir()):
        unfinished.rmdir()


def _source(sequence: Sequence) -> ImageSource:
    fps = DEFAULT_FPS if sequence.fps is None else Fraction(sequence.fps).limit_denominator(1001)
    files = list(sequence.frames)
    return ImageSource(files, name=sequence.name, kind="sequence", fps=fps, selection=Selection(), skip_bad=False)
