"""Scoring of results: metrics by sequence, by class and combined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from memotr.evaluation.ground_truth import GroundTruth, load_ground_truth
from memotr.evaluation.jobs import Job, Outcome, run_jobs
from memotr.evaluation.results import read_results
from memotr.metrics.fields import class_mean, combine, summary
from memotr.metrics.preprocessing import Fields
from memotr.metrics.teta import TetaCounts, TetaScores
from memotr.metrics.teta import combine as combine_teta


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of one class or of several combined.

    Attributes:
        fields: sequence → TrackEval's fields, including curves over thresholds.
        combined_fields: fields of all sequences combined.
    """

    fields: Mapping[str, Fields]
    combined_fields: Fields

    @cached_property
    def combined(self) -> dict[str, float]:
        """TrackEval's name → fraction (not percent) or count over all sequences, with curves averaged."""
        return summary(self.combined_fields)

    @cached_property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Sequence → the same."""
        return {name: summary(fields) for name, fields in self.fields.items()}


@dataclass(frozen=True, eq=False)
class Teta:
    """Scores of TETA (BDD100K).

    Attributes:
        counts: sequence → counts.
        combined: scores of all sequences combined.
        sequences: sequence → scores.
    """

    counts: Mapping[str, TetaCounts]
    combined: TetaScores
    sequences: Mapping[str, TetaScores]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a tracker.

    Attributes:
        classes: name → scores of each class; for a single class the same as ``mean``.
        mean: mean over classes, with counts summed.
        pooled: all classes' boxes together, each matched within its class.
        notes: notes for the user about the files.
        teta: scores of TETA, BDD100K only.
    """

    classes: Mapping[str, ClassScores]
    mean: ClassScores
    pooled: ClassScores
    notes: tuple[str, ...]
    teta: Teta | None = None

    @property
    def combined(self) -> dict[str, float]:
        """TrackEval's name → fraction (not percent) or count over all sequences, averaged over classes."""
        return self.mean.combined

    @property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Sequence → the same."""
        return self.mean.sequences


def evaluate(
    ground_truth: Path | GroundTruth,
    results: Path,
    *,
    allow_missing: bool = False,
    workers: int | None = 1,
    progress: Callable[[str, int], None] | None = None,
    if_empty: str = "the results hold no box at all",
) -> Scores:
    """Score result files.

    Args:
        ground_truth: result of :func:`load_ground_truth`, or a path to load with its defaults.
        results: folder of ``<sequence>.txt`` in the MOTChallenge format; BDD100K: JSON, one file or a folder.
        allow_missing: score a sequence without a file as empty, rather than raise an error.
        workers: number of processes; None: as many as pay off. More than one need an importable main module
            (``if __name__ == "__main__":``).
        progress: called after each sequence with its name and the number of sequences.
        if_empty: first note of the scores if the results hold no box.

    Raises:
        UserError: a file is missing or malformed (with its line).
    """
    truth = load_ground_truth(ground_truth) if isinstance(ground_truth, Path) else ground_truth
    found = read_results(results, truth, allow_missing=allow_missing)
    truth, with_teta = found.truth, truth.results.names_classes
    jobs = [Job(each, found.boxes[each.name], len(truth.classes), with_teta) for each in truth.sequences]
    done: dict[str, Outcome] = {}
    for outcome in run_jobs(jobs, workers):
        done[outcome.name] = outcome
        if progress is not None:
            progress(outcome.name, len(jobs))
    notes = found.notes if any(len(boxes.ids) for boxes in found.boxes.values()) else (if_empty, *found.notes)
    return _scores(truth.classes, [done[name] for name in truth.names], notes)


def _scores(names: Sequence[str], outcomes: Sequence[Outcome], notes: tuple[str, ...]) -> Scores:
    classes = {}
    for c, name in enumerate(names):
        fields = {outcome.name: outcome.fields[c] for outcome in outcomes}
        classes[name] = ClassScores(fields, combine(list(fields.values())))
    every = list(classes.values())
    mean, pooled = (every[0], every[0]) if len(every) == 1 else (_over(class_mean, every), _over(combine, every))
    return Scores(classes, mean, pooled, notes, _teta(names, outcomes))


def _over(together: Callable[[Sequence[Fields]], Fields], classes: Sequence[ClassScores]) -> ClassScores:
    """Combine classes, for each sequence and for all sequences."""
    names = classes[0].fields
    return ClassScores(
        {name: together([one.fields[name] for one in classes]) for name in names},
        together([one.combined_fields for one in classes]),
    )


def _teta(names: Sequence[str], outcomes: Sequence[Outcome]) -> Teta | None:
    counts = {outcome.name: outcome.teta for outcome in outcomes if outcome.teta is not None}
    if not counts:
        return None
    combined = combine_teta(list(counts.values()), names)
    return Teta(counts, combined, {name: combine_teta([one], names) for name, one in counts.items()})
