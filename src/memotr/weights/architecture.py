"""Inference of a configuration from the names and shapes of a state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any

from torch import Tensor

from memotr.config import MAX_CLASSES, Config, ModelConfig, make_config
from memotr.errors import UserError
from memotr.published import BDD100K_CLASSES
from memotr.weights.checkpoint import SHARED_BOX_HEADS

_RESNET = "backbone.backbone.backbone."
_FFN = "transformer.decoder.layers.0.linear1.weight"
_ENCODER_ATTENTION = "transformer.encoder.layers.0.self_attn.attention_weights.bias"
_DECODER_ATTENTION = "transformer.decoder.layers.0.cross_attn.attention_weights.bias"

MAX_DIFFERENCES = 3
"""Maximum number of differences that a message names."""


def infer_config(state: Mapping[str, Tensor], origin: str, name: str = "memotr") -> Config:
    """Infer the configuration from a tracker's tensors (published names; those of the memory may be missing).

    Settings that do not affect shapes get the published values: 8 attention heads, position temperature, merge layer,
    and thresholds and other tracking settings of DanceTrack, or of BDD100K for 8 classes.

    Raises:
        UserError: a required tensor is missing, or the shapes fit no valid configuration.
    """
    try:
        model = _model_settings({key: tuple(tensor.shape) for key, tensor in state.items()})
        classes = class_names(min(len(state["class_embed.0.bias"]), MAX_CLASSES + 1))
    except KeyError as error:
        raise UserError(f"{origin}: incomplete: it has no tensor {error}") from None
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        raise UserError(f"{origin}: its tensors do not have the shapes of a tracker") from None
    tracking = {"miss_tolerance": 10} if classes == BDD100K_CLASSES else {}
    return make_config({"name": name, "classes": classes, "model": model, "tracking": tracking}, origin)


def class_names(count: int) -> tuple[str, ...]:
    """Return the class names of the published model with this number of classes; otherwise "class 0", "class 1", …."""
    published = {1: ("person",), len(BDD100K_CLASSES): BDD100K_CLASSES}
    return published.get(count, tuple(f"class {i}" for i in range(count)))


def heads_are_a_guess(model: ModelConfig) -> bool:
    """Return whether the inferred numbers of attention heads and points are ambiguous."""
    points = {model.num_decoder_points} | ({model.num_encoder_points} if model.num_encoder_layers else set())
    return model.num_heads != 8 or points != {4}


def differences(there: Config, here: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ between a checkpoint's inferred configuration and the one it is loaded with."""
    a, b = there.model, here.model
    keys = ["variant", "hidden_dim", "ffn_dim", "num_levels", "num_encoder_layers", "num_decoder_layers", "num_queries"]
    pairs: dict[str, tuple[Any, Any]] = {"classes": (len(there.classes), len(here.classes))}
    pairs |= {f"model.{key}": (getattr(a, key), getattr(b, key)) for key in keys}
    for key in ("num_encoder_points", "num_decoder_points"):  # shapes only determine the product of points and heads
        pairs[f"model.num_heads x {key}"] = a.num_heads * getattr(a, key), b.num_heads * getattr(b, key)
    pairs["model.backbone.name"] = a.backbone.name, b.backbone.name
    if a.backbone.name == b.backbone.name == "resnet":
        for key in ("depths", "width", "norm"):
            pairs[f"model.backbone.{key}"] = getattr(a.backbone, key), getattr(b.backbone, key)
    return {key: (x, y) for key, (x, y) in pairs.items() if x != y}


def in_words(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Describe the result of :func:`differences` as text; empty without differences."""
    words = []
    for key, (there, here) in differing.items():
        if key == "classes":
            words.append(f"the checkpoint has {there} {'class' if there == 1 else 'classes'}, the configuration {here}")
        else:
            words.append(f"{key} is {there} in the checkpoint, {here} in the configuration")
    more = len(words) - MAX_DIFFERENCES
    return "; ".join([*words[:MAX_DIFFERENCES], *([f"and {more} more settings differ"] if more > 0 else [])])


def count_parameters(state: Mapping[str, Tensor]) -> int:
    """Count parameters, shared ones once, without the statistics and constants of (frozen) normalisation."""
    frozen = not any(name.endswith("num_batches_tracked") for name in state)
    statistics = {name.rpartition(".")[0] for name in state if name.endswith(".running_mean")}
    return sum(
        tensor.numel()
        for name, tensor in state.items()
        if not name.startswith(SHARED_BOX_HEADS)
        and not (name.rpartition(".")[0] in statistics and (frozen or not name.endswith((".weight", ".bias"))))
    )


def resnet_shape(names: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, Any]:
    """Return depths, width and normalisation of the ResNet whose tensors start with ``prefix``. Raises KeyError."""
    norm = "frozen" if f"{prefix}bn1.running_mean" in names else "group"
    if f"{prefix}bn1.num_batches_tracked" in names:
        norm = "batch"
    return {
        "depths": [_count_modules(names, rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)],
        "width": names[f"{prefix}conv1.weight"][0],
        "norm": norm,
        "frozen_stages": 2 if norm == "frozen" else 0,
    }


def _model_settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    num_levels, hidden_dim = shapes["transformer.level_embed"]
    decoder_samples = shapes[_DECODER_ATTENTION][0] // num_levels  # heads * points
    encoder_samples = shapes.get(_ENCODER_ATTENTION, shapes[_DECODER_ATTENTION])[0] // num_levels
    num_heads = gcd(8, decoder_samples, encoder_samples)
    return {
        "variant": "dab" if "det_anchor" in shapes else "deformable-detr",
        "backbone": _backbone(shapes),
        "hidden_dim": hidden_dim,
        "ffn_dim": shapes[_FFN][0],
        "num_levels": num_levels,
        "num_heads": num_heads,
        "num_encoder_points": encoder_samples // num_heads,
        "num_decoder_points": decoder_samples // num_heads,
        "num_encoder_layers": _count_modules(shapes, r"transformer\.encoder\.layers\.(\d+)\."),
        "num_decoder_layers": _count_modules(shapes, r"transformer\.decoder\.layers\.(\d+)\."),
        "num_queries": shapes["det_query_embed"][0],
    }


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return settings of a tracker's backbone. Names of ``transformers`` backbones show only the type."""
    kinds = {name.split(".")[1] for name in shapes if name.startswith("backbone.")} - {"backbone"}
    return {"name": f"transformers:{kinds.pop()}"} if len(kinds) == 1 else resnet_shape(shapes, _RESNET)


def _count_modules(names: Iterable[str], pattern: str) -> int:
    """Count the distinct values of a pattern's first group among the names."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})
