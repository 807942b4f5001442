"""CLEAR metrics (Bernardin & Stiefelhagen, 2008) of one class: matching of boxes, then MOTA, MOTP and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Bools, Ints
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import MATCH, Fields, MetricInput

AVERAGED = (
    *("MOTA", "MOTP", "MODA", "CLR_Re", "CLR_Pr", "MTR", "PTR", "MLR", "sMOTA"),
    *("CLR_F1", "FP_per_frame", "MOTAL", "MOTP_sum"),
)
COUNTED = ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames")

UNMATCHED = -1
CONTINUES = 1000.0
"""Weight of a pair that was matched in the previous frame; larger than any sum of IoUs."""
MOSTLY_TRACKED, MOSTLY_LOST = 0.8, 0.2
"""Shares of matched frames above which an object is mostly tracked, and below which it is mostly lost."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Matching of predictions to the G object boxes of one class of one sequence, frame after frame.

    Attributes:
        partner: (G,) row of each object box's prediction; −1: missed.
        switched: (G,) True for boxes matched to another id than at the object's last match.
        begun: (G,) True for boxes that are matched and whose object was not matched in the previous frame.
        overlap: sum of the IoU of matched pairs.
    """

    partner: Ints
    switched: Bools
    begun: Bools
    overlap: float


def clear_matching(data: MetricInput) -> Matching:
    """Match the boxes of every frame with an IoU of at least 0.5. Pairs of the previous frame take precedence.

    As in TrackEval, a frame without objects or without predictions does not count as the previous frame.
    """
    last = np.full(data["num_gt_ids"], UNMATCHED)  # track id of each object's last match
    previous = last.copy()  # track id of each object's match in the previous frame
    partner = np.full(data["num_gt_dets"], UNMATCHED)
    switched, begun = np.zeros(data["num_gt_dets"], np.bool_), np.zeros(data["num_gt_dets"], np.bool_)
    g = p = 0
    overlap = 0.0
    for gt_ids, tracker_ids, iou in zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True):
        if len(gt_ids) and len(tracker_ids):
            score = CONTINUES * (tracker_ids[None] == previous[gt_ids][:, None]) + iou  # (G, P)
            score[iou < MATCH] = 0
            rows, columns = linear_sum_assignment(-score)
            matched = score[rows, columns] > EPS
            rows, columns = rows[matched], columns[matched]
            objects, tracks = gt_ids[rows], tracker_ids[columns]
            partner[g + rows] = p + columns
            switched[g + rows] = (last[objects] != UNMATCHED) & (last[objects] != tracks)
            begun[g + rows] = previous[objects] == UNMATCHED
            overlap += sum(iou[rows, columns])  # in TrackEval's order of summation, for the same rounding
            last[objects] = tracks
            previous[:] = UNMATCHED
            previous[objects] = tracks
        g, p = g + len(gt_ids), p + len(tracker_ids)
    return Matching(partner, switched, begun, overlap)


def measure(data: MetricInput) -> Fields:
    """Compute all fields of one sequence."""
    if not data["num_gt_dets"] or not data["num_tracker_dets"]:
        # TrackEval's convention, which affects the sums over sequences: all ratios but MLR are 0, and the frames of
        # such a sequence do not count.
        empty = {"CLR_FN": data["num_gt_dets"], "CLR_FP": data["num_tracker_dets"], "ML": data["num_gt_ids"]}
        return dict.fromkeys((*AVERAGED, *COUNTED), 0) | empty | {"MLR": 1.0}
    matching = clear_matching(data)
    found = matching.partner != UNMATCHED  # (G,)
    tp = int(found.sum())
    ids = np.concatenate(data["gt_ids"])  # (G,)
    frames = np.bincount(ids)  # of each object
    share = np.bincount(ids[found], minlength=len(frames))[frames > 0] / frames[frames > 0]
    begun = np.bincount(ids[matching.begun])
    mostly = int((share > MOSTLY_TRACKED).sum())
    partly = int((share >= MOSTLY_LOST).sum()) - mostly
    fields: Fields = {
        "CLR_TP": tp,
        "CLR_FN": data["num_gt_dets"] - tp,
        "CLR_FP": data["num_tracker_dets"] - tp,
        "IDSW": int(matching.switched.sum()),
        "MT": mostly,
        "PT": partly,
        "ML": data["num_gt_ids"] - mostly - partly,
        "Frag": int((begun[begun > 0] - 1).sum()),
        "CLR_Frames": data["num_timesteps"],
        "MOTP_sum": matching.overlap,
    }
    return fields | _ratios(fields)


def combine(parts: Sequence[Fields]) -> Fields:
    """Combine sequences, or classes as if they were one, from the sums of their counts."""
    fields: Fields = {name: sum(part[name] for part in parts) for name in (*COUNTED, "MOTP_sum")}
    return fields | _ratios(fields)


def _ratios(fields: Fields) -> Fields:
    tp, fn, fp, switches = (fields[name] for name in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"))
    objects = np.maximum(1, tp + fn)
    trajectories = np.maximum(1, fields["MT"] + fields["ML"] + fields["PT"])
    return {
        "MTR": fields["MT"] / trajectories,
        "MLR": fields["ML"] / trajectories,
        "PTR": fields["PT"] / trajectories,
        "CLR_Re": tp / objects,
        "CLR_Pr": tp / np.maximum(1, tp + fp),
        "MODA": (tp - fp) / objects,
        "MOTA": (tp - fp - switches) / objects,
        "MOTP": fields["MOTP_sum"] / np.maximum(1, tp),
        "sMOTA": (fields["MOTP_sum"] - fp - switches) / objects,
        "CLR_F1": tp / np.maximum(1, tp + 0.5 * fn + 0.5 * fp),
        "FP_per_frame": fp / np.maximum(1, fields["CLR_Frames"]),
        "MOTAL": (tp - fp - (np.log10(switches) if switches > 0 else 0)) / objects,
    }
