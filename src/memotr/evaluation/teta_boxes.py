"""The boxes of one video as flat arrays, and the overlaps between the boxes of two such tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPS = float(np.finfo(np.float64).eps)  # the tolerance of every threshold, as the metric's authors have it

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VideoBoxes:
    """Every box of a video, ground truth or predictions, one row a box.

    The order of the rows within a frame has no meaning, but it settles ties of the Hungarian method at α = 0, where
    boxes that do not touch may be matched: for the numbers of another evaluator it has to be the order of the file.

    Attributes:
        frames: (N,) frame numbers in ascending order; counted from anywhere, the same in both tables.
        ids: (N,) track ids, unique in a frame among the rows that are not ignored.
        labels: (N,) class indices; −1 for a class that is not evaluated (predictions only).
        boxes: (N, 4) xyxy in pixels, the width being x2 − x1.
        ignore: (N,) ground truth only: a crowd or another region in which nothing is annotated one by one.

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

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: NDArray[Any]) -> VideoBoxes:
        """The rows of a mask, or of ascending indices."""
        return VideoBoxes(self.frames[rows], self.ids[rows], self.labels[rows], self.boxes[rows], self.ignore[rows])


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The pairs of boxes of one frame whose intersection over union is not 0.

    Attributes:
        gt: G ground-truth boxes.
        pred: P predicted boxes.
        i: (K,) row of the ground truth of a pair, ascending.
        j: (K,) row of the prediction of a pair, ascending for each ground truth.
        iou: (K,) their intersection over union, in (0, 1].
    """

    gt: VideoBoxes
    pred: VideoBoxes
    i: Ints
    j: Ints
    iou: Floats

    @classmethod
    def between(cls, gt: VideoBoxes, pred: VideoBoxes) -> Overlaps:
        i, j = same_frame(gt.frames, pred.frames)  # (pairs,) each
        iou = box_iou(gt.boxes[i], pred.boxes[j])
        touching = iou > 0
        return cls(gt, pred, i[touching], j[touching], iou[touching])

    def select(self, gt: Bools, pred: Bools) -> Overlaps:
        """The overlaps among the ground truth (G,) and the predictions (P,) that two masks keep."""
        kept = gt[self.i] & pred[self.j]  # (K,)
        new_i, new_j = np.cumsum(gt) - 1, np.cumsum(pred) - 1  # (G,), (P,): old row → new row
        return Overlaps(self.gt[gt], self.pred[pred], new_i[self.i[kept]], new_j[self.j[kept]], self.iou[kept])


def same_frame(frames_a: Ints, frames_b: Ints) -> tuple[Ints, Ints]:
    """All pairs of rows of one frame: (A,) and (B,) ascending frame numbers → (K,) rows of a, ascending, and of b."""
    first = np.searchsorted(frames_b, frames_a, side="left")  # (A,)
    count = np.searchsorted(frames_b, frames_a, side="right") - first  # (A,) rows of b in the frame of each row of a
    i = np.repeat(np.arange(len(frames_a)), count)  # (K,)
    j = np.arange(len(i)) - np.repeat(np.cumsum(count) - count - first, count)  # (K,)
    return i, j


def box_area(boxes: Floats) -> Floats:
    """(N, 4) xyxy → (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_intersection(a: Floats, b: Floats) -> Floats:
    """Area that a[k] and b[k] share: (K, 4) and (K, 4) xyxy → (K,)."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])  # (K,)
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])  # (K,)
    shared: Floats = width.clip(min=0) * height.clip(min=0)
    return shared


def box_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of a[k] and b[k]: (K, 4) and (K, 4) xyxy → (K,); 0 where a box has no area."""
    area_a, area_b = box_area(a), box_area(b)  # (K,) each
    shared = box_intersection(a, b)
    solid = (area_a > EPS) & (area_b > EPS)
    return np.divide(shared, area_a + area_b - shared, out=np.zeros_like(shared), where=solid)
