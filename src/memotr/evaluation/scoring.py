"""Scoring of tracking results: metrics by sequence, by class and combined."""

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
    """Scores of one class, or of several classes combined.

    Attributes:
        fields: sequence → fields of TrackEval, including curves over thresholds.
        combined_fields: fields of all sequences combined.
    """

    fields: Mapping[str, Fields]
    combined_fields: Fields

    @cached_property
    def combined(self) -> dict[str, float]:
        """Metric (TrackEval's name) → fraction (not percent) or count over all sequences; curves are averaged."""
        return summary(self.combined_fields)

    @cached_property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Sequence → metric → fraction or count."""
        return {name: summary(fields) for name, fields in self.fields.items()}


@dataclass(frozen=True, eq=False)
class Teta:
    """TETA scores (BDD100K).

    Attributes:
        counts: sequence → counts from which the scores are computed.
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
        classes: class name → scores; for a single class, they equal ``mean``.
        mean: mean over classes, with counts summed.
        pooled: scores over the boxes of all classes, which are matched within their class.
        notes: notes about the files, for the user.
        teta: TETA scores; BDD100K only.
    """

    classes: Mapping[str, ClassScores]
    mean: ClassScores
    pooled: ClassScores
    notes: tuple[str, ...]
    teta: Teta | None = None

    @property
    def combined(self) -> dict[str, float]:
        """Metric (TrackEval's name) → fraction (not percent) or count over all sequences: the mean over classes."""
        return self.mean.combined

    @property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Sequence → metric → fraction or count: the mean over classes."""
        return self.mean.sequences


def evaluate(
    ground_truth: Path | GroundTruth,
    results: Path,
    *,
    allow_missing: bool = False,
    workers: int | None = 1,
    progress: Callable[[str, int], None] | None = None,
    if_empty: str = "the results have no boxes",
) -> Scores:
    """Score result files.

    Args:
        ground_truth: result of :func:`load_ground_truth`, or a path to load with its defaults.
        results: folder of ``<sequence>.txt`` in the MOTChallenge format; BDD100K: a JSON file or a folder of them.
        allow_missing: score a sequence without results as empty; otherwise it is an error.
        workers: number of processes; None: as many as make scoring faster. More than one process requires an
            importable main module (``if __name__ == "__main__":``).
        progress: function called after each sequence with its name and the number of sequences.
        if_empty: first note of the scores if there are no boxes in the results.

    Raises:
        UserError: a file is missing or has an error; the message names file and line.
    """
    truth = load_ground_truth(ground_truth) if isinstance(ground_truth, Path) else ground_truth
    found = read_results(results, truth, allow_missing=allow_missing)
    truth, with_teta = found.truth, truth.results.names_classes
    jobs = [Job(s, found.boxes[s.name], len(truth.classes), with_teta) for s in truth.sequences]
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
    mean = pooled = classes[names[0]]
    if len(classes) > 1:
        mean, pooled = (_combine_classes(rule, list(classes.values())) for rule in (class_mean, combine))
    return Scores(classes, mean, pooled, notes, _teta(names, outcomes))


def _combine_classes(combination: Callable[[Sequence[Fields]], Fields], classes: Sequence[ClassScores]) -> ClassScores:
    """Combine the scores of classes, for each sequence and over all sequences."""
    names = classes[0].fields
    return ClassScores(
        {name: combination([scores.fields[name] for scores in classes]) for name in names},
        combination([scores.combined_fields for scores in classes]),
    )


def _teta(names: Sequence[str], outcomes: Sequence[Outcome]) -> Teta | None:
    counts = {outcome.name: outcome.teta for outcome in outcomes if outcome.teta is not None}
    if not counts:
        return None
    combined = combine_teta(list(counts.values()), names)
    return Teta(counts, combined, {name: combine_teta([one], names) for name, one in counts.items()})
