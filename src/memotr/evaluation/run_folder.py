"""Folder of a scored run, written by ``memotr score --output`` and read by ``memotr compare``.

``metrics.json`` has the metrics of the tables. ``counts.json`` has counts, from which the metrics of any selection of
sequences can be computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.documents import DocumentError, on_one_line, read_json
from memotr.errors import UserError
from memotr.evaluation.scoring import ClassScores, Scores, Teta
from memotr.metrics.fields import CURVES, SUMS
from memotr.metrics.hota import ALPHAS
from memotr.metrics.preprocessing import Fields
from memotr.metrics.teta_scores import TetaCounts
from memotr.terminal import ESCAPED_IN_JSON

METRICS, COUNTS = "metrics.json", "counts.json"


@dataclass(frozen=True, eq=False)
class Run:
    """Scored run.

    Attributes:
        path: folder of the run.
        counts: class → sequence → fields of ``SUMS``; curves over thresholds are arrays (19,).
        teta: sequence → counts of TETA; empty if TETA was not computed.
    """

    path: Path
    counts: Mapping[str, Mapping[str, Fields]]
    teta: Mapping[str, TetaCounts]

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the sequences."""
        return tuple(next(iter(self.counts.values())))


def write_run(metrics: Path, counts: Path, scores: Scores, source: Mapping[str, object]) -> None:
    """Write ``metrics.json``, including the source of the scores, and ``counts.json``."""
    write_json(counts, _counts(scores))
    write_json(metrics, _metrics(scores) | {"notes": list(scores.notes), "source": dict(source)})


def read_run(folder: Path) -> Run:
    """Read a folder written by :func:`write_run`.

    Raises:
        UserError: files are missing or invalid.
    """
    for name in (METRICS, COUNTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: no {name}; `memotr score … --output {folder}` writes it")
    file = folder / COUNTS
    try:
        content = read_json(file)
        counts = {name: {seq: _fields(of) for seq, of in found.items()} for name, found in content["classes"].items()}
        teta = {seq: _teta_counts(of, len(counts)) for seq, of in content.get("teta", {}).items()}
        sequences = [set(found) for found in counts.values()] + [set(teta) for _ in range(bool(teta))]
        if not any(sequences):
            raise ValueError("no sequences")
        if any(found != sequences[0] for found in sequences):
            raise ValueError("its classes have different sequences")
    except (DocumentError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.reason if isinstance(error, DocumentError) else on_one_line(str(error))
        reason = f"no {reason}" if isinstance(error, KeyError) else reason
        raise UserError(
            f"{file}: was not written by memotr score or is damaged ({reason}); score the run again"
        ) from error
    return Run(folder, counts, teta)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file in UTF-8."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", errors=ESCAPED_IN_JSON)


def _metrics(scores: Scores) -> dict[str, Any]:
    content: dict[str, Any] = _combined_and_sequences(scores.mean)
    if len(scores.classes) > 1:
        content["classes"] = {name: _combined_and_sequences(of) for name, of in scores.classes.items()}
        content["pooled"] = _combined_and_sequences(scores.pooled)
    if scores.teta is not None:
        content["teta"] = _teta(scores.teta)
    return content


def _combined_and_sequences(scores: ClassScores) -> dict[str, Any]:
    return {"combined": scores.combined, "sequences": scores.sequences}


def _teta(teta: Teta) -> dict[str, Any]:
    return {
        "combined": teta.combined.mean.summary(),
        "sequences": {name: of.mean.summary() for name, of in teta.sequences.items()},
        "classes": {name: row.summary() for name, row in teta.combined.classes.items()},
        "present": list(teta.combined.present),
    }


def _counts(scores: Scores) -> dict[str, Any]:
    content: dict[str, Any] = {
        "alphas": ALPHAS.round(2).tolist(),
        "classes": {
            name: {seq: {key: np.asarray(of[key]).tolist() for key in SUMS} for seq, of in one.fields.items()}
            for name, one in scores.classes.items()
        },
    }
    if scores.teta is not None:
        content["teta"] = {
            seq: {field.name: getattr(of, field.name).tolist() for field in fields(TetaCounts)}
            for seq, of in scores.teta.counts.items()
        }
    return content


def _fields(stored: Mapping[str, Any]) -> Fields:
    read = {key: _numbers(stored[key], ALPHAS.shape if key in CURVES else ()) for key in SUMS}
    return {key: value if value.ndim else float(value) for key, value in read.items()}


def _teta_counts(stored: Mapping[str, Any], classes: int) -> TetaCounts:
    widths = {field.name: 10 if field.name.startswith("cls") else 20 for field in fields(TetaCounts)}
    return TetaCounts(**{name: _numbers(stored[name], (classes, width)) for name, width in widths.items()})


def _numbers(stored: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return stored counts or sums of fractions as an array. Raises ValueError if they do not have this shape."""
    read = np.array(stored)
    if read.shape != shape or read.dtype.kind not in "iuf" or not (np.abs(read) < 2**53).all():  # also excludes NaN
        raise ValueError(f"expected finite numbers of shape {shape}")
    return read
