"""CLEAR's matching (Bernardin & Stiefelhagen, 2008) box by box, as TrackEval's metric does it but keeps to itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Ints
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import MATCH, MetricInput

NOBODY = -1
CONTINUES = 1000.0  # weight of a pair that goes on from the frame before: above any sum of overlaps


@dataclass(frozen=True, eq=False)
class Matching:
    """Who is whose, of one class of one sequence.

    Attributes:
        partner: (G,) for each object box, all frames one after the other, the row of its prediction; −1 where missed.
        switched: (G,) object boxes that are found under another id than when they were last found.
    """

    partner: Ints
    switched: Bools


def clear_matching(data: MetricInput) -> Matching:
    """Match every frame: first pairs that go on from the frame before, then by intersection over union from 0.5 on.

    A frame without objects or without predictions leaves open which pairs go on, as in TrackEval.
    """
    last = np.full(data["num_gt_ids"], NOBODY)  # tracker id that each object was last found under
    going_on = last.copy()  # the same, of the frame before only
    partner, switched = np.full(data["num_gt_dets"], NOBODY), np.zeros(data["num_gt_dets"], np.bool_)
    g = p = 0
    for gt_ids, tracker_ids, iou in zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True):
        if len(gt_ids) and len(tracker_ids):
            score = CONTINUES * (tracker_ids[None] == going_on[gt_ids][:, None]) + iou  # (G, P)
            score[iou < MATCH] = 0
            rows, columns = linear_sum_assignment(-score)
            matched = score[rows, columns] > EPS
            rows, columns = rows[matched], columns[matched]
            objects, tracks = gt_ids[rows], tracker_ids[columns]
            partner[g + rows] = p + columns
            switched[g + rows] = (last[objects] != NOBODY) & (last[objects] != tracks)
            last[objects] = tracks
            going_on[:] = NOBODY
            going_on[objects] = tracks
        g, p = g + len(gt_ids), p + len(tracker_ids)
    return Matching(partner, switched)
