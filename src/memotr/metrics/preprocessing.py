"""Preprocessing of boxes for the metrics: overlaps in every frame, without distractors and ignore regions.

Predictions that match a distractor are removed as in TrackEval's MotChallenge2DBox (MOT16, MOT17, MOT20), and unmatched
predictions in an ignore region as in its BDD100K. Both rules need the boxes that are not scored, which are removed
afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.overlaps import EPS, box_area

MATCH = 0.5 - EPS
"""Smallest IoU of a match."""
SOLID = 1e-9
"""Area in square pixels above which the union of two boxes does not round to 0."""

Fields = dict[str, Any]
"""TrackEval's name → number, or array (19,) over the localisation thresholds, for one or more metrics."""


class MetricInput(TypedDict):
    """Input of TrackEval's metrics for one class of one sequence; ids are 0 … n − 1.

    Lists have one entry for each frame with a box. Frames without boxes do not affect the metrics, and a file may
    declare any number of them.
    """

    num_timesteps: int
    num_gt_ids: int
    num_tracker_ids: int
    num_gt_dets: int
    num_tracker_dets: int
    gt_ids: list[Ints]  # (G,)
    tracker_ids: list[Ints]  # (P,)
    similarity_scores: list[Floats]  # (G, P)


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """Boxes of one class that are scored, and their overlaps.

    Attributes:
        objects: (N,) mask of the scored objects.
        predictions: (M,) mask of the scored predictions.
        frames: (F,) frames with any box, numbered as in the ground truth.
        overlaps: intersection over union (G, P) of scored objects and predictions in each of these frames.
    """

    objects: Bools
    predictions: Bools
    frames: Ints
    overlaps: list[Floats]


