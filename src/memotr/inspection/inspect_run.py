"""Inspection of a scored run: read its ground truth and results again, and find its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

from memotr.data.sequences import list_names, matching_names
from memotr.documents import DocumentError, read_json
from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth, load_ground_truth
from memotr.evaluation.results import Results, read_results
from memotr.evaluation.run_folder import METRICS
from memotr.inspection.box_errors import match_boxes
from memotr.inspection.events import SequenceErrors, find_errors
from memotr.vocabulary import Protocol

Row = Mapping[str, float]
"""Name of a metric → value."""
NEEDED = {"HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "CLR_FN", "CLR_FP"}
"""Metrics shown on the page."""


def _complete(row: dict[str, float]) -> dict[str, float]:
    if missing := NEEDED - row.keys():
        raise ValueError(f"no {min(missing)}")
    if not all(abs(value) < 2**53 for value in row.values()):
        raise ValueError("a number that is too large")
    return row


_Numbers = Annotated[dict[str, int | FiniteFloat], AfterValidator(_complete)]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Errors of a scored run.

    Attributes:
        path: the run's folder.
        results: path of its results.
        truth: ground truth of the scored sequences.
        metrics: TrackEval's name → fraction or count over all sequences; mean over classes if there are several.
        by_sequence: sequence → metrics.
        by_class: class → metrics; empty for a single class.
        errors: errors of the requested sequences, the sequence with most lost boxes first.
        notes: notes for the user.
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
    """Read the ground truth and results of a scored run, and find its errors.

    Args:
        folder: folder written by ``memotr score --output``.
        only: patterns of sequence names; empty: all sequences.
        progress: called after each sequence with its name and the number of sequences.

    Raises:
        UserError: the folder is not that of a scored run, files are missing or have changed since, or no sequence
            matches.
    """
    content = _metrics(folder / METRICS)
    found = _read_again(folder, content.source)
    rows: Mapping[str, Row] = content.sequences
    truth = found.truth.select(list(rows))
    if set(truth.names) != set(rows):
        missing = list_names(set(rows) - set(truth.names))
        raise UserError(f"{folder}: {missing} is missing from the ground truth now; score the run again")
    chosen = matching_names(rows, only)
    if not chosen:
        raise UserError(f"{folder}: no sequence is named {' or '.join(only)}; available are {list_names(rows)}")
    errors = []
    for sequence in truth.select(chosen).sequences:
        found_errors = find_errors(match_boxes(sequence, found.boxes[sequence.name], len(truth.classes)))
        _compare(found_errors, rows[sequence.name], folder)
        errors.append(found_errors)
        if progress is not None:
            progress(sequence.name, len(chosen))
    errors.sort(key=lambda of_sequence: -of_sequence.lost)
    by_class = {name: of.combined for name, of in content.classes.items()}
    return Inspection(
        folder, content.source.results, truth, content.combined, rows, by_class, tuple(errors), found.notes
    )


class _Class(BaseModel):
    """Key of ``classes`` in ``metrics.json`` that is read."""

    combined: _Numbers


class _Source(BaseModel):
    """Paths and options of the scored run."""

    ground_truth: Path
    results: Path
    split: str | None = None
    seqmap: Path | None = None
    sequences: list[str] | None = None
    half: bool = False
    format: Protocol = "auto"


class _Metrics(BaseModel):
    """Keys of ``metrics.json`` that are read."""

    combined: _Numbers
    sequences: Annotated[dict[str, _Numbers], Field(min_length=1)]
    classes: dict[str, _Class] = {}
    source: _Source


def _metrics(file: Path) -> _Metrics:
    if not file.is_file():
        raise UserError(f"{file.parent}: no {METRICS}; `memotr score … --output {file.parent}` writes it")
    try:
        return _Metrics.model_validate(read_json(file))
    except DocumentError as error:
        reason = error.reason
    except ValidationError as error:
        problem = error.errors()[0]
        reason = f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
    raise UserError(f"{file}: was not written by memotr score or is damaged ({reason}); score the run again")


def _read_again(folder: Path, source: _Source) -> Results:
    """Read ground truth and results with the options of the scored run."""
    try:
        truth = load_ground_truth(
            source.ground_truth,
            split=source.split,
            seqmap=source.seqmap,
            only=source.sequences or (),
            half=source.half,
            format=source.format,
        )
        # Missing results were scored as empty. Changed files are detected by their counts, in _compare.
        return read_results(source.results, truth, allow_missing=True)
    except UserError as error:
        raise UserError(f"{folder}: ground truth or results of the run cannot be read again: {error}") from error


def _compare(errors: SequenceErrors, row: Row, folder: Path) -> None:
    """Raise UserError if the numbers of errors differ from those of the scored run."""
    counts = {"CLR_FN": errors.missed, "CLR_FP": errors.false, "IDSW": len(errors.switches)}
    for name, count in counts.items():
        if row.get(name) != count:
            raise UserError(
                f"{folder}: {errors.name} was scored with {row.get(name)} {name}, but its files now give {count}; "
                "they have changed since: score them again"
            )
