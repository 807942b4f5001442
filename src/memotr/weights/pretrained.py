"""Initialisation of a tracker from a (DAB-)Deformable-DETR detector or a backbone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.weights.architecture import differences, in_words, infer_config
from memotr.weights.checkpoint import (
    SHARED_BOX_HEADS,
    Checkpoint,
    read_checkpoint,
    read_tensors,
    shared_heads_once,
)
from memotr.weights.kinds import Kind
from memotr.weights.published_names import published_state

COCO_ROWS = 91
"""Class rows of the official detectors, one for each of COCO's category numbers; 1 is person."""

_ESSENTIAL = frozenset({"model.variant", "model.hidden_dim", "model.backbone.name", "model.backbone.width"})
"""Settings in which detector and tracker must agree. If others differ, some tensors keep their initial values."""

_PREFIXES = {
    "backbone.0.body.": "backbone.backbone.backbone.",
    "input_proj.": "feature_projs.",
    "tgt_embed.weight": "det_query_embed",
    "refpoint_embed.weight": "det_anchor",
    "query_embed.weight": "det_query_embed",
}


@dataclass(frozen=True)
class LoadReport:
    """Report of the tensors loaded from a detector; ``str(report)`` is a readable summary.

    Attributes:
        path: file of the detector.
        source: description of the detector.
        loaded: names of the tracker's tensors that were loaded.
        num_parameters: number of values in them.
        classes: description of how the class heads were loaded.
        left_out: name in the tracker → reason, of each tensor of the detector that was not loaded.
        initialised: names of the tracker's tensors that keep their initial values.
    """

    path: Path
    source: str
    loaded: tuple[str, ...]
    num_parameters: int
    classes: str
    left_out: Mapping[str, str]
    initialised: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"Started from {self.path}: {self.source}",
            f"  loaded             {len(self.loaded)} tensors, {self.num_parameters / 1e6:.1f} million values",
            f"  class heads        {self.classes}",
            f"  left out           {len(self.left_out)} tensors",
        ]
        for reason in dict.fromkeys(self.left_out.values()):
            names = [name for name, why in self.left_out.items() if why == reason]
            lines.append(f"                     {reason}: {_by_pattern(names)}")
        lines.append(f"  newly initialised  {len(self.initialised)} tensors: {_by_module(self.initialised)}")
        return "\n".join(lines)


def load_detector(model: MeMOTR, path: str | Path) -> LoadReport:
    """Initialise a tracker with all weights of a detector that fit.

    Class heads: one class is initialised from COCO's row 1 (person), two or three from rows 1 to n. If the detector has
    as many rows as the tracker has classes, all are used; otherwise none. The memory is never loaded.

    Args:
        model: changed in place, on any device.
        path: an official checkpoint of Deformable-DETR or DAB-Deformable-DETR, or a Hugging Face model folder.

    Raises:
        UserError: the file is not a detector, or one of another variant or width; the model is then unchanged.
    """
    checkpoint = read_detector(path)
    found = tracker_names(shared_heads_once(checkpoint.state, checkpoint.path))
    _check_essentials(found, model, checkpoint.path)
    rows, classes = _class_rows(len(found["class_embed.0.bias"]), model.config.classes)
    own = {name: tensor for name, tensor in published_state(model).items() if not name.startswith(SHARED_BOX_HEADS)}
    loaded, left_out = [], {}
    for name, tensor in found.items():
        if name.startswith("class_embed."):
            if rows is None:
                left_out[name] = "classes do not correspond"
                continue
            tensor = tensor[rows]  # (K, C) or (K,)
        if name not in own:
            left_out[name] = "the tracker has no such tensor"
        elif own[name].shape != tensor.shape:
            left_out[name] = f"shape {tuple(tensor.shape)}, in the tracker {tuple(own[name].shape)}"
        else:
            own[name].copy_(tensor)
            loaded.append(name)
    return LoadReport(
        path=checkpoint.path,
        source=describe_detector(checkpoint),
        loaded=tuple(loaded),
        num_parameters=sum(own[name].numel() for name in loaded),
        classes=classes,
        left_out=left_out,
        initialised=tuple(name for name in own if name not in loaded),
    )


