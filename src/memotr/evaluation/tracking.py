"""Results to be scored: every sequence of a split through the tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from fractions import Fraction
from pathlib import Path

from memotr.data.sequences import Sequence
from memotr.io.bdd import BddSink
from memotr.io.frames import DEFAULT_FPS, Frame, Selection
from memotr.io.images import ImageSource
from memotr.io.mot import MotSink
from memotr.tracking.run import FrameTracker, track_source
from memotr.tracks import Tracks


def track_sequences(
    tracker: FrameTracker,
    sequences: Iterable[Sequence],
    folder: Path,
    *,
    as_bdd: bool = False,
    class_numbers: Many[int] | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
) -> None:
    """Track sequences into ``folder/<name>.txt`` (MOTChallenge; frames count from 1, in a second half, too).

    A sequence that has its file is left alone, so that an interrupted run goes on where it stopped: a file appears only
    once its sequence is done.

    Args:
        tracker: its memory is emptied before each sequence.
        sequences: what to track; images are taken as stored, whatever rotation they ask for, as annotations are.
        folder: made if it is not there.
        as_bdd: write BDD100K's JSON, ``folder/<name>.json``, instead.
        class_numbers: see :class:`memotr.io.mot.MotSink`.
        on_frame: called after every frame.

    Raises:
        UserError: an image cannot be read, or a file cannot be written.
    """
    for sequence in sequences:
        file = result_file(folder, sequence, as_bdd)
        if file.exists():
            continue
        with _source(sequence) as source:
            sink = BddSink(file, video_name=sequence.name) if as_bdd else MotSink(file, class_numbers)
            track_source(tracker, source, [sink], on_frame, whole=True)


def result_file(folder: Path, sequence: Sequence, as_bdd: bool) -> Path:
    """Where the results of a sequence lie once it is done."""
    return folder / f"{sequence.name}{'.json' if as_bdd else '.txt'}"


def _source(sequence: Sequence) -> ImageSource:
    return ImageSource(
        list(sequence.frames),
        name=sequence.name,
        kind="sequence",
        fps=DEFAULT_FPS if sequence.fps is None else Fraction(sequence.fps).limit_denominator(1001),
        selection=Selection(),
        skip_bad=None,
        upright=False,
    )
