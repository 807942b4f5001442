"""``evaluate(truth, results)``: every metric of every sequence, class and of all together."""

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
    """One class, or several taken together.

    Attributes:
        fields: sequence → TrackEval's fields, curves over thresholds among them.
        combined_fields: the same of all sequences together.
    """

    fields: Mapping[str, Fields]
    combined_fields: Fields

    @cached_property
    def combined(self) -> dict[str, float]:
        """TrackEval's name → fraction (not percent) or count, of curves the mean."""
        return summary(self.combined_fields)

    @cached_property
    def sequences(self) -> dict[str, dict[str, float]]:
        """Sequence → the same."""
        return {name: summary(fields) for name, fields in self.fields.items()}


@dataclass(frozen=True, eq=False)
class Teta:
    """TETA (BDD100K).

    Attributes:
        counts: sequence → counts.
        combined: scores of all sequences together.
        sequences: sequence → its scores.
    """

    counts: Mapping[str, TetaCounts]
    combined: TetaScores
    sequences: Mapping[str, TetaScores]


@dataclass(frozen=True, eq=False)
class Scores:
    """What came out.

    Attributes:
        classes: name → scores of the class; the one entry of data without classes is the same as ``mean``.
        mean: mean over classes (of counts the sum).
        pooled: all classes' boxes together, each matched within its class.
        notes: what the user should know about how the files were taken.
        teta: BDD100K only.
    """

    classes: Mapping[str, ClassScores]
    mean: ClassScores
    pooled: ClassScores
    notes: tuple[str, ...]
    teta: Teta | None = None

    @property
    def combined(self) -> dict[str, float]:
        """All sequences together, the mean over classes: TrackEval's name → fraction (not percent) or count."""
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
) -> Scores:
    """Score result files.

    Args:
        ground_truth: from :func:`load_ground_truth`, or a path to load with its defaults.
        results: folder of ``<sequence>.txt`` in the MOTChallenge format; BDD100K: JSON, one file or a folder.
        allow_missing: a sequence without a file counts as one in which nothing was found, and is no error.
        workers: number of processes; None: as many as are worth their start. More than one need a main module that can
            be imported (``if __name__ == "__main__":``).
        progress: told after each sequence its name, and how many there are.

    Raises:
        UserError: something is missing or malformed, with file and line.
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
    return _scores(truth.classes, [done[name] for name in truth.names], found.notes)


def _scores(names: Sequence[str], outcomes: Sequence[Outcome], notes: tuple[str, ...]) -> Scores:
    classes = {}
    for c, name in enumerate(names):
        fields = {outcome.name: outcome.fields[c] for outcome in outcomes}
        classes[name] = ClassScores(fields, combine(list(fields.values())))
    every = list(classes.values())
    mean, pooled = (every[0], every[0]) if len(every) == 1 else (_over(class_mean, every), _over(combine, every))
    return Scores(classes, mean, pooled, notes, _teta(names, outcomes))


def _over(together: Callable[[Sequence[Fields]], Fields], classes: Sequence[ClassScores]) -> ClassScores:
    """Classes taken together, for each sequence and for all sequences."""
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
