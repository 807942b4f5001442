"""From the folder of a scored run back to what it was scored from, and to every error in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.inspection.boxes import judge
from memotr.evaluation.inspection.events import SequenceErrors, find_errors
from memotr.evaluation.names import fits, shortened
from memotr.evaluation.run_folder import METRICS
from memotr.evaluation.scoring import read_results
from memotr.evaluation.truth import GroundTruth, Results

Row = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Inspection:
    """A run taken apart.

    Attributes:
        path: the run's folder.
        results: where its results were read.
        truth: ground truth of the sequences that were scored.
        metrics: of all of them together, TrackEval's name → fraction or count; with several classes their mean.
        by_sequence: the same of each sequence.
        by_class: the same of each class; empty where there is one.
        errors: of the sequences that were asked for, the one that loses most first.
        notes: what the user should know.
    """

    path: Path
    results: Path
    truth: GroundTruth
    metrics: Row
    by_sequence: Mapping[str, Row]
    by_class: Mapping[str, Row]
    errors: tuple[SequenceErrors, ...]
    notes: tuple[str, ...]


def inspect_run(
    folder: Path, *, only: Sequence[str] = (), progress: Callable[[str, int], None] | None = None
) -> Inspection:
    """Read again what a run was scored from, and find the errors.

    Args:
        folder: of ``memotr score --output``.
        only: patterns of names of sequences; empty: all.
        progress: told after each sequence its name, and how many there are.

    Raises:
        UserError: it is no such folder, what was scored is gone or has changed since, or no sequence fits.
    """
    content = _metrics(folder / METRICS)
    found = _read_again(folder, content["source"])
    rows: Mapping[str, Row] = content["sequences"]
    truth = found.truth.select(list(rows))
    if set(truth.names) != set(rows):
        raise UserError(f"{folder}: {shortened(set(rows) - set(truth.names))} is not there any more; score it again")
    chosen = fits(rows, only)
    if not chosen:
        raise UserError(f"{folder}: no sequence is named {' or '.join(only)}; there are {shortened(rows)}")
    errors = []
    for sequence in truth.select(chosen).sequences:
        one = find_errors(judge(sequence, found.boxes[sequence.name], len(truth.classes)))
        _compare(one, rows[sequence.name], folder)
        errors.append(one)
        if progress is not None:
            progress(sequence.name, len(chosen))
    errors.sort(key=lambda one: -one.lost)
    by_class = {name: of["combined"] for name, of in content.get("classes", {}).items()}
    results = Path(content["source"]["results"])
    return Inspection(folder, results, truth, content["combined"], rows, by_class, tuple(errors), found.notes)


def _metrics(file: Path) -> dict[str, Any]:
    """What ``metrics.json`` says."""
    if not file.is_file():
        raise UserError(f"{file.parent}: no {METRICS}; `memotr score … --output {file.parent}` writes it")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not content["sequences"] or not content["combined"]:
            raise ValueError("no sequences")
        if not {"ground_truth", "results"} <= set(content["source"]):
            raise ValueError("it does not say what was scored")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is not what memotr score writes ({error!r}); score the run again") from error
    return content


def _read_again(folder: Path, source: Mapping[str, Any]) -> Results:
    """Ground truth and results, with the options that they were scored with."""
    seqmap = source.get("seqmap")
    try:
        truth = load_ground_truth(
            Path(source["ground_truth"]),
            split=source.get("split"),
            seqmap=None if seqmap is None else Path(seqmap),
            only=source.get("sequences") or (),
            half=bool(source.get("half")),
            format=source.get("format") or "auto",
        )
        # What was missing is missing still: whether anything has changed is seen from the counts.
        return read_results(Path(source["results"]), truth, allow_missing=True)
    except UserError as error:
        raise UserError(f"{folder}: what was scored cannot be read again: {error}") from error


def _compare(errors: SequenceErrors, row: Row, folder: Path) -> None:
    """Raises UserError where the errors are not those that were counted when the run was scored."""
    here = {"CLR_FN": errors.missed, "CLR_FP": errors.false, "IDSW": len(errors.switches)}
    for name, count in here.items():
        if row.get(name) != count:
            raise UserError(
                f"{folder}: {errors.name} was scored with {row.get(name)} {name}, its files now give {count}; "
                "they have changed since: score them again"
            )
