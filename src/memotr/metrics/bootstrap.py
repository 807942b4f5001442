"""Paired bootstrap over sequences (Efron, 1979): metrics of many resamples of a data set at once.

A resample draws as many sequences as there are, with replacement, and combines their counts in the same way as for the
whole data set. It does not average metrics over sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import Floats
from memotr.metrics.preprocessing import Fields
from memotr.metrics.teta_scores import CLS_FIRST, TetaCounts

FRACTIONS = (
    *("HOTA", "DetA", "AssA", "MOTA", "IDF1"),
    *("DetRe", "DetPr", "AssRe", "AssPr", "LocA", "MOTP", "IDP", "IDR"),
)
NUMBERS = ("CLR_FP", "CLR_FN", "IDSW", "Frag")
TETA = ("TETA", "TETA LocA", "TETA AssocA", "TETA ClsA")

Metrics = dict[str, Floats]
"""Name → value (R,) for each selection of sequences: a count for the names in NUMBERS, else a fraction."""


def draw(num_sequences: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw resamples.

    Args:
        num_sequences: S.
        resamples: R, number of resamples.
        seed: seed of the generator.

    Returns:
        Number of times (R, S) that each sequence is in each resample.
    """
    generator = np.random.default_rng(seed)
    probabilities = np.full(num_sequences, 1 / num_sequences)
    return generator.multinomial(num_sequences, probabilities, size=resamples).astype(np.float64)


def combined(classes: Mapping[str, Mapping[str, Fields]], sequences: Sequence[str], times: Floats) -> Metrics:
    """Combine HOTA, CLEAR and Identity over selections of sequences as TrackEval does, and average over classes.

    Args:
        classes: class → sequence → TrackEval's fields.
        sequences: names of the S sequences.
        times: (R, S) number of times that each sequence is in each selection.
    """
    rows = [_of_class([found[name] for name in sequences], times) for found in classes.values()]
    mean = {name: np.mean([row[name] for row in rows], axis=0) for name in FRACTIONS}
    return mean | {name: np.sum([row[name] for row in rows], axis=0) for name in NUMBERS}


def _of_class(sequences: Sequence[Fields], times: Floats) -> Metrics:
    def total(name: str, weight: str | None = None) -> Floats:
        """Return the sum (R,) or (R, 19) of a field over sequences, weighted by another field for ratios."""
        values = np.array([of[name] * (1 if weight is None else of[weight]) for of in sequences])  # (S,) or (S, 19)
        summed: Floats = times @ values
        return summed

    tp, fn, fp = total("HOTA_TP"), total("HOTA_FN"), total("HOTA_FP")  # (R, 19) each
    matches = np.maximum(1, tp)
    det_a, ass_a = tp / np.maximum(1, tp + fn + fp), total("AssA", "HOTA_TP") / matches
    curves = {
        "HOTA": np.sqrt(det_a * ass_a),
        "DetA": det_a,
        "AssA": ass_a,
        "DetRe": tp / np.maximum(1, tp + fn),
        "DetPr": tp / np.maximum(1, tp + fp),
        "AssRe": total("AssRe", "HOTA_TP") / matches,
        "AssPr": total("AssPr", "HOTA_TP") / matches,
        "LocA": np.maximum(1e-10, total("LocA", "HOTA_TP")) / np.maximum(1e-10, tp),
    }
    clr_tp, clr_fn, clr_fp, switches = total("CLR_TP"), total("CLR_FN"), total("CLR_FP"), total("IDSW")  # (R,) each
    id_tp, id_fn, id_fp = total("IDTP"), total("IDFN"), total("IDFP")
    return {name: curve.mean(axis=1) for name, curve in curves.items()} | {
        "MOTA": (clr_tp - clr_fp - switches) / np.maximum(1, clr_tp + clr_fn),
        "MOTP": total("MOTP_sum") / np.maximum(1, clr_tp),
        "IDF1": id_tp / np.maximum(1, id_tp + 0.5 * id_fp + 0.5 * id_fn),
        "IDP": id_tp / np.maximum(1, id_tp + id_fp),
        "IDR": id_tp / np.maximum(1, id_tp + id_fn),
        "CLR_FP": clr_fp,
        "CLR_FN": clr_fn,
        "IDSW": switches,
        "Frag": total("Frag"),
    }


def combined_teta(counts: Mapping[str, TetaCounts], sequences: Sequence[str], times: Floats) -> Metrics:
    """Combine TETA and its parts over selections of sequences, and average over the classes in each selection.

    Args:
        counts: sequence → counts of C classes.
        sequences: names of the S sequences.
        times: (R, S) number of times that each sequence is in each selection.
    """
    total: dict[str, Floats] = {}
    for field in fields(TetaCounts):
        values = np.stack([getattr(counts[name], field.name) for name in sequences])  # (S, C, 20 or 10)
        total[field.name] = np.tensordot(times, values, axes=1)  # (R, C, 20 or 10)
    tp, fn, fp = total["loc_tp"], total["loc_fn"], total["loc_fp"]
    cls_tp = total["cls_tp"]
    assert cls_tp.shape[-1] == tp.shape[-1] - CLS_FIRST
    parts = {
        "TETA LocA": tp / np.maximum(1, tp + fn + fp),
        "TETA AssocA": total["assoc_a"] / np.maximum(1, tp),
        "TETA ClsA": cls_tp / np.maximum(1, cls_tp + total["cls_fn"] + total["cls_fp"]),
    }
    present = (tp + fn + fp).any(axis=2)  # (R, C)
    num_present = np.maximum(1, present.sum(axis=1))  # (R,)
    means = {name: (part.mean(axis=2) * present).sum(axis=1) / num_present for name, part in parts.items()}
    return {"TETA": np.mean(list(means.values()), axis=0)} | means
