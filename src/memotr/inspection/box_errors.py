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

NEARBY = 0.25  # smallest intersection over union of an inaccurate prediction of an object
HIDDEN = 0.5  # smallest covered share of an occluded box
SMALL = 32.0**2  # square pixels, COCO's limit of small objects


class MissKind(StrEnum):
    """Possible cause of a missed object; the first that applies."""

    MERGED = "one box for two objects"
    CLASS = "found as another class"
    OFF = "box off target"
    HIDDEN = "half hidden or more"
    SMALL = "small"
    UNSEEN = "not found"


class FalseKind(StrEnum):
    """Possible cause of a false prediction; the first that applies."""

    SECOND = "second box on an object"
    CLASS = "object of another class"
    OFF = "box off target"
    NOTHING = "nothing annotated there"


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Scored boxes of a sequence and their matches.

    Attributes:
        truth: ground truth of the sequence.
        objects: N scored boxes.
        found: (N,) id of the prediction matched to each object; −1 if it is missed.
        switched: (N,) mask of objects with another id than when they were last found.
        missed_by: (N,) position in :class:`MissKind` of missed objects, else −1.
        predictions: M scored predictions.
        false_by: (M,) position in :class:`FalseKind` of false predictions, else −1.
    """

    truth: SequenceTruth
    objects: VideoBoxes
    found: Ints
    switched: Bools
    missed_by: Ints
    predictions: VideoBoxes
    false_by: Ints

    @property
    def missed(self) -> Bools:
        """Mask (N,) of missed objects."""
        missed: Bools = self.found == UNMATCHED
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
    found, switched, matched = np.full(len(objects), UNMATCHED), scored.copy(), kept.copy()
    for boxes in scored_boxes(truth, predictions, num_classes):
        matching = clear_matching(metric_input(truth, predictions, boxes))
        mine, theirs = np.flatnonzero(boxes.objects), np.flatnonzero(boxes.predictions)
        hit = matching.partner != UNMATCHED
        partners = theirs[matching.partner[hit]]
        found[mine[hit]], matched[partners] = predictions.ids[partners], True
        switched[mine] = matching.switched
        scored |= boxes.objects
        kept |= boxes.predictions
    objects, predictions, found, matched = objects[scored], predictions[kept], found[scored], matched[kept]
    missed_by, false_by = _explain(truth.objects, objects, found == UNMATCHED, predictions, ~matched)
    return MatchedBoxes(truth, objects, found, switched[scored], missed_by, predictions, false_by)


def _explain(
    everything: VideoBoxes, objects: VideoBoxes, missed: Bools, predictions: VideoBoxes, false: Bools
) -> tuple[Ints, Ints]:
    """Return the likely cause of each missed object (N,) and each false prediction (M,), −1 for other boxes.

    ``everything`` is all boxes that may occlude an object, scored or not.
    """
    missed_by, false_by = np.full(len(objects), -1), np.full(len(predictions), -1)
    tables = everything, objects, predictions
    every, mine, theirs = map(box_columns, tables)  # (5, E), (5, N), (5, M)
    frames = np.union1d(objects.frames[missed], predictions.frames[false])
    starts, ends = ([np.searchsorted(t.frames, frames, side) for t in tables] for side in ("left", "right"))
    for k in range(len(frames)):
        e, g, p = (slice(starts[n][k], ends[n][k]) for n in range(3))
        gone, wrong = missed[g], false[p]
        iou = iou_matrix(mine[:, g], theirs[:, p], solid=False)  # (G, P)
        same = objects.labels[g][:, None] == predictions.labels[p]  # (G, P)
        overlapping, near = iou >= MATCH, same & (iou >= NEARBY)
        confused = overlapping & ~same
        parts = same & overlapping & ~wrong, confused, near & wrong
        hidden = _covered(mine[:, g][:, gone], every[:, e]) >= HIDDEN
        reasons = [part[gone].any(axis=1) for part in parts] + [hidden, mine[4, g][gone] < SMALL]
        missed_by[np.flatnonzero(gone) + g.start] = _first(reasons)
        parts = same & overlapping, confused, near & gone[:, None]
        false_by[np.flatnonzero(wrong) + p.start] = _first([part[:, wrong].any(axis=0) for part in parts])
    return missed_by, false_by


def _first(reasons: Sequence[Bools]) -> Ints:
    """Return the position (K,) of the first reason, (K,) each, that applies; the number of reasons if none does."""
    every = np.stack([*reasons, np.ones_like(reasons[0])])
    first: Ints = every.argmax(axis=0)
    return first


def _covered(boxes: Floats, others: Floats) -> Floats:
    """Return the largest share (K,) of each box that is covered by a box reaching lower, so probably nearer.

    Args:
        boxes: (5, K), see :func:`memotr.metrics.preprocessing.box_columns`.
        others: (5, E), all boxes of the frame.
    """
    width = np.minimum(boxes[2, :, None], others[2]) - np.maximum(boxes[0, :, None], others[0])  # (K, E)
    height = np.minimum(boxes[3, :, None], others[3]) - np.maximum(boxes[1, :, None], others[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0) * (others[3] > boxes[3, :, None])
    greatest: Floats = shared.max(axis=1, initial=0.0) / np.maximum(boxes[4], EPS)
    return greatest
