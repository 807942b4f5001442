"""Classification of the boxes of a sequence as matched, missed or false, with a possible cause for each error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.clear import UNMATCHED, clear_matching
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import MATCH, box_columns, iou_matrix, metric_input, scored_boxes

NEARBY = 0.25
"""Smallest IoU of an object and an inaccurate prediction of it."""
OCCLUDED = 0.5
"""Smallest covered share of an occluded box."""
SMALL = 32.0**2
"""Area in square pixels below which an object is small, as in COCO."""


class MissKind(StrEnum):
    """Possible cause of a missed object. The first that applies is reported."""

    MERGED = "one box for two objects"
    CLASS = "predicted as another class"
    OFF = "inaccurate box"
    OCCLUDED = "at least half occluded"
    SMALL = "small"
    NOT_FOUND = "not found"


class FalseKind(StrEnum):
    """Possible cause of a false prediction. The first that applies is reported."""

    DUPLICATE = "second box on an object"
    CLASS = "object of another class"
    OFF = "inaccurate box"
    BACKGROUND = "nothing annotated there"


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Scored boxes of a sequence and their matches.

    Attributes:
        truth: ground truth of the sequence.
        objects: N scored ground-truth boxes.
        matched_ids: (N,) id of the prediction matched to each object; −1: missed.
        switched: (N,) mask of objects matched to another id than at their last match.
        missed_by: (N,) index in :class:`MissKind` of the cause of each missed object, else −1.
        predictions: M scored predictions.
        false_by: (M,) index in :class:`FalseKind` of the cause of each false prediction, else −1.
    """

    truth: SequenceTruth
    objects: VideoBoxes
    matched_ids: Ints
    switched: Bools
    missed_by: Ints
    predictions: VideoBoxes
    false_by: Ints

    @property
    def missed(self) -> Bools:
        """Mask (N,) of missed objects."""
        missed: Bools = self.matched_ids == UNMATCHED
        return missed

    @property
    def false(self) -> Bools:
        """Mask (M,) of false predictions."""
        false: Bools = self.false_by >= 0
        return false


def match_boxes(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> MatchedBoxes:
    """Match the boxes of a sequence as CLEAR does, separately for each class.

    Args:
        truth: ground truth with labels 0 … num_classes − 1.
        predictions: predictions with frames numbered as in ``truth``.
        num_classes: number of classes.
    """
    objects = truth.objects
    scored, kept = np.zeros(len(objects), np.bool_), np.zeros(len(predictions), np.bool_)
    matched_ids, switched, matched = np.full(len(objects), UNMATCHED), scored.copy(), kept.copy()
    for boxes in scored_boxes(truth, predictions, num_classes):
        matching = clear_matching(metric_input(truth, predictions, boxes))
        object_rows, prediction_rows = np.flatnonzero(boxes.objects), np.flatnonzero(boxes.predictions)
        hit = matching.partner != UNMATCHED
        partners = prediction_rows[matching.partner[hit]]
        matched_ids[object_rows[hit]], matched[partners] = predictions.ids[partners], True
        switched[object_rows] = matching.switched
        scored |= boxes.objects
        kept |= boxes.predictions
    objects, predictions = objects[scored], predictions[kept]
    matched_ids, matched = matched_ids[scored], matched[kept]
    missed_by, false_by = _explain(truth.objects, objects, matched_ids == UNMATCHED, predictions, ~matched)
    return MatchedBoxes(truth, objects, matched_ids, switched[scored], missed_by, predictions, false_by)


def _explain(
    everything: VideoBoxes, objects: VideoBoxes, missed: Bools, predictions: VideoBoxes, false: Bools
) -> tuple[Ints, Ints]:
    """Return a possible cause for each missed object (N,) and each false prediction (M,).

    Args:
        everything: all E boxes that may occlude an object, scored or not.
        objects: N scored ground-truth boxes.
        missed: (N,) mask of missed objects.
        predictions: M scored predictions.
        false: (M,) mask of false predictions.

    Returns:
        Indices in :class:`MissKind` (N,) and in :class:`FalseKind` (M,); −1 for boxes without an error.
    """
    missed_by, false_by = np.full(len(objects), -1), np.full(len(predictions), -1)
    tables = everything, objects, predictions
    all_columns, object_columns, prediction_columns = map(box_columns, tables)  # (5, E), (5, N), (5, M)
    frames = np.union1d(objects.frames[missed], predictions.frames[false])
    starts, ends = ([np.searchsorted(t.frames, frames, side) for t in tables] for side in ("left", "right"))
    for k in range(len(frames)):
        e, g, p = (slice(starts[n][k], ends[n][k]) for n in range(3))
        missed_here, false_here = missed[g], false[p]
        boxes = object_columns[:, g]
        iou = iou_matrix(boxes, prediction_columns[:, p], solid=False)  # (G, P)
        same = objects.labels[g][:, None] == predictions.labels[p]  # (G, P)
        overlapping, near = iou >= MATCH, same & (iou >= NEARBY)
        confused = overlapping & ~same
        parts = same & overlapping & ~false_here, confused, near & false_here
        occluded = _covered(boxes[:, missed_here], all_columns[:, e]) >= OCCLUDED
        reasons = [part[missed_here].any(axis=1) for part in parts] + [occluded, boxes[4, missed_here] < SMALL]
        missed_by[np.flatnonzero(missed_here) + g.start] = _first(reasons)
        parts = same & overlapping, confused, near & missed_here[:, None]
        false_by[np.flatnonzero(false_here) + p.start] = _first([part[:, false_here].any(axis=0) for part in parts])
    return missed_by, false_by


def _first(reasons: Sequence[Bools]) -> Ints:
    """Return the index (K,) of the first of several masks (K,) that is True; the number of masks if none is."""
    table = np.stack([*reasons, np.ones_like(reasons[0])])
    first: Ints = table.argmax(axis=0)
    return first


def _covered(boxes: Floats, others: Floats) -> Floats:
    """Return the largest share (K,) of each box that one box reaching lower, so probably nearer, covers.

    Args:
        boxes: (5, K), see :func:`memotr.metrics.preprocessing.box_columns`.
        others: (5, E), all boxes of the frame.
    """
    width = np.minimum(boxes[2, :, None], others[2]) - np.maximum(boxes[0, :, None], others[0])  # (K, E)
    height = np.minimum(boxes[3, :, None], others[3]) - np.maximum(boxes[1, :, None], others[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0) * (others[3] > boxes[3, :, None])
    greatest: Floats = shared.max(axis=1, initial=0.0) / np.maximum(boxes[4], EPS)
    return greatest
