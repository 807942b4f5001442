"""Tracking of the sequences of a split, with one result file per sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from fractions import Fraction
from functools import partial
from pathlib import Path

from memotr.data.formats.dataset_format import ResultFormat
from memotr.data.sequences import Sequence, check_frame_size
from memotr.io.frames import DEFAULT_FPS, Frame, Selection
from memotr.io.images import ImageSource
from memotr.tracking.pipeline import FrameTracker, track_source
from memotr.tracks import Tracks


def track_sequences(
    tracker: FrameTracker,
    sequences: Iterable[Sequence],
    folder: Path,
    format: ResultFormat,
    *,
    class_numbers: Many[int] | None = None,
    on_frame: Callable[[Frame, Tracks], None] | None = None,
) -> None:
    """Track sequences, and write their results to ``folder/<name>.txt`` or ``folder/<name>.json``.

    A file is created only when its sequence is complete, and sequences with a file are skipped. To continue an
    interrupted run, call the function again.

    Args:
        tracker: tracker; it is reset before each sequence.
        sequences: sequences to track. Images are read as stored, without EXIF rotation, like annotations.
        folder: folder for the files; created if it does not exist.
        format: format of the files. In MOTChallenge text, frames are numbered from 1, even in a second half.
        class_numbers: see :class:`memotr.io.mot.MotSink`.
        on_frame: function called after every frame.

    Raises:
        UserError: an image cannot be read or differs from the size of its sequence, or a file cannot be written.
    """
    for sequence in sequences:
        file = format.file(folder, sequence.name)
        if file.exists():
            continue
        with _source(sequence) as source:
            sink = format.open(file, sequence.name, class_numbers)
            track_source(tracker, source, [sink], partial(_check_frame, sequence, on_frame), whole=True)


def _check_frame(
    sequence: Sequence, on_frame: Callable[[Frame, Tracks], None] | None, frame: Frame, tracks: Tracks
) -> None:
    """Raise FrameSizeError if the size of a frame differs from that of its sequence; else call ``on_frame``."""
    if sequence.size is not None:
        check_frame_size(sequence.frames[frame.index], frame.image.shape[:2], sequence.size)
    if on_frame is not None:
        on_frame(frame, tracks)


def _source(sequence: Sequence) -> ImageSource:
    return ImageSource(
        list(sequence.frames),
        name=sequence.name,
        kind="sequence",
        fps=DEFAULT_FPS if sequence.fps is None else Fraction(sequence.fps).limit_denominator(1001),
        selection=Selection(),
        skip_bad=None,
    )
