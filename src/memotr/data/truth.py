"""Ground truth and results as metrics take them: boxes of one sequence in float64, as written, sorted by frame.

Training keeps the objects to learn from. Here distractors, ignored rows and ignore regions stay: official numbers
depend on all of them.
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


def second_half(length: int) -> range:
    """Return the numbers, from 1, of the frames that half splits validate on."""
    return range(first_half_length(length) + 1, length + 1)


@dataclass(frozen=True, eq=False)
class VideoBoxes:
    """Boxes of one sequence, ground truth or predictions, one row a box.

    The order of the rows within a frame has no meaning, but it settles ties of the Hungarian method at α = 0, where
    boxes that do not touch may be matched: for the numbers of another evaluator it has to be the order of the file.

    Attributes:
        frames: (N,) frame numbers in ascending order; counted from anywhere, the same in both tables.
        ids: (N,) track ids, unique in a frame among the rows that are not ignored.
        labels: (N,) class indices; −1 for a class that is not evaluated.
        boxes: (N, 4) xyxy in pixels, the width being x2 − x1.
        ignore: (N,) ground truth only: rows that are not scored, or regions in which nothing is annotated one by one.

    Raises:
        ValueError: lengths that differ, frames out of order, boxes that are not finite, an id twice in a frame.
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
        twice = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
        if twice.any():
            row = order[np.flatnonzero(twice)[0]]
            raise ValueError(f"VideoBoxes: id {ids[row]} is twice in frame {frames[row]}")

    @classmethod
    def empty(cls) -> VideoBoxes:
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros((0, 4)), np.zeros(0, np.bool_))

    @classmethod
    def by_frame(
        cls, table: AnnotationTable, frames: Sequence[int], labels: Ints, ignore: Bools, rows: Bools | None = None
    ) -> tuple[VideoBoxes, Ints]:
        """Return the rows of some frames, sorted by frame and else in the order of the file; and which these are.

        Args:
            table: annotations or results.
            frames: numbers of the T frames, ascending; the boxes have indices 0 … T − 1 instead.
            labels, ignore: (N,) of all rows.
            rows: (N,) which rows are wanted; None: all.
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
        """Return the rows of a mask, or of ascending indices."""
        return VideoBoxes(self.frames[rows], self.ids[rows], self.labels[rows], self.boxes[rows], self.ignore[rows])


def positions(numbers: Ints, frames: Sequence[int] | Ints) -> tuple[Ints, Bools]:
    """Return where frame numbers (N,) stand among ``frames``, ascending, and which of them are there; (N,) each."""
    if isinstance(frames, range):
        return numbers - frames.start, (numbers >= frames.start) & (numbers < frames.stop)
    known = np.asarray(frames, np.int64)
    position = np.minimum(np.searchsorted(known, numbers), max(0, len(known) - 1))
    return position, known[position] == numbers if len(known) else np.zeros(len(numbers), np.bool_)


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """Ground truth of one sequence.

    Attributes:
        name: of the sequence.
        frames: numbers of the T frames to score, ascending, as results count them. A range where there are no gaps: it
            costs nothing, whatever length a file announces.
        objects: boxes; ``frames`` in it are indices 0 … T − 1, labels are classes. Ignored ones are not scored (mark
            0, or a class that is not), but a prediction may match them instead of a scored one.
        distractors: (N,) which of ``objects`` take the predictions that match them out of the game.
        regions: ignore regions: predictions in them that match nothing are no errors.
        length: number of frames of the sequence, whether all are scored or not.
        folder: of the sequence on disk, where its images may be; None where there is none.
        images: names of the image files of all ``length`` frames where the ground truth has them; else empty.
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

    def blind(self) -> SequenceTruth:
        """Return the same with all classes as one."""
        boxes = self.objects
        one = VideoBoxes(boxes.frames, boxes.ids, np.zeros(len(boxes), np.int64), boxes.boxes, boxes.ignore)
        return replace(self, objects=one)
