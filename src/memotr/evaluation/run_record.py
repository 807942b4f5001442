"""Record of the model and settings of a run, which prevents mixing results of different runs."""

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
from memotr.vocabulary import Precision
from memotr.weights.published_names import published_state

RECORD = "run.json"


def open_results_folder(folder: Path, model: MeMOTR, source: Mapping[str, Any], precision: Precision) -> Path:
    """Record a run in ``run.json``, or compare it with an existing record; return the folder for its results.

    Args:
        folder: folder of the run; created if it does not exist.
        model: model, including its configuration.
        source: description of the tracked data, with JSON values.
        precision: numerical precision of the network.

    Raises:
        UserError: the folder has results of another run.
    """
    settings = model.config.model_dump(mode="json", include={"classes", "model", "input", "tracking"})
    record = {"weights": fingerprint(model), "precision": precision, **settings, **source}
    file = folder / RECORD
    if not file.is_file():
        with replacing(file) as draft:
            write_json(draft, record)
    before = _read_record(file)
    if isinstance(before.get("tracking"), dict):  # settings that were added later have their defaults
        before["tracking"] = TrackingConfig().model_dump(mode="json") | before["tracking"]
    changed = sorted(_changes(before, record))
    if changed:
        raise UserError(
            f"{folder}: has results of another run ({'; '.join(changed[:3])}); choose another --output, or remove it"
        )
    return folder / "results"


def fingerprint(model: MeMOTR) -> str:
    """Return a hash of the weights, which does not depend on the format of their file."""
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
    """Return a description ``key old → new`` of each difference between two records."""
    found = []
    for key in before.keys() | now.keys():
        old, new, name = before.get(key), now.get(key), f"{place}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changes(old, new, f"{name}.")
        elif old != new:
            found.append(f"{on_one_line(name)} {on_one_line(str(old))} → {new}")
    return found
