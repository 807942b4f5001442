"""The boxes of one sequence with a verdict on each: found and as whom, missed, or false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.clear import NOBODY, clear_matching
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import MATCH, box_columns, iou_matrix, judged_boxes, metric_input

NEARBY = 0.25  # intersection over union from which a prediction may have been meant for an object
HIDDEN = 0.5  # share of a box that another one covers
SMALL = 32.0**2  # square pixels, COCO's limit of small objects


class MissKind(StrEnum):
    """What may be why an object was not found; the first that holds."""

    MERGED = "one box for two objects"
    CLASS = "found as another class"
    OFF = "box off target"
    HIDDEN = "half hidden or more"
    SMALL = "small"
    UNSEEN = "not found"


class FalseKind(StrEnum):
    """What a prediction may be that no object is matched with; the first that holds."""

    SECOND = "second box on an object"
    CLASS = "object of another class"
    OFF = "box off target"
    NOTHING = "nothing annotated there"


@dataclass(frozen=True, eq=False)
class VerdictBoxes:
    """Boxes that count for or against a tracker.

    Attributes:
        truth: the sequence.
        objects: N scored boxes.
        found: (N,) id of the prediction that an object is matched with; −1 where it is missed.
        switched: (N,) that id is another one than when the object was last found.
        missed_by: (N,) position in :class:`MissKind` where it is missed, else −1.
        predictions: M judged boxes.
        false_by: (M,) position in :class:`FalseKind` of those matched with nothing, else −1.
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
        """(N,)"""
        missed: Bools = self.found == NOBODY
        return missed

    @property
    def false(self) -> Bools:
        """(M,)"""
        false: Bools = self.false_by >= 0
        return false


def judge(truth: SequenceTruth, predictions: VideoBoxes, num_classes: int) -> VerdictBoxes:
    """Match the boxes of a sequence as CLEAR does, each class by itself.

    Args:
        truth: labels 0 … num_classes − 1.
        predictions: frames counted as in ``truth``.
        num_classes: number of classes.
    """
    objects = truth.objects
    scored, judged = np.zeros(len(objects), np.bool_), np.zeros(len(predictions), np.bool_)
    found, switched, matched = np.full(len(objects), NOBODY), scored.copy(), judged.copy()
    for boxes in judged_boxes(truth, predictions, num_classes):
        matching = clear_matching(metric_input(truth, predictions, boxes))
        mine, theirs = np.flatnonzero(boxes.scored), np.flatnonzero(boxes.judged)
        hit = matching.partner != NOBODY
        partners = theirs[matching.partner[hit]]
        found[mine[hit]], matched[partners] = predictions.ids[partners], True
        switched[mine] = matching.switched
        scored |= boxes.scored
        judged |= boxes.judged
    objects, predictions, found, matched = objects[scored], predictions[judged], found[scored], matched[judged]
    missed_by, false_by = _explain(truth.objects, objects, found == NOBODY, predictions, ~matched)
    return VerdictBoxes(truth, objects, found, switched[scored], missed_by, predictions, false_by)


def _explain(
    everything: VideoBoxes, objects: VideoBoxes, missed: Bools, predictions: VideoBoxes, false: Bools
) -> tuple[Ints, Ints]:
    """A guess for every missed object (N,) and every false prediction (M,), −1 for the others.

    ``everything`` is what may hide an object, scored or not.
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
    """(K,) position of the first of some reasons, (K,) each, that holds; their number where none does."""
    every = np.stack([*reasons, np.ones_like(reasons[0])])
    first: Ints = every.argmax(axis=0)
    return first


def _covered(boxes: Floats, others: Floats) -> Floats:
    """(K,) the greatest share of each box that a box reaching lower, and so probably nearer, has in common with it.

    Columns of the boxes, (5, K), and of all boxes of the frame, (5, E).
    """
    width = np.minimum(boxes[2, :, None], others[2]) - np.maximum(boxes[0, :, None], others[0])  # (K, E)
    height = np.minimum(boxes[3, :, None], others[3]) - np.maximum(boxes[1, :, None], others[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0) * (others[3] > boxes[3, :, None])
    greatest: Floats = shared.max(axis=1, initial=0.0) / np.maximum(boxes[4], EPS)
    return greatest
