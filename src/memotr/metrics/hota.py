"""HOTA (Luiten et al., IJCV 2021): detection, association and localisation of one class over 19 thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from memotr.data.annotations import Floats
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import Fields, MetricInput

ALPHAS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
"""(19,) localisation thresholds of the curves."""

CURVES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")
AVERAGED = (*CURVES, "HOTA(0)", "LocA(0)", "HOTALocA(0)")
COUNTED = ("HOTA_TP", "HOTA_FN", "HOTA_FP")

ASSOCIATION = ("AssA", "AssRe", "AssPr")
"""Fields that are means over true positives."""
TINY = 1e-10
"""Smallest numerator and denominator of LocA, which is therefore 1 without matches."""


def measure(data: MetricInput) -> Fields:
    """Compute all fields of one sequence; curves are (19,)."""
    gt_frames = np.zeros((data["num_gt_ids"], 1))  # number of frames of each object
    tracker_frames = np.zeros((1, data["num_tracker_ids"]))  # number of frames of each track
    potential = np.zeros((data["num_gt_ids"], data["num_tracker_ids"]))  # soft count of common frames of each pair
    frames = list(zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True))
    for gt, tracks, iou in frames:
        denominator = iou.sum(axis=0)[None] + iou.sum(axis=1)[:, None] - iou  # (G, P)
        potential[np.ix_(gt, tracks)] += np.divide(iou, denominator, out=np.zeros_like(iou), where=denominator > EPS)
        gt_frames[gt] += 1
        tracker_frames[0, tracks] += 1
    alignment = potential / np.maximum(EPS, gt_frames + tracker_frames - potential)

    tp, located = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    matched, passed = [np.zeros(0, np.int64)], [np.zeros((0, len(ALPHAS)), np.bool_)]
    for gt, tracks, iou in frames:
        rows, columns = linear_sum_assignment(-(alignment[np.ix_(gt, tracks)] * iou))
        overlap = iou[rows, columns][:, None]  # (M, 1)
        close = overlap >= ALPHAS - EPS  # (M, 19)
        tp += close.sum(axis=0)
        located += (overlap * close).sum(axis=0)
        matched.append(gt[rows] * data["num_tracker_ids"] + tracks[columns])
        passed.append(close)

    pairs, close = np.concatenate(matched), np.concatenate(passed)
    association = np.zeros((len(ASSOCIATION), len(ALPHAS)))
    for a in range(len(ALPHAS)):  # one at a time, to save memory
        together = np.bincount(pairs[close[:, a]], minlength=potential.size).reshape(potential.shape)
        either = gt_frames + tracker_frames - together
        for k, denominator in enumerate((either, gt_frames, tracker_frames)):
            association[k, a] = np.sum(together * (together / np.maximum(1, denominator)))
    fields: Fields = {
        "HOTA_TP": tp,
        "HOTA_FN": data["num_gt_dets"] - tp,
        "HOTA_FP": data["num_tracker_dets"] - tp,
        **dict(zip(ASSOCIATION, association / np.maximum(1, tp), strict=True)),
        "LocA": _location(located, tp),
    }
    return fields | _ratios(fields)


def combine(parts: Sequence[Fields]) -> Fields:
    """Combine sequences, or classes as if they were one: sum counts, and average association over true positives."""
    fields: Fields = {name: sum(part[name] for part in parts) for name in COUNTED}
    tp = fields["HOTA_TP"]
    for name in ASSOCIATION:
        fields[name] = sum(part[name] * part["HOTA_TP"] for part in parts) / np.maximum(1, tp)
    fields["LocA"] = _location(sum(part["LocA"] * part["HOTA_TP"] for part in parts), tp)
    return fields | _ratios(fields)


def _location(overlaps: Floats, tp: Floats) -> Floats:
    located: Floats = np.maximum(TINY, overlaps) / np.maximum(TINY, tp)
    return located


def _ratios(fields: Fields) -> Fields:
    tp, fn, fp = (fields[name] for name in COUNTED)
    recall = tp / np.maximum(1, tp + fn)
    detection = tp / np.maximum(1, tp + fn + fp)
    hota = np.sqrt(detection * fields["AssA"])
    return {
        "DetRe": recall,
        "DetPr": tp / np.maximum(1, tp + fp),
        "DetA": detection,
        "HOTA": hota,
        "OWTA": np.sqrt(recall * fields["AssA"]),
        "HOTA(0)": hota[0],
        "LocA(0)": fields["LocA"][0],
        "HOTALocA(0)": hota[0] * fields["LocA"][0],
    }
