"""HOTA, CLEAR, Identity and counts of one class, under TrackEval's names and equal to it in every bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from memotr.metrics import clear, hota, identity_scores
from memotr.metrics.preprocessing import Fields, MetricInput

CURVES = ("HOTA_TP", "HOTA_FN", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA")
"""The arrays among `SUMS`."""

SUMS = (
    *CURVES,
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames", "MOTP_sum"),
    *("IDTP", "IDFN", "IDFP", "Dets", "GT_Dets", "IDs", "GT_IDs"),
)
"""The fields of sequences from which every field of them together follows."""


class Metric(NamedTuple):
    """A metric of one class.

    Attributes:
        averaged: fields of which several classes have the mean.
        counted: fields that add up, over sequences and over classes.
        measure: from one sequence to its fields.
        combine: from the fields of sequences, or of classes taken as one, to theirs together.
    """

    averaged: tuple[str, ...]
    counted: tuple[str, ...]
    measure: Callable[[MetricInput], Fields]
    combine: Callable[[Sequence[Fields]], Fields]


BOXES = ("Dets", "GT_Dets", "IDs", "GT_IDs")


def _count(data: MetricInput) -> Fields:
    return {
        "Dets": data["num_tracker_dets"],
        "GT_Dets": data["num_gt_dets"],
        "IDs": data["num_tracker_ids"],
        "GT_IDs": data["num_gt_ids"],
        "Frames": data["num_timesteps"],  # of sequences only, as in TrackEval
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
    """Compute the fields of one sequence."""
    return _merged(metric.measure(data) for metric in METRICS)


def combine(parts: Sequence[Fields]) -> Fields:
    """Combine all sequences, or all classes' boxes, each matched within its class (``cls_comb_det_av`` of TrackEval).

    Counts add up, association is weighted by true positives.
    """
    return _merged(metric.combine(parts) for metric in METRICS)


def class_mean(classes: Sequence[Fields]) -> Fields:
    """Mean over classes, of counts the sum: ``cls_comb_cls_av`` of TrackEval. Classes without any box count as 0."""
    fields: Fields = {}
    for metric in METRICS:
        fields |= {name: sum(of[name] for of in classes) for name in metric.counted}
        fields |= {name: np.mean([of[name] for of in classes], axis=0) for name in metric.averaged}
    return fields


def summary(fields: Fields) -> dict[str, float]:
    """Name → fraction (not percent) or count, of arrays the mean over thresholds; in TrackEval's order."""
    values: dict[str, float] = {}
    for metric in METRICS:
        values |= {name: float(np.mean(fields[name])) for name in metric.averaged}
        for name in metric.counted:
            values[name] = float(np.mean(fields[name])) if np.ndim(fields[name]) else int(fields[name])
    return values


def _merged(parts: Iterable[Fields]) -> Fields:
    return {name: value for part in parts for name, value in part.items()}
