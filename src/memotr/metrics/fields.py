"""HOTA, CLEAR, Identity and counts of one class, with TrackEval's names and bitwise equal to its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from memotr.metrics import clear, hota, identity_scores
from memotr.metrics.preprocessing import Fields, MetricInput

CURVES = ("HOTA_TP", "HOTA_FN", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA")
"""Fields of `SUMS` that are arrays (19,) over the localisation thresholds."""

SUMS = (
    *CURVES,
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames", "MOTP_sum"),
    *("IDTP", "IDFN", "IDFP", "Dets", "GT_Dets", "IDs", "GT_IDs"),
)
"""Fields of single sequences from which all fields of their combination can be computed."""


class Metric(NamedTuple):
    """Metric of one class.

    Attributes:
        averaged: fields that are averaged over classes.
        counted: fields that are summed, over sequences and over classes.
        measure: computes the fields of one sequence.
        combine: computes the fields of several sequences, or of several classes as if they were one.
    """

    averaged: tuple[str, ...]
    counted: tuple[str, ...]
    measure: Callable[[MetricInput], Fields]
    combine: Callable[[Sequence[Fields]], Fields]


BOXES = ("Dets", "GT_Dets", "IDs", "GT_IDs")
"""Fields that count boxes and ids."""


def _count(data: MetricInput) -> Fields:
    return {
        "Dets": data["num_tracker_dets"],
        "GT_Dets": data["num_gt_dets"],
        "IDs": data["num_tracker_ids"],
        "GT_IDs": data["num_gt_ids"],
        "Frames": data["num_timesteps"],  # not summed over sequences, as in TrackEval
    }


def _add_up(parts: Sequence[Fields]) -> Fields:
    return {name: sum(part[name] for part in parts) for name in BOXES}


METRICS = (
    Metric(hota.AVERAGED, hota.COUNTED, hota.measure, hota.combine),
    Metric(clear.AVERAGED, clear.COUNTED, clear.measure, clear.combine),
    Metric(identity_scores.AVERAGED, identity_scores.COUNTED, identity_scores.measure, identity_scores.combine),
    Metric((), BOXES, _count, _add_up),
)


def score(data: MetricInput) -> Fields:
    """Compute all fields of one class of one sequence."""
    return _merged(metric.measure(data) for metric in METRICS)


def combine(parts: Sequence[Fields]) -> Fields:
    """Combine sequences, or classes as if they were one (TrackEval's ``cls_comb_det_av``; matching is per class).

    Counts are summed; association is averaged, weighted by true positives.
    """
    return _merged(metric.combine(parts) for metric in METRICS)


def class_mean(classes: Sequence[Fields]) -> Fields:
    """Average fields over classes, and sum counts (TrackEval's ``cls_comb_cls_av``). A class without boxes has 0."""
    fields: Fields = {}
    for metric in METRICS:
        fields |= {name: sum(part[name] for part in classes) for name in metric.counted}
        fields |= {name: np.mean([part[name] for part in classes], axis=0) for name in metric.averaged}
    return fields


def summary(fields: Fields) -> dict[str, float]:
    """Return name → fraction (not percent) or count, in TrackEval's order; arrays are averaged over thresholds."""
    values: dict[str, float] = {}
    for metric in METRICS:
        values |= {name: float(np.mean(fields[name])) for name in metric.averaged}
        for name in metric.counted:
            values[name] = float(np.mean(fields[name])) if np.ndim(fields[name]) else int(fields[name])
    return values


def _merged(parts: Iterable[Fields]) -> Fields:
    return {name: value for part in parts for name, value in part.items()}
