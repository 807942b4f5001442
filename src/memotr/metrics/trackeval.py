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
"""TrackEval's name → number, or array (19,) over the localisation thresholds, of all metrics together."""

ALPHAS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
"""(19,) localisation thresholds of the arrays."""

CURVES = ("HOTA_TP", "HOTA_FN", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA")
"""Arrays among `SUMS`."""

SUMS = (
    *CURVES,
    *("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames", "MOTP_sum"),
    *("IDTP", "IDFN", "IDFP", "Dets", "GT_Dets", "IDs", "GT_IDs"),
)
"""Fields of sequences that determine every combined field."""


def score(data: MetricInput) -> Fields:
    """Compute the metrics of one sequence."""
    return _merged(metric.eval_sequence(data) for metric in load_metrics())


def combine(sequences: Mapping[str, Fields]) -> Fields:
    """Combine sequences: counts add up, association is weighted by true positives."""
    return _merged(metric.combine_sequences(sequences) for metric in load_metrics())


def class_mean(classes: Sequence[Fields]) -> Fields:
    """Average over classes and sum counts: TrackEval's ``cls_comb_cls_av``. Classes without boxes count as 0."""
    named = dict(enumerate(classes))
    return _merged(metric.combine_classes_class_averaged(named) for metric in load_metrics())


def class_pool(classes: Sequence[Fields]) -> Fields:
    """Pool the boxes of all classes, matched within their class: TrackEval's ``cls_comb_det_av``."""
    named = dict(enumerate(classes))
    return _merged(metric.combine_classes_det_averaged(named) for metric in load_metrics())


def summary(fields: Fields) -> dict[str, float]:
    """Return name → fraction (not percent) or count in TrackEval's order, with arrays averaged over thresholds."""
    values: dict[str, float] = {}
    for metric in load_metrics():
        for name in metric.float_array_fields + metric.float_fields + metric.integer_array_fields:
            values[name] = float(np.mean(fields[name]))
        for name in metric.integer_fields:
            values[name] = int(fields[name])
    return values


@cache
def load_metrics() -> tuple[Any, ...]:
    """Return the metric objects, imported at the first call because the import takes most of a second.

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