def read_detector(path: str | Path) -> Checkpoint:
    """Read a detector's checkpoint. Raises UserError for other weights, with the option that accepts them."""
    checkpoint = read_checkpoint(path)
    if checkpoint.kind in (Kind.TRACKER, Kind.TRAINING):
        raise UserError(
            f"{path}: is a tracker checkpoint, not a detector; to continue its training use --resume, "
            "to track with it use --checkpoint"
        )
    if checkpoint.kind is Kind.BACKBONE:
        raise UserError(
            f"{path}: is only a ResNet (of torchvision or timm), not a (DAB-)Deformable-DETR detector; "
            f"to start from it set model.backbone.weights={path}"
        )
    if not checkpoint.state.keys() & {"tgt_embed.weight", "query_embed.weight"}:
        raise UserError(f"{path}: is a two-stage detector, without the learned queries that a tracker starts from")
    return checkpoint


def tracker_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a detector's tensors as in a tracker, and drop the counters of batch normalisation."""
    return {tracker_name(name): tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def tracker_name(name: str) -> str:
    """Return the name in a tracker of a detector's tensor."""
    for theirs, ours in _PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def describe_detector(checkpoint: Checkpoint) -> str:
    """Return variant and number of classes as text, with an article."""
    state = checkpoint.state
    variant = "DAB-Deformable-DETR" if "refpoint_embed.weight" in state else "Deformable-DETR"
    if not any(name.startswith(SHARED_BOX_HEADS) for name in state):
        variant += " without box refinement"
    rows = len(state["class_embed.0.bias"]) if "class_embed.0.bias" in state else 0
    return f"a {'COCO ' if rows == COCO_ROWS else ''}detector ({variant}, {rows} classes)"


def _class_rows(rows: int, classes: tuple[str, ...]) -> tuple[slice | None, str]:
    """Return the rows of the detector's class heads to load (None: none), and a description."""
    count = len(classes)
    if rows == count:
        return slice(0, count), f"all {count} taken"
    if rows == COCO_ROWS and count == 1:
        return slice(1, 2), f"COCO's row 1 (person) taken for {classes[0]!r}"
    if rows == COCO_ROWS and count <= 3:
        return slice(1, count + 1), f"COCO's rows 1 to {count} taken for {', '.join(classes)}"
    return None, f"the detector's {rows} do not correspond to the tracker's {count}: these are newly initialised"


def _check_essentials(found: Mapping[str, Tensor], model: MeMOTR, path: Path) -> None:
    """Raise UserError if detector and tracker differ in an essential setting."""
    differing = differences(infer_config(found, str(path)), model.config)
    essential = _ESSENTIAL | ({"model.backbone.norm"} if "group" in differing.get("model.backbone.norm", ()) else set())
    wrong = {key: values for key, values in differing.items() if key in essential}
    if wrong:
        remedy = " ".join(f"{key}={there}" for key, (there, _) in wrong.items())
        raise UserError(f"{path}: does not fit the configuration: {in_words(wrong)}; set {remedy}")


def _by_pattern(names: Iterable[str]) -> str:
    """Join names as text; names that differ only in the layer number are one."""
    return ", ".join(dict.fromkeys(re.sub(r"\.\d+(?=\.)", ".*", name) for name in names))


def _by_module(names: Iterable[str]) -> str:
    """Return the number of tensors of each module as text."""
    counts = Counter(".".join(name.split(".")[: 2 if name.startswith("transformer.") else 1]) for name in names)
    return ", ".join(f"{module} ({count})" for module, count in sorted(counts.items())) or "none"


def load_backbone(model: MeMOTR, path: Path) -> str:
    """Initialise the backbone of a tracker; return a description of what was loaded.

    Args:
        model: changed in place, on any device.
        path: file of the backbone's own library (torchvision or timm for a ResNet), or a Hugging Face model folder.

    Raises:
        UserError: the file cannot be read or does not fit.
    """
    state = read_tensors(path)
    name = model.config.model.backbone.name
    try:
        fresh = model.backbone.load(state)
    except ValueError as error:
        raise UserError(f"{path}: does not fit model.backbone ({name}): {error}") from None
    exceptions = f", except {len(fresh)} fresh tensors ({fresh[0]}, ...)" if fresh else ""
    return f"starting from random weights, the backbone ({name}) from {path}{exceptions}"
