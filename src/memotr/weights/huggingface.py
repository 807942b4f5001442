"""Reader for Deformable DETR models of Hugging Face's transformers; transformers need not be installed.

A model folder has a JSON file and a file of tensors, whose names are translated to the official ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memotr.documents import DocumentError, brief, read_json
from memotr.errors import UserError
from memotr.weights.hub import CONFIG

LAYOUT = "Hugging Face transformers"
MAX_LAYERS = 100
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

_BODY, _CONV = "backbone.0.body.", "model.backbone.conv_encoder.model."
_BLOCK = {
    **{f"conv{i + 1}.": f"layer.{i}.convolution." for i in range(3)},
    **{f"bn{i + 1}.": f"layer.{i}.normalization." for i in range(3)},
    "downsample.0.": "shortcut.convolution.",
    "downsample.1.": "shortcut.normalization.",
}
_ENCODER_LAYER = {"norm1.": "self_attn_layer_norm.", "linear": "fc", "norm2.": "final_layer_norm."}
_DECODER_LAYER = {
    "norm2.": "self_attn_layer_norm.",
    "cross_attn.": "encoder_attn.",
    "norm1.": "encoder_attn_layer_norm.",
    "linear": "fc",
    "norm3.": "final_layer_norm.",
}

PREFIXES = [
    (f"{_BODY}conv1.", f"{_CONV}embedder.embedder.convolution."),
    (f"{_BODY}bn1.", f"{_CONV}embedder.embedder.normalization."),
    *(
        (f"{_BODY}layer{stage + 1}.#.{ours}", f"{_CONV}encoder.stages.{stage}.layers.#.{theirs}")
        for stage in range(4)
        for ours, theirs in _BLOCK.items()
    ),
    (_BODY, _CONV),  # timm backbones have the names of torchvision
    *((f"transformer.encoder.layers.#.{ours}", f"model.encoder.layers.#.{t}") for ours, t in _ENCODER_LAYER.items()),
    *((f"transformer.decoder.layers.#.{ours}", f"model.decoder.layers.#.{t}") for ours, t in _DECODER_LAYER.items()),
    ("query_embed.", "model.query_position_embeddings."),
    ("input_proj.", "model.input_proj."),
    ("transformer.", "model."),
]
"""Official and Hugging Face prefixes of names, # for a number. The first match applies; other names are equal."""

_NEWER = [(r"^model\.backbone\.model\.", _CONV), (r"\.mlp\.fc", ".fc"), (r"self_attn\.o_proj", "self_attn.out_proj")]
"""Patterns of names that transformers 5 uses in memory → names in files and in earlier versions."""

_QKV = ("q_proj", "k_proj", "v_proj")


def is_huggingface_state(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict has the names of the Deformable DETR of transformers."""
    return "model.level_embed" in state


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings in a model folder.

    Raises:
        UserError: the file is missing or damaged, or the model is no Deformable DETR or a variant that no tracker can
            start from.
    """
    path = folder / CONFIG
    try:
        settings = read_json(path)
    except DocumentError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{path}: no such file; transformers' weights need it in the same folder") from None
        raise UserError(f"{path}: cannot be read as a model's settings ({error.reason})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected a model's settings, found {type(settings).__name__}")
    _check_settings(path, settings)
    return settings


def find_weights(folder: Path) -> Path:
    """Return the file of tensors in a model folder. Raises UserError without one."""
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: a Hugging Face model folder without {' or '.join(WEIGHTS)}")
    return path


def to_official(state: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Rename the tensors of ``DeformableDetrForObjectDetection`` as in the official Deformable-DETR code.

    Args:
        state: state dict, as saved or as in memory.
        num_layers: number of decoder layers. Heads that layers share, and files therefore omit, are added.
    """
    for pattern, older in _NEWER:
        state = {re.sub(pattern, older, name): tensor for name, tensor in state.items()}
    backward = [(theirs, ours) for ours, theirs in PREFIXES]
    official = {_rename(name, backward): tensor for name, tensor in state.items() if "num_batches" not in name}
    for name in [name for name in official if ".self_attn.q_proj." in name]:
        parts = [official.pop(name.replace("q_proj", part)) for part in _QKV]
        official[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)  # (3C, C) or (3C,)
    for name in list(official):
        if name.startswith("transformer.decoder.bbox_embed."):
            official.setdefault(name.removeprefix("transformer.decoder."), official[name])
    for name in [name for name in official if name.startswith(("class_embed.0.", "bbox_embed.0."))]:
        for i in range(1, num_layers):
            official.setdefault(name.replace(".0.", f".{i}.", 1), official[name])
    return official


def to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename official tensors as in files of transformers with a ``ResNetConfig`` backbone."""
    theirs = {_rename(name, PREFIXES): tensor for name, tensor in state.items()}
    for name in [name for name in theirs if ".self_attn.in_proj_" in name]:
        for part, tensor in zip(_QKV, theirs.pop(name).chunk(3), strict=True):
            theirs[name.replace("in_proj_", f"{part}.")] = tensor.clone()  # (C, C) or (C,)
    return theirs


def _rename(name: str, prefixes: list[tuple[str, str]]) -> str:
    for old, new in prefixes:
        found = re.match(re.escape(old).replace(r"\#", r"(\d+)"), name)
        if found:
            for number in found.groups():
                new = new.replace("#", number, 1)
            return new + name[found.end() :]
    return name


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    model_type = settings.get("model_type")
    if model_type != "deformable_detr":
        raise UserError(f"{path}: model_type is {brief(model_type)}; a tracker can only start from 'deformable_detr'")
    if settings.get("two_stage"):
        raise UserError(f"{path}: two_stage is on, so the model has no learned queries that a tracker could start from")
    position = settings.get("position_embedding_type", "sine")
    if position != "sine":
        raise UserError(f"{path}: position_embedding_type is {brief(position)}; only 'sine' fits")
    layers = settings.get("decoder_layers", 6)
    if type(layers) is not int or not 1 <= layers <= MAX_LAYERS:
        raise UserError(f"{path}: decoder_layers is {brief(layers)}, not a number from 1 to {MAX_LAYERS}")
    backbone = settings.get("backbone_config") or {}
    if not isinstance(backbone, dict):
        raise UserError(f"{path}: backbone_config is {brief(backbone)}, not settings of a backbone")
    plain = {"layer_type": "bottleneck", "downsample_in_bottleneck": False, "downsample_in_first_stage": False}
    for key, value in plain.items():
        if backbone.get(key, value) != value:
            raise UserError(f"{path}: backbone_config.{key} is {brief(backbone[key])}; only {value!r} fits")