def metric_inputs(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> list[MetricInput]:
    """Return the metrics' input for each class; arguments as in :func:`scored_boxes`."""
    return [metric_input(truth, predictions, boxes) for boxes in scored_boxes(truth, predictions, num_classes)]


def metric_input(truth: SequenceTruth, predictions: VideoBoxes, boxes: ScoredBoxes) -> MetricInput:
    """Return the metrics' input for one class. Boxes keep the order of the tables."""
    gt_ids, num_gt_ids = _renumbered(truth.objects, boxes.objects, boxes.frames)
    tracker_ids, num_tracker_ids = _renumbered(predictions, boxes.predictions, boxes.frames)
    return MetricInput(
        num_timesteps=len(truth.frames),
        num_gt_ids=num_gt_ids,
        num_tracker_ids=num_tracker_ids,
        num_gt_dets=int(boxes.objects.sum()),
        num_tracker_dets=int(boxes.predictions.sum()),
        gt_ids=gt_ids,
        tracker_ids=tracker_ids,
        similarity_scores=boxes.overlaps,
    )


def scored_boxes(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> list[ScoredBoxes]:
    """Return the scored objects and predictions of each class.

    Args:
        truth: ground truth with labels 0 … num_classes − 1.
        predictions: predictions with frames and labels as in ``truth``, or label −1 for a class that is not scored.
        num_classes: number of classes.
    """
    objects = truth.objects
    frames = np.union1d(objects.frames, predictions.frames)  # (F,)
    rows_g, rows_p = (_rows_of(boxes, frames) for boxes in (objects, predictions))
    table_g, table_p = box_columns(objects), box_columns(predictions)
    solid = bool((table_g[4] > SOLID).all() and (table_p[4] > SOLID).all())
    scored = [~objects.ignore & (objects.labels == c) for c in range(num_classes)]  # (N,) each
    kept = [predictions.labels == c for c in range(num_classes)]  # (M,) each; some are removed below
    overlaps: list[list[Floats]] = [[] for _ in range(num_classes)]
    in_region = _in_regions(predictions, truth.regions)
    for g, p in zip(rows_g, rows_p, strict=True):
        iou = iou_matrix(table_g[:, g], table_p[:, p], solid)  # (G, P)
        at_distractor = _at_distractor(iou, truth.distractors[g])  # (P,)
        for c in range(num_classes):
            rows, columns = scored[c][g], kept[c][p]
            columns &= ~at_distractor  # a view: changes ``kept``
            if in_region[p].any():
                columns &= ~(in_region[p] & _unmatched(iou[rows], columns))
            overlaps[c].append(iou[:, columns][rows])  # in TrackEval's order: the memory layout affects rounding
    return [ScoredBoxes(scored[c], kept[c], frames, overlaps[c]) for c in range(num_classes)]


def _rows_of(boxes: VideoBoxes, frames: Ints) -> list[slice]:
    """Return the rows of each of some frames (F,)."""
    starts, ends = (np.searchsorted(boxes.frames, frames, side).tolist() for side in ("left", "right"))
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def _renumbered(boxes: VideoBoxes, kept: Bools, frames: Ints) -> tuple[list[Ints], int]:
    """Renumber the ids of the kept boxes from 0 without gaps; return them for each frame (F,), and their number."""
    names, ids = np.unique(boxes.ids[kept], return_inverse=True)
    return [ids[rows] for rows in _rows_of(boxes[kept], frames)], len(names)


def box_columns(boxes: VideoBoxes) -> Floats:
    """Return x1, y1, x2, y2 and area as contiguous rows (5, N)."""
    return np.concatenate([boxes.boxes.T, box_area(boxes.boxes)[None]])


def iou_matrix(a: Floats, b: Floats, solid: bool) -> Floats:
    """Return the IoU of all pairs, with TrackEval's sequence of operations for bitwise equal results.

    Args:
        a: (5, G) boxes, see :func:`box_columns`.
        b: (5, P) boxes.
        solid: every box has an area above ``SOLID``.

    Returns:
        (G, P) in [0, 1]; 0 for boxes without area.
    """
    width = np.minimum(a[2, :, None], b[2]) - np.maximum(a[0, :, None], b[0])  # (G, P)
    height = np.minimum(a[3, :, None], b[3]) - np.maximum(a[1, :, None], b[1])
    shared: Floats = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    union = a[4, :, None] + b[4]
    union -= shared
    if not solid:
        shared[a[4] <= EPS] = 0
        shared[:, b[4] <= EPS] = 0
        shared[union <= EPS] = 0
        union[union <= EPS] = 1
    shared /= union
    return shared


def _at_distractor(iou: Floats, distractors: Bools) -> Bools:
    """Return a mask (P,) of predictions matched to a distractor, with all boxes of the frame (G, P) in the matching."""
    matched = np.zeros(iou.shape[1], np.bool_)
    if (iou[distractors] >= MATCH).any():
        rows, columns = _hungarian(iou)
        matched[columns[distractors[rows]]] = True
    return matched


def _unmatched(iou: Floats, predictions: Bools) -> Bools:
    """Return a mask (P,) of selected predictions (P,) that match no box of their class; ``iou`` is (G, P)."""
    free = predictions.copy()
    chosen = np.flatnonzero(predictions)
    free[chosen[_hungarian(iou[:, chosen])[1]]] = False
    return free


def _hungarian(iou: Floats) -> tuple[Ints, Ints]:
    """Return rows and columns of the pairs with an IoU of at least ``MATCH`` that the Hungarian method selects."""
    score = np.where(iou < MATCH, 0.0, iou)
    rows, columns = linear_sum_assignment(-score)
    matched = score[rows, columns] > EPS
    return rows[matched], columns[matched]


def _in_regions(predictions: VideoBoxes, regions: VideoBoxes) -> Bools:
    """Return a mask (M,) of predictions with more than half of their area in one ignore region."""
    inside = np.zeros(len(predictions), np.bool_)
    for frame in np.unique(regions.frames).tolist():
        here = slice(*np.searchsorted(predictions.frames, (frame, frame + 1)).tolist())
        boxes, around = predictions.boxes[here], regions.boxes[regions.frames == frame]  # (P, 4), (R, 4)
        corner = np.maximum(boxes[:, None, :2], around[None, :, :2])  # (P, R, 2)
        size = np.maximum(np.minimum(boxes[:, None, 2:], around[None, :, 2:]) - corner, 0)
        area = box_area(boxes)  # (P,)
        share = np.zeros(size.shape[:2])  # (P, R)
        np.divide(size.prod(axis=-1), area[:, None], out=share, where=area[:, None] > EPS)
        inside[here] = (share > 0.5 + EPS).any(axis=1)
    return inside
