"""Ground truth and results for metrics: boxes of one sequence in float64, sorted by frame, otherwise as in the file.

Unlike training data, they include distractors, ignored rows and ignore regions, which affect the official metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import AnnotationTable, Bools, Floats, Ints
from memotr.data.sequences import first_half_length
from memotr.filenames import check_filename


def beyond_message(frames: Ints, length: int, first: int = 1) -> str:
    """Return the error message for frames beyond the end of the sequence, for :meth:`AnnotationTable.report`.

    Args:
        frames: (N,) frame numbers of all rows of the file.
        length: number of frames of the sequence.
        first: number of its first frame.
    """
    lowest, highest = (int(frames.min()), int(frames.max())) if len(frames) else (first, first)
    shifted = lowest > first and highest - lowest < length
    from_0 = "" if first else ", numbered from 0"
    hint = f"; the file numbers frames from {lowest}: number them from {first}" if shifted else ""
    return f"frame {{frame}} is beyond the sequence of {length} frames{from_0}{hint}"


def second_half(length: int) -> range:
    """Return the numbers, from 1, of the validation frames of a half split."""
    return range(first_half_length(length) + 1, length + 1)


@dataclass(frozen=True, eq=False)
class VideoBoxes:
    """Boxes of one sequence, ground truth or predictions, one row per box.

    Within a frame, rows must stay in the order of the file: it breaks ties in the Hungarian matching at α = 0, where
    boxes that do not overlap may be matched, and the results of other evaluators depend on it.

    Attributes:
        frames: (N,) frame numbers in ascending order, with the same first number in ground truth and predictions.
        ids: (N,) track ids, unique within a frame among the rows that are not ignored.
        labels: (N,) class indices; −1 for classes that are not evaluated.
        boxes: (N, 4) xyxy in pixels; the width is x2 − x1.
        ignore: (N,) mask of ground truth rows that are not scored, or are ignore regions; all False in predictions.

    Raises:
        ValueError: lengths differ, frames are not sorted, boxes are not finite, or an id is repeated in a frame.
    """

    frames: Ints
    ids: Ints
    labels: Ints
    boxes: Floats
    ignore: Bools

    def __post_init__(self) -> None:
        n = len(self.frames)
        shapes = {"ids": (n,), "labels": (n,), "boxes": (n, 4), "ignore": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"VideoBoxes: {n} frames, {name} of shape {getattr(self, name).shape}, not {shape}")
        if (np.diff(self.frames) < 0).any():
            raise ValueError("VideoBoxes: frames are not in ascending order")
        if not np.isfinite(self.boxes).all():
            raise ValueError("VideoBoxes: boxes are not finite")
        frames, ids = self.frames[~self.ignore], self.ids[~self.ignore]
        order = np.lexsort((ids, frames))
        repeated = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
        if repeated.any():
            row = order[np.flatnonzero(repeated)[0]]
            raise ValueError(f"VideoBoxes: id {ids[row]} is repeated in frame {frames[row]}")

    @classmethod
    def empty(cls) -> VideoBoxes:
        """Return a table without boxes."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros((0, 4)), np.zeros(0, np.bool_))

    @classmethod
    def by_frame(
        cls, table: AnnotationTable, frames: Sequence[int], labels: Ints, ignore: Bools, rows: Bools | None = None
    ) -> tuple[VideoBoxes, Ints]:
        """Return the boxes of the given frames, sorted by frame, and their row numbers in the table.

        Within a frame, boxes stay in the order of the file.

        Args:
            table: annotations or results.
            frames: T frame numbers, ascending; the returned boxes have their indices 0 … T − 1 instead.
            labels: (N,) labels of all rows.
            ignore: (N,) mask of ignored rows.
            rows: (N,) mask of the rows to use; None: all rows.
        """
        position, inside = positions(table.frames, frames)
        if rows is not None:
            inside = inside & rows
        chosen = np.flatnonzero(inside)
        order = chosen[np.argsort(position[chosen], kind="stable")]
        return cls(position[order], table.ids[order], labels[order], table.boxes[order], ignore[order]), order

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: NDArray[Any]) -> VideoBoxes:
        """Return the rows selected by a mask or by ascending indices."""
        return VideoBoxes(self.frames[rows], self.ids[rows], self.labels[rows], self.boxes[rows], self.ignore[rows])


def positions(numbers: Ints, frames: Sequence[int] | Ints) -> tuple[Ints, Bools]:
    """Return the position of each number (N,) in ``frames`` (ascending), and a mask (N,) of those that occur in it."""
    if isinstance(frames, range):
        return numbers - frames.start, (numbers >= frames.start) & (numbers < frames.stop)
    known = np.asarray(frames, np.int64)
    position = np.minimum(np.searchsorted(known, numbers), max(0, len(known) - 1))
    return position, known[position] == numbers if len(known) else np.zeros(len(numbers), np.bool_)


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """Ground truth of one sequence for scoring.

    Attributes:
        name: name of the sequence.
        frames: numbers of the T scored frames in results, ascending. Without gaps it is a range, so that a huge length
            declared by a file needs no memory.
        objects: boxes with frame indices 0 … T − 1 and class labels. Ignored objects (mark 0, or a class that is not
            scored) are not scored, but predictions may be matched to them.
        distractors: (N,) mask of ``objects`` whose matched predictions are removed.
        regions: ignore regions; unmatched predictions in them are not false positives.
        length: number of frames of the whole sequence.
        folder: folder of the sequence or of its images; None if there is none.
        images: image file names of all ``length`` frames; empty if the ground truth does not have them.
    """

    name: str
    frames: Sequence[int]
    objects: VideoBoxes
    distractors: Bools
    regions: VideoBoxes
    length: int
    folder: Path | None = None
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_filename(self.name, self.folder or "ground truth")

    def class_agnostic(self) -> SequenceTruth:
        """Return the ground truth with all classes merged into one."""
        boxes = self.objects
        one = VideoBoxes(boxes.frames, boxes.ids, np.zeros(len(boxes), np.int64), boxes.boxes, boxes.ignore)
        return replace(self, objects=one)
