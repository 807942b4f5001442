"""IoU between the boxes of two tables of one sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import VideoBoxes

EPS = float(np.finfo(np.float64).eps)
"""Tolerance of thresholds, as in the metric authors' code."""


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of boxes of the same frame whose intersection over union is not 0.

    Attributes:
        gt: G ground-truth boxes.
        pred: P predicted boxes.
        i: (K,) row of each pair's ground truth, ascending.
        j: (K,) row of each pair's prediction, ascending for each ground truth.
        iou: (K,) intersection over union of each pair, in (0, 1].
    """

    gt: VideoBoxes
    pred: VideoBoxes
    i: Ints
    j: Ints
    iou: Floats

    @classmethod
    def between(cls, gt: VideoBoxes, pred: VideoBoxes) -> Overlaps:
        """Compute the overlaps of two tables."""
        i, j = same_frame(gt.frames, pred.frames)  # (pairs,) each
        iou = box_iou(gt.boxes[i], pred.boxes[j])
        touching = iou > 0
        return cls(gt, pred, i[touching], j[touching], iou[touching])

    def select(self, gt: Bools, pred: Bools) -> Overlaps:
        """Return the overlaps between the ground truth and the predictions selected by masks (G,) and (P,)."""
        kept = gt[self.i] & pred[self.j]  # (K,)
        new_i, new_j = np.cumsum(gt) - 1, np.cumsum(pred) - 1  # (G,), (P,): old row → new row
        return Overlaps(self.gt[gt], self.pred[pred], new_i[self.i[kept]], new_j[self.j[kept]], self.iou[kept])


def same_frame(frames_a: Ints, frames_b: Ints) -> tuple[Ints, Ints]:
    """Return all pairs of rows with equal frame numbers.

    Args:
        frames_a: (A,) frame numbers, ascending.
        frames_b: (B,) frame numbers, ascending.

    Returns:
        (K,) row of a in each pair, ascending, and (K,) row of b.
    """
    first = np.searchsorted(frames_b, frames_a, side="left")  # (A,)
    count = np.searchsorted(frames_b, frames_a, side="right") - first  # (A,) rows of b in the frame of each row of a
    i = np.repeat(np.arange(len(frames_a)), count)  # (K,)
    j = np.arange(len(i)) - np.repeat(np.cumsum(count) - count - first, count)  # (K,)
    return i, j


def box_area(boxes: Floats) -> Floats:
    """Return the areas (N,) of boxes (N, 4) xyxy."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_intersection(a: Floats, b: Floats) -> Floats:
    """Return the intersection areas (K,) of a[k] and b[k], both (K, 4) xyxy."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])  # (K,)
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])  # (K,)
    shared: Floats = width.clip(min=0) * height.clip(min=0)
    return shared


def box_iou(a: Floats, b: Floats) -> Floats:
    """Return intersection over union (K,) of a[k] and b[k], both (K, 4) xyxy; 0 for boxes without area."""
    area_a, area_b = box_area(a), box_area(b)  # (K,) each
    shared = box_intersection(a, b)
    solid = (area_a > EPS) & (area_b > EPS)
    return np.divide(shared, area_a + area_b - shared, out=np.zeros_like(shared), where=solid)
