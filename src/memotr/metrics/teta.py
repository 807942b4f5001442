"""TETA, the tracking-every-thing accuracy (Li et al., "Tracking Every Thing in the Wild", ECCV 2022).

It scores localisation regardless of class (LocA), association (AssocA) and classification (ClsA) separately. The
numbers equal those of the metric authors' own evaluation of BDD100K; comments mark what is unexpected in it.

    counts = [teta_sequence(gt, pred, num_classes=8) for gt, pred in videos]
    scores = combine(counts, classes)
    scores.mean.summary()["TETA"]
"""

from __future__ import annotations

import numpy as np

from memotr.data.annotations import Bools, Ints
from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.overlaps import EPS, Overlaps
from memotr.metrics.teta_matching import LOCALISED, Matches, match, outside_ignore_regions, track_pairs
from memotr.metrics.teta_scores import ALPHAS, CLS_FIRST, TetaCounts, TetaRow, TetaScores, combine

__all__ = [
    "ALPHAS",
    "TetaCounts",
    "TetaRow",
    "TetaScores",
    "VideoBoxes",
    "combine",
    "teta_sequence",
]

UNASSIGNED = -2
"""Label of a prediction without ground truth; −1 is a class that is not evaluated."""


def teta_sequence(gt: VideoBoxes, pred: VideoBoxes, num_classes: int) -> TetaCounts:
    """Count matches and errors of one sequence (section 4 of the TETA paper).

    Every object of every class must be annotated: a prediction of class c that overlaps no object of c is a
    classification error.

    Args:
        gt: ground truth with labels 0 … num_classes − 1; its ``ignore`` rows are ignore regions with any label.
        pred: predictions with labels −1 … num_classes − 1, where −1 is a class that is not evaluated: it can be
            localised and associated, but its class is wrong.
        num_classes: number of classes C. Their order has a small effect, see `_count_wrong_predictions`.

    Raises:
        ValueError: labels are out of range, or ``pred`` has ignored rows.
    """
    _check(gt, pred, num_classes)
    objects, regions = gt[~gt.ignore], gt[gt.ignore]
    overlaps = Overlaps.between(objects, pred)
    overlaps = overlaps.select(np.ones(len(objects), np.bool_), outside_ignore_regions(overlaps, regions))
    matched_class = _class_blind_assignment(overlaps)  # (P,)
    counts = TetaCounts.zeros(num_classes)
    for c in range(num_classes):
        _count_class(counts, c, overlaps, matched_class)
    return counts


def with_regions(truth: SequenceTruth) -> VideoBoxes:
    """Return objects and ignore regions in one table, the input of TETA."""
    parts = truth.objects, truth.regions
    order = np.argsort(np.concatenate([part.frames for part in parts]), kind="stable")
    columns = ("frames", "ids", "labels", "boxes", "ignore")
    return VideoBoxes(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in columns))


def with_last_pixels(boxes: VideoBoxes) -> VideoBoxes:
    """Extend boxes by one pixel, because x2 and y2 are the last pixels of a box in Scalabel and TETA.

    TrackEval uses BDD100K's corners unchanged.
    """
    low, high = boxes.boxes[:, :2], boxes.boxes[:, 2:]
    # Added to the width, for the same rounding as in evaluators that use left, top, width and height.
    corners = np.concatenate([low, low + (high - low + 1)], axis=1)  # (N, 4)
    return VideoBoxes(boxes.frames, boxes.ids, boxes.labels, corners, boxes.ignore)


def _check(gt: VideoBoxes, pred: VideoBoxes, num_classes: int) -> None:
    if pred.ignore.any():
        raise ValueError("teta_sequence: only ground truth can be ignored")
    for name, table, lowest in (("gt", gt[~gt.ignore], 0), ("pred", pred, -1)):
        if ((table.labels < lowest) | (table.labels >= num_classes)).any():
            raise ValueError(f"teta_sequence: labels of {name} are not all in {lowest} … {num_classes - 1}")


