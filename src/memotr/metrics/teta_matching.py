"""Matching of predictions and objects for TETA: ignore regions, alignment of tracks, one-to-one matching per frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Floats, Ints
from memotr.data.truth import VideoBoxes
from memotr.metrics.overlaps import EPS, Overlaps, box_area, box_intersection, same_frame

LOCALISED = 0.5
"""Smallest IoU of a localised prediction."""


class Matches(NamedTuple):
    """Pairs matched by the Hungarian method.

    The method matches as many boxes of a frame as possible, even if they do not overlap. Apply a threshold to ``iou``.

    Attributes:
        i: (n,) rows of the ground truth.
        j: (n,) rows of the predictions.
        iou: (n,) IoU of the pairs.
    """

    i: Ints
    j: Ints
    iou: Floats


def match(overlaps: Overlaps) -> Matches:
    """Match one-to-one in every frame, maximising alignment × IoU to prefer tracks that fit over the whole video."""
    return _hungarian(overlaps, _alignment(overlaps) * overlaps.iou)


def outside_ignore_regions(overlaps: Overlaps, regions: VideoBoxes) -> Bools:
    """Return a mask (P,) of predictions that match an object or lie at most half inside any one ignore region."""
    pred = overlaps.pred
    region, j = same_frame(regions.frames, pred.frames)  # (pairs,) rows of regions and of predictions
    area = box_area(pred.boxes)[j]
    shared = box_intersection(pred.boxes[j], regions.boxes[region])
    covered = np.divide(shared, area, out=np.zeros_like(shared), where=area > EPS) > 0.5 + EPS  # (pairs,)
    dropped = np.zeros(len(pred), np.bool_)
    dropped[j[covered]] = True
    if dropped.any():
        at_object = overlaps.iou >= LOCALISED - EPS  # (K,)
        matches = _hungarian(overlaps, np.where(at_object, overlaps.iou, 0.0))
        dropped[matches.j[matches.iou >= LOCALISED - EPS]] = False
    return ~dropped


def _alignment(overlaps: Overlaps) -> Floats:
    """Return the alignment (K,) of each pair's two tracks over the video (Luiten et al., HOTA, IJCV 2021, section 6).

    The share of a pair in a frame is sim / (row sum + column sum − sim). The alignment is the sum of the shares over
    the video, divided by the number of boxes of the two tracks minus that sum, like intersection over union.
    """
    gt, pred, i, j, iou = overlaps.gt, overlaps.pred, overlaps.i, overlaps.j, overlaps.iou
    denominator = np.bincount(i, iou, len(gt))[i] + np.bincount(j, iou, len(pred))[j] - iou  # (K,)
    # Boxes that overlap only because of rounding have a share of 0, not 0 / 0.
    share = np.divide(iou, denominator, out=np.zeros_like(iou), where=denominator > EPS)  # (K,)
    pair, size_gt, size_pred = track_pairs(gt, pred, i, j)
    together = np.bincount(pair, share, len(size_gt))  # (pairs of tracks,)
    return (together / (size_gt + size_pred - together))[pair]


def track_pairs(gt: VideoBoxes, pred: VideoBoxes, i: Ints, j: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the pairs of tracks among pairs of boxes.

    Args:
        gt: table of ground-truth boxes.
        pred: table of predicted boxes.
        i: (K,) row of ``gt`` in each pair of boxes.
        j: (K,) row of ``pred`` in each pair of boxes.

    Returns:
        (K,) index of each pair of boxes' pair of tracks; for every pair of tracks, the numbers of boxes of its
        ground-truth id and of its predicted id in the tables.
    """
    _, track_gt, size_gt = np.unique(gt.ids, return_inverse=True, return_counts=True)
    _, track_pred, size_pred = np.unique(pred.ids, return_inverse=True, return_counts=True)
    both = track_gt[i] * len(size_pred) + track_pred[j]  # (K,)
    keys, pair = np.unique(both, return_inverse=True)
    row, column = np.divmod(keys, max(1, len(size_pred)))
    return pair, size_gt[row], size_pred[column]


def _hungarian(overlaps: Overlaps, score: Floats) -> Matches:
    """Match one-to-one in every frame, maximising the sum of ``score`` (K,), which is 0 for pairs without overlap."""
    gt, pred, i, j = overlaps.gt.frames, overlaps.pred.frames, overlaps.i, overlaps.j
    frames = np.intersect1d(gt, pred)
    bounds = np.stack(
        [np.searchsorted(rows, frames, side) for rows in (gt, pred, gt[i]) for side in ("left", "right")],
        axis=1,
    )  # (F, 6)
    found_i, found_j, found_iou = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for g0, g1, p0, p1, k0, k1 in bounds.tolist():
        at = i[k0:k1] - g0, j[k0:k1] - p0
        dense = np.zeros((g1 - g0, p1 - p0))
        dense[at] = score[k0:k1]
        rows, columns = linear_sum_assignment(dense, maximize=True)
        dense[at] = overlaps.iou[k0:k1]
        found_i.append(rows + g0)
        found_j.append(columns + p0)
        found_iou.append(dense[rows, columns])
    return Matches(np.concatenate(found_i), np.concatenate(found_j), np.concatenate(found_iou))
