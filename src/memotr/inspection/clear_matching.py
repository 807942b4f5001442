"""CLEAR's matching of boxes (Bernardin & Stiefelhagen, 2008), equal to that inside TrackEval's metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Ints
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import MATCH, MetricInput

UNMATCHED = -1
CONTINUES = 1000.0  # weight of a pair that continues from the frame before: above any sum of overlaps


@dataclass(frozen=True, eq=False)
class Matching:
    """Matches of one class of one sequence.

    Attributes:
        partner: (G,) row of the prediction matched to each object box, over all frames; −1 if it is missed.
        switched: (G,) mask of object boxes with another id than when their object was last found.
    """

    partner: Ints
    switched: Bools


def clear_matching(data: MetricInput) -> Matching:
    """Match every frame: first pairs that continue from the frame before, then by intersection over union ≥ 0.5.

    As in TrackEval, a frame without objects or without predictions does not end the pairs of the frame before.
    """
    last = np.full(data["num_gt_ids"], UNMATCHED)  # tracker id under which each object was last found
    continuing = last.copy()  # the same for the frame before only
    partner, switched = np.full(data["num_gt_dets"], UNMATCHED), np.zeros(data["num_gt_dets"], np.bool_)
    g = p = 0
    for gt_ids, tracker_ids, iou in zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True):
        if len(gt_ids) and len(tracker_ids):
            score = CONTINUES * (tracker_ids[None] == continuing[gt_ids][:, None]) + iou  # (G, P)
            score[iou < MATCH] = 0
            rows, columns = linear_sum_assignment(-score)
            matched = score[rows, columns] > EPS
            rows, columns = rows[matched], columns[matched]
            objects, tracks = gt_ids[rows], tracker_ids[columns]
            partner[g + rows] = p + columns
            switched[g + rows] = (last[objects] != UNMATCHED) & (last[objects] != tracks)
            last[objects] = tracks
            continuing[:] = UNMATCHED
            continuing[objects] = tracks
        g, p = g + len(gt_ids), p + len(tracker_ids)
    return Matching(partner, switched)