def _class_blind_assignment(overlaps: Overlaps) -> Ints:
    """Return the class (P,) of the ground truth matched to each prediction regardless of class, or `UNASSIGNED`."""
    all_objects = np.ones(len(overlaps.gt), np.bool_)
    candidates = _tracks_of(overlaps.pred, _at_object(overlaps, all_objects))  # (P,)
    matches = match(overlaps.select(all_objects, candidates))
    close = matches.iou >= LOCALISED - EPS
    matched_class = np.full(len(overlaps.pred), UNASSIGNED)
    matched_class[np.flatnonzero(candidates)[matches.j[close]]] = overlaps.gt.labels[matches.i[close]]
    return matched_class


def _count_class(counts: TetaCounts, c: int, overlaps: Overlaps, matched_class: Ints) -> None:
    """Count matches and errors of class c; ``matched_class`` (P,) is that of :func:`_class_blind_assignment`."""
    of_class = overlaps.gt.labels == c  # (G,)
    # Local: at an object of class c, whatever the predicted class, and not matched to an object of another class.
    local = _at_object(overlaps, of_class) & ((matched_class == c) | (matched_class == UNASSIGNED))  # (P,)
    candidates = _tracks_of(overlaps.pred, local)  # (P,)
    chosen = overlaps.select(of_class, candidates)
    matches = match(chosen)
    matched = matches.iou[:, None] >= ALPHAS - EPS  # (n, 20)
    matched_local = local[candidates][matches.j]  # (n,)
    counts.loc_tp[c] = matched.sum(0)
    counts.loc_fn[c] = of_class.sum() - counts.loc_tp[c]
    counts.loc_fp[c] = local.sum() - matched[matched_local].sum(0)
    _add_association(counts, c, chosen, matches, matched)
    _count_wrong_predictions(counts, c, overlaps, of_class, local)
    predicted_class = chosen.pred.labels[matches.j]  # (n,)
    right, classified = predicted_class == c, matched[:, CLS_FIRST:]  # (n,), (n, 10)
    counts.cls_tp[c] = classified[right].sum(0)
    counts.cls_fn[c] = classified[~right].sum(0)
    wrong = ~right & (predicted_class >= 0)
    np.add.at(counts.cls_fp, predicted_class[wrong], classified[wrong])


def _count_wrong_predictions(counts: TetaCounts, c: int, overlaps: Overlaps, of_class: Bools, local: Bools) -> None:
    """Count predictions of class c that are not local to c as false positives at every α.

    The metric authors' code processes the classes in order. If c has no ground truth or no local prediction in the
    sequence, it sets the false positives of c to this number instead of adding it, which loses those counted for the
    classes before c. This code does the same, because published numbers contain it;
    `memotr.data.protocols.BDD100K_CATEGORIES` has the order of that code for the same reason.
    """
    num_wrong = np.count_nonzero((overlaps.pred.labels == c) & ~local)
    if of_class.any() and local.any():
        counts.cls_fp[c] += num_wrong
    else:
        counts.cls_fp[c] = num_wrong


def _add_association(counts: TetaCounts, c: int, chosen: Overlaps, matches: Matches, matched: Bools) -> None:
    """Add up AssA, AssRe and AssPr (HOTA, section 5) of the two tracks of each match, over the matches at each α.

    ``matched`` (n, 20) selects the matches at each α.
    """
    pair, size_gt, size_pred = track_pairs(chosen.gt, chosen.pred, matches.i, matches.j)
    together = np.zeros((len(size_gt), len(ALPHAS)), np.int64)  # (pairs of tracks, 20) matches of the two
    np.add.at(together, pair, matched)
    size_gt, size_pred = size_gt[:, None], size_pred[:, None]
    counts.assoc_a[c] = (together**2 / (size_gt + size_pred - together)).sum(0)
    counts.assoc_re[c] = (together**2 / size_gt).sum(0)
    counts.assoc_pr[c] = (together**2 / size_pred).sum(0)


def _at_object(overlaps: Overlaps, of_class: Bools) -> Bools:
    """Return a mask (P,) of predictions with an IoU of at least 0.5 with any of the selected ground truth (G,)."""
    found = np.zeros(len(overlaps.pred), np.bool_)
    found[overlaps.j[of_class[overlaps.i] & (overlaps.iou >= LOCALISED)]] = True
    return found


def _tracks_of(pred: VideoBoxes, some: Bools) -> Bools:
    """Return a mask (P,) of all boxes of the tracks that have any box in ``some`` (P,)."""
    return np.isin(pred.ids, pred.ids[some])
