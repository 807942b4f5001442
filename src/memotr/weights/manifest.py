"""Check of downloaded weights: tensors must have the names and shapes of the preset's network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from memotr.build import build_model
from memotr.config import load_config
from memotr.errors import UserError
from memotr.weights.checkpoint import SHARED_BOX_HEADS, read_checkpoint, shared_heads_once
from memotr.weights.kinds import Kind
from memotr.weights.pretrained import COCO_ROWS, tracker_names
from memotr.weights.published_names import published_state
from memotr.weights.registry import NamedWeights

Shapes = dict[str, tuple[int, ...]]

MEMORY = "query_updater."
"""Prefix of the tensors that a detector lacks."""


def check_manifest(entry: NamedWeights, file: Path) -> None:
    """Raise UserError unless a file has exactly the tensors of its entry's network."""
    checkpoint = read_checkpoint(file)
    tracks = checkpoint.kind in (Kind.TRACKER, Kind.TRAINING)
    if tracks != (entry.kind is Kind.TRACKER) or checkpoint.kind is Kind.BACKBONE:
        raise UserError(f"{file}: is a {checkpoint.kind}, not a {entry.kind}")
    state = shared_heads_once(checkpoint.state, file)
    found, wanted = _shapes(state if tracks else tracker_names(state)), manifest_of(entry)
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{file}: does not fit the preset {entry.preset} in {len(wrong)} tensors, such as {name}: "
            f"{found.get(name, 'missing')}, expected {wanted.get(name, 'none')}"
        )


def manifest_of(entry: NamedWeights) -> Shapes:
    """Return name → shape of all tensors of an entry; tensors of a detector are named as in a tracker."""
    config = load_config(entry.preset)
    if entry.kind is Kind.TRACKER:
        return _shapes(published_state(build_model(config)))
    coco = config.model_copy(update={"classes": tuple(map(str, range(COCO_ROWS)))})
    shapes = _shapes(published_state(build_model(coco)))
    return {name: shape for name, shape in shapes.items() if not name.startswith(MEMORY)}


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith(SHARED_BOX_HEADS)}
