"""Counts of TETA for a sequence, their sums over sequences, and scores computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from memotr.data.annotations import Floats, Ints

ALPHAS: Floats = np.arange(20, dtype=np.float64) * 0.05
"""(20,) localisation thresholds 0, 0.05, …, 0.95."""
CLS_FIRST = 10
"""Index in ``ALPHAS`` of the first threshold for classification, 0.5."""

NAMES = {
    "teta": "TETA",
    "loc_a": "LocA",
    "loc_re": "LocRe",
    "loc_pr": "LocPr",
    "assoc_a": "AssocA",
    "assoc_re": "AssocRe",
    "assoc_pr": "AssocPr",
    "cls_a": "ClsA",
    "cls_re": "ClsRe",
    "cls_pr": "ClsPr",
}
"""Field → name used in papers, in the order of their tables."""


@dataclass(frozen=True, eq=False)
class TetaCounts:
    """Counts of one sequence or the sums over several.

    There are C classes, 20 thresholds α for localisation and association, and the last ten of them for classification.

    Attributes:
        loc_tp, loc_fn, loc_fp: (C, 20) matches, unmatched ground truth, unmatched local predictions.
        assoc_a, assoc_re, assoc_pr: (C, 20) HOTA's association accuracy, recall and precision of the two matched
            tracks, summed over the matches. Sums over sequences divided by ``loc_tp`` are averages weighted by
            matches.
        cls_tp, cls_fn, cls_fp: (C, 10) matches with the right class, matches with a wrong class, wrong predictions of
            this class.
    """

    loc_tp: Ints
    loc_fn: Ints
    loc_fp: Ints
    assoc_a: Floats
    assoc_re: Floats
    assoc_pr: Floats
    cls_tp: Ints
    cls_fn: Ints
    cls_fp: Ints

    @classmethod
    def zeros(cls, num_classes: int) -> TetaCounts:
        """Return counts of 0."""
        per_alpha, classified = (num_classes, len(ALPHAS)), (num_classes, len(ALPHAS) - CLS_FIRST)
        loc, assoc, cls_ = (
            np.zeros((3, *per_alpha), np.int64),
            np.zeros((3, *per_alpha)),
            np.zeros((3, *classified), np.int64),
        )
        return cls(*loc, *assoc, *cls_)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.loc_tp)

    def __add__(self, other: TetaCounts) -> TetaCounts:
        return TetaCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(TetaCounts)))


@dataclass(frozen=True, eq=False)
class TetaRow:
    """Scores of a class, or their mean over classes, in [0, 1].

    Attributes:
        teta, loc_a, loc_re, loc_pr, assoc_a, assoc_re, assoc_pr: (20,) at α = 0, 0.05, …, 0.95.
        cls_a, cls_re, cls_pr: (10,) at α = 0.5, 0.55, …, 0.95.
    """

    teta: Floats
    loc_a: Floats
    loc_re: Floats
    loc_pr: Floats
    assoc_a: Floats
    assoc_re: Floats
    assoc_pr: Floats
    cls_a: Floats
    cls_re: Floats
    cls_pr: Floats

    @classmethod
    def of_class(cls, counts: TetaCounts, index: int) -> TetaRow:
        """Compute the scores of class ``index`` from its counts; scores without any counts are 0."""
        tp, fn, fp = counts.loc_tp[index], counts.loc_fn[index], counts.loc_fp[index]  # (20,) each
        cls_tp, cls_fn, cls_fp = counts.cls_tp[index], counts.cls_fn[index], counts.cls_fp[index]  # (10,) each
        loc_a = _ratio(tp, tp + fn + fp)
        assoc_a = _ratio(counts.assoc_a[index], tp)
        cls_a = _ratio(cls_tp, cls_tp + cls_fn + cls_fp)
        return cls(
            teta=(loc_a + assoc_a + cls_a.mean()) / 3,
            loc_a=loc_a,
            loc_re=_ratio(tp, tp + fn),
            loc_pr=_ratio(tp, tp + fp),
            assoc_a=assoc_a,
            assoc_re=_ratio(counts.assoc_re[index], tp),
            assoc_pr=_ratio(counts.assoc_pr[index], tp),
            cls_a=cls_a,
            cls_re=_ratio(cls_tp, cls_tp + cls_fn),
            cls_pr=_ratio(cls_tp, cls_tp + cls_fp),
        )

    @classmethod
    def mean(cls, rows: Sequence[TetaRow]) -> TetaRow:
        """Return the mean of one or more rows, score by score."""
        return cls(*(np.mean([getattr(row, name) for row in rows], axis=0) for name in NAMES))

    def summary(self) -> dict[str, float]:
        """Return the name of each score in papers → its mean over α."""
        return {title: float(getattr(self, name).mean()) for name, title in NAMES.items()}


@dataclass(frozen=True, eq=False)
class TetaScores:
    """Scores of a data set.

    Attributes:
        classes: name → scores of every class, in the order of the labels.
        present: names of the classes with any localisation TP, FN or FP.
        mean: mean over the classes in ``present``; 0 if there are none.
    """

    classes: dict[str, TetaRow]
    present: tuple[str, ...]
    mean: TetaRow


def combine(counts: Sequence[TetaCounts], classes: Sequence[str]) -> TetaScores:
    """Compute the scores of a data set, or of one sequence, from the counts of its sequences.

    Scores of single sequences differ from those of the metric authors' code, which computes them before it adds the
    classification errors of the other classes. Its ClsPr, ClsA and TETA of single sequences are therefore higher.

    Args:
        counts: counts of each sequence, in any order.
        classes: names of the C classes, in the order of the labels.

    Raises:
        ValueError: counts have another number of classes.
    """
    total = TetaCounts.zeros(len(classes))
    for sequence in counts:
        if sequence.num_classes != len(classes):
            raise ValueError(f"combine: counts of {sequence.num_classes} classes, but {len(classes)} names")
        total = total + sequence
    rows = {name: TetaRow.of_class(total, index) for index, name in enumerate(classes)}
    present = tuple(name for index, name in enumerate(classes) if _has_any(total, index))
    nothing = TetaRow.of_class(TetaCounts.zeros(1), 0)
    return TetaScores(rows, present, TetaRow.mean([rows[name] for name in present] or [nothing]))


def _has_any(counts: TetaCounts, index: int) -> bool:
    return bool((counts.loc_tp[index] + counts.loc_fn[index] + counts.loc_fp[index]).any())


def _ratio(part: Floats | Ints, whole: Ints) -> Floats:
    return part / np.maximum(1, whole)
