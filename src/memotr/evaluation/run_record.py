"""What made the results in a folder: a run that goes on must not mix them with those of another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from memotr.config import TrackingConfig
from memotr.documents import DocumentError, on_one_line, read_json
from memotr.errors import UserError
from memotr.evaluation.run_folder import write_json
from memotr.files import replacing
from memotr.models.memotr import MeMOTR
from memotr.tracking.precision import Precision
from memotr.weights.published_names import published_state

RECORD = "run.json"


def open_run(folder: Path, model: MeMOTR, source: Mapping[str, Any], precision: Precision) -> Path:
    """The folder for the results of a run, whose ``run.json`` says what made them.

    Args:
        folder: of the run; made if it is not there.
        model: whose weights and settings count.
        source: what is tracked, ready for JSON.
        precision: of the arithmetic.

    Raises:
        UserError: results that are there were made with something else.
    """
    settings = model.config.model_dump(mode="json", include={"classes", "model", "input", "tracking"})
    record = {"weights": fingerprint(model), "precision": precision, **settings, **source}
    file = folder / RECORD
    if not file.is_file():
        with replacing(file) as beside:
            write_json(beside, record)
    before = _read_record(file)
    if isinstance(before.get("tracking"), dict):  # settings that were not there yet have their defaults
        before["tracking"] = TrackingConfig().model_dump(mode="json") | before["tracking"]
    changed = sorted(_changes(before, record))
    if changed:
        raise UserError(
            f"{folder}: holds results of another run ({'; '.join(changed[:3])}); choose another --output, or remove it"
        )
    return folder / "results"


def fingerprint(model: MeMOTR) -> str:
    """The same for the same weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(published_state(model).items()):
        digest.update(name.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = read_json(file)
    except DocumentError as error:
        raise UserError(f"{error}; choose another --output, or remove the folder") from None
    return record if isinstance(record, dict) else {}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> list[str]:
    """What differs, in words."""
    found = []
    for key in before.keys() | now.keys():
        old, new, name = before.get(key), now.get(key), f"{place}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new, f"{name}.")
        elif old != new:
            found.append(f"{on_one_line(name)} {on_one_line(str(old))} → {new}")
    return found
