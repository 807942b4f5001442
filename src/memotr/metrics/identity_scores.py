"""Identity metrics (IDF1; Ristani et al., ECCV 2016) of one class: tracks and objects are matched over whole videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from memotr.metrics.preprocessing import Fields, MetricInput

AVERAGED = ("IDF1", "IDR", "IDP")
COUNTED = ("IDTP", "IDFN", "IDFP")

THRESHOLD = 0.5
"""Smallest IoU of a match; as in TrackEval without the tolerance that CLEAR has."""


def measure(data: MetricInput) -> Fields:
    """Compute all fields of one sequence."""
    together = np.zeros((data["num_gt_ids"], data["num_tracker_ids"]))  # frames in which object and track overlap
    for gt, tracks, iou in zip(data["gt_ids"], data["tracker_ids"], data["similarity_scores"], strict=True):
        together[np.ix_(gt, tracks)] += iou >= THRESHOLD
    # Minimising misses plus false positives is the same as maximising the common frames.
    tp = int(together[linear_sum_assignment(together, maximize=True)].sum())
    fields: Fields = {"IDTP": tp, "IDFN": data["num_gt_dets"] - tp, "IDFP": data["num_tracker_dets"] - tp}
    return fields | _ratios(fields)


def combine(parts: Sequence[Fields]) -> Fields:
    """Combine sequences, or classes as if they were one, from the sums of their counts."""
    fields: Fields = {name: sum(part[name] for part in parts) for name in COUNTED}
    return fields | _ratios(fields)


def _ratios(fields: Fields) -> Fields:
    tp, fn, fp = (fields[name] for name in COUNTED)
    return {
        "IDR": tp / np.maximum(1, tp + fn),
        "IDP": tp / np.maximum(1, tp + fp),
        "IDF1": tp / np.maximum(1, tp + 0.5 * fp + 0.5 * fn),
    }
