"""TrackEval's metrics (Luiten et al., HOTA, IJCV 2021): HOTA, CLEAR, Identity and counts of one class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.metrics.preprocessing import MetricInput

Fields = dict[str, Any]
"""TrackEval's name → number, or array (19,) over the localisation thresholds; those of all metrics together."""

ALPHAS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
"""(19,) localisation thresholds of the arrays."""

CURVES = ("HOTA_TP", "HOTA_FN", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA")
"""The arrays among `SUMS`."""

SUMS = (
    *CURVES,
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames", "MOTP_sum"),
    *("IDTP", "IDFN", "IDFP", "Dets", "GT_Dets", "IDs", "GT_IDs"),
)
"""The fields of sequences from which every field of them together follows."""


def score(data: MetricInput) -> Fields:
    """The metrics of one sequence."""
    return _merged(metric.eval_sequence(data) for metric in load_metrics())


def combine(sequences: Mapping[str, Fields]) -> Fields:
    """All sequences together: counts add up, association is weighted by true positives."""
    return _merged(metric.combine_sequences(sequences) for metric in load_metrics())


def class_mean(classes: Sequence[Fields]) -> Fields:
    """Mean over classes, of counts the sum: ``cls_comb_cls_av`` of TrackEval. Classes without any box count as 0."""
    named = dict(enumerate(classes))
    return _merged(metric.combine_classes_class_averaged(named) for metric in load_metrics())


def class_pool(classes: Sequence[Fields]) -> Fields:
    """All classes' boxes together, each matched within its class: ``cls_comb_det_av`` of TrackEval."""
    named = dict(enumerate(classes))
    return _merged(metric.combine_classes_det_averaged(named) for metric in load_metrics())


def summary(fields: Fields) -> dict[str, float]:
    """Name → fraction (not percent) or count, of arrays the mean over thresholds; in TrackEval's order."""
    values: dict[str, float] = {}
    for metric in load_metrics():
        for name in metric.float_array_fields + metric.float_fields + metric.integer_array_fields:
            values[name] = float(np.mean(fields[name]))
        for name in metric.integer_fields:
            values[name] = int(fields[name])
    return values


@cache
def load_metrics() -> tuple[Any, ...]:
    """The metric objects, imported at the first call: that takes most of a second, and tracking does without.

    Raises:
        UserError: a package for evaluation is not installed.
    """
    try:
        from trackeval.metrics import CLEAR, HOTA, Count, Identity
    except ModuleNotFoundError as error:
        raise UserError(f"scoring needs the package {error.name}: pip install 'memotr[eval]'") from error
    quiet = {"PRINT_CONFIG": False}
    return HOTA(), CLEAR(dict(quiet)), Identity(dict(quiet)), Count()


def _merged(parts: Iterable[Fields]) -> Fields:
    return {name: value for part in parts for name, value in part.items()}
