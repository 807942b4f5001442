"""From boxes to what the metrics take: the overlaps of every frame, without what is held against nobody.

As TrackEval's MotChallenge2DBox does it, predictions that match a distractor are taken out (MOT16, MOT17, MOT20), and
as its BDD100K does it, predictions that match nothing and lie in an ignore region. Both rules need the boxes that are
not scored; afterwards these are gone, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.overlaps import EPS, box_area

MATCH = 0.5 - EPS  # intersection over union from which a prediction can match for the rules of this file
SOLID = 1e-9  # square pixels; unions of such boxes are never rounded to nothing

Fields = dict[str, Any]
"""TrackEval's name → number, or array (19,) over the localisation thresholds; those of all metrics together."""


class MetricInput(TypedDict):
    """One class of one sequence in TrackEval's terms; ids are 0 … n − 1.

    Lists have an entry for each frame with a box: the others change no metric, and a file may announce any number.
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
class JudgedBoxes:
    """What of one class is held against what.

    Attributes:
        scored: (N,) which of the objects.
        judged: (M,) which of the predictions.
        frames: (F,) frames in which there is any box, counted as in the truth.
        overlaps: intersection over union of the scored objects and judged predictions of each of these frames, (G, P).
    """

    scored: Bools
    judged: Bools
    frames: Ints
    overlaps: list[Floats]


def metric_inputs(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> list[MetricInput]:
    """What the metrics take, for each class; arguments as in :func:`judged_boxes`."""
    by_class = judged_boxes(truth, predictions, num_classes)
    return [metric_input(truth, predictions, boxes) for boxes in by_class]


def metric_input(truth: SequenceTruth, predictions: VideoBoxes, boxes: JudgedBoxes) -> MetricInput:
    """What the metrics take of one class. The boxes of its frames, one after the other, are the rows of the masks."""
    gt_ids, num_gt_ids = _renumbered(truth.objects, boxes.scored, boxes.frames)
    tracker_ids, num_tracker_ids = _renumbered(predictions, boxes.judged, boxes.frames)
    return MetricInput(
        num_timesteps=len(truth.frames),
        num_gt_ids=num_gt_ids,
        num_tracker_ids=num_tracker_ids,
        num_gt_dets=int(boxes.scored.sum()),
        num_tracker_dets=int(boxes.judged.sum()),
        gt_ids=gt_ids,
        tracker_ids=tracker_ids,
        similarity_scores=boxes.overlaps,
    )


def judged_boxes(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> list[JudgedBoxes]:
    """For each class, what is scored and what is left of the predictions.

    Args:
        truth: labels 0 … num_classes − 1.
        predictions: frames counted as in ``truth``; labels too, or −1 for a class that is not scored.
        num_classes: number of classes.
    """
    objects = truth.objects
    frames = np.union1d(objects.frames, predictions.frames)  # (F,)
    rows_g, rows_p = (_rows_of(boxes, frames) for boxes in (objects, predictions))
    table_g, table_p = box_columns(objects), box_columns(predictions)
    solid = bool((table_g[4] > SOLID).all() and (table_p[4] > SOLID).all())
    scored = [~objects.ignore & (objects.labels == c) for c in range(num_classes)]  # (N,) each
    judged = [predictions.labels == c for c in range(num_classes)]  # (M,) each; some are taken out below
    overlaps: list[list[Floats]] = [[] for _ in range(num_classes)]
    in_region = _in_regions(predictions, truth.regions)
    for g, p in zip(rows_g, rows_p, strict=True):
        iou = iou_matrix(table_g[:, g], table_p[:, p], solid)  # (G, P)
        at_distractor = _at_distractor(iou, truth.distractors[g])  # (P,)
        for c in range(num_classes):
            rows, columns = scored[c][g], judged[c][p]
            columns &= ~at_distractor  # writes through to judged
            if in_region[p].any():
                columns &= ~(in_region[p] & _unmatched(iou[rows], columns))
            overlaps[c].append(iou[:, columns][rows])  # TrackEval's order: the memory layout decides how sums round
    return [JudgedBoxes(scored[c], judged[c], frames, overlaps[c]) for c in range(num_classes)]


def _rows_of(boxes: VideoBoxes, frames: Ints) -> list[slice]:
    """Return which rows each of some frames (F,) has."""
    starts, ends = (np.searchsorted(boxes.frames, frames, side).tolist() for side in ("left", "right"))
    return [slice(*each) for each in zip(starts, ends, strict=True)]


def _renumbered(boxes: VideoBoxes, kept: Bools, frames: Ints) -> tuple[list[Ints], int]:
    """Return the ids of the kept boxes as numbers without gaps, for each of the frames (F,), and how many there are."""
    names, ids = np.unique(boxes.ids[kept], return_inverse=True)
    return [ids[rows] for rows in _rows_of(boxes[kept], frames)], len(names)


def box_columns(boxes: VideoBoxes) -> Floats:
    """(5, N): x1, y1, x2, y2 and area, each contiguous."""
    return np.concatenate([boxes.boxes.T, box_area(boxes.boxes)[None]])


def iou_matrix(a: Floats, b: Floats, solid: bool) -> Floats:
    """Intersection over union, operation for operation TrackEval's, so equal in bits.

    Args:
        a, b: (5, G) and (5, P) columns.
        solid: every box has an area well above 0.

    Returns:
        (G, P), 0 for boxes without area.
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
    """(P,) predictions that the Hungarian method gives to a distractor, all (G, P) boxes of the frame competing."""
    gone = np.zeros(iou.shape[1], np.bool_)
    if (iou[distractors] >= MATCH).any():
        rows, columns = _hungarian(iou)
        gone[columns[distractors[rows]]] = True
    return gone


def _unmatched(iou: Floats, predictions: Bools) -> Bools:
    """(P,) which of some predictions (P,) match none of the boxes of their class (G, P)."""
    free = predictions.copy()
    chosen = np.flatnonzero(predictions)
    free[chosen[_hungarian(iou[:, chosen])[1]]] = False
    return free


def _hungarian(iou: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of the pairs that match by at least half."""
    score = np.where(iou < MATCH, 0.0, iou)
    rows, columns = linear_sum_assignment(-score)
    matched = score[rows, columns] > EPS
    return rows[matched], columns[matched]


def _in_regions(predictions: VideoBoxes, regions: VideoBoxes) -> Bools:
    """(M,) predictions that lie by more than half of their area in one ignore region."""
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
