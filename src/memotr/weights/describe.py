"""Description of weights files for ``memotr info``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from memotr.config import BackboneConfig, Config
from memotr.errors import UserError
from memotr.weights.architecture import count_parameters, differences, in_words, infer_config, resnet_shape
from memotr.weights.checkpoint import Checkpoint
from memotr.weights.kinds import Kind
from memotr.weights.model_files import find_config, read_weights
from memotr.weights.named import present_file
from memotr.weights.pretrained import describe_detector, tracker_names
from memotr.weights.registry import NamedWeights, domain_of, named_weights

_RESNETS = {
    (2, 2, 2, 2): "ResNet-18",
    (3, 4, 6, 3): "ResNet-50",  # and ResNet-34, which has blocks of two convolutions
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def describe(path: str | Path) -> dict[str, str]:
    """Describe kind, content and use of a weights file: topic → text, in the order of display.

    Args:
        path: path of the file, name of weights (which are not fetched), or ``hf://owner/name``.

    Raises:
        UserError: the file is missing, damaged or of an unknown kind.
    """
    entry = None if Path(path).is_file() else named_weights().get(str(path))
    if entry is not None and present_file(entry) is None:
        return {
            "file": f"{path} (not fetched)",
            "kind": str(entry.kind),
            **about(entry),
            "use": f"memotr weights fetch {path}",
        }
    checkpoint = read_weights(path)
    here = "" if entry is None else f" ({'ships with memotr' if entry.ships else checkpoint.path})"
    lines = {
        "file": f"{path}{here}",
        "size": f"{_size(checkpoint.path) / 1e6:.1f} MB",
        "kind": str(checkpoint.kind),
        "layout": checkpoint.layout,
    }
    if checkpoint.kind is Kind.BACKBONE:
        lines |= _backbone(checkpoint)
    elif checkpoint.kind is Kind.DETECTOR:
        lines |= _detector(checkpoint, str(path))
    else:
        lines |= _tracker(checkpoint, str(path))
    if entry is not None:
        use = lines.pop("use")
        lines |= {**about(entry), "use": use}
    return lines


def about(entry: NamedWeights) -> dict[str, str]:
    """Return topic → text about an entry of the registry."""
    published = (
        f"{target}: {', '.join(f'{metric} {value}' for metric, value in scores.items())}"
        for target, scores in entry.published.items()
    )
    return {
        "trained on": entry.trained_on,
        "good for": entry.good_for,
        "licence": entry.licence,
        "source": entry.source,
        "published": "; ".join(published) or "no scores",
    }


def _tracker(checkpoint: Checkpoint, path: str) -> dict[str, str]:
    inferred = infer_config(checkpoint.state, path)
    try:
        config, origin = find_config(checkpoint)
        differing = differences(inferred, config)
    except UserError as error:
        config, origin, differing = inferred, str(error), {}
    if differing:
        origin += f"; it does not fit: {in_words(differing)}"
    quoted = shlex.quote(path)
    use = f"memotr track SOURCE --checkpoint {quoted}"
    if checkpoint.kind is Kind.TRAINING:
        use += f", or to continue training: memotr train ... --resume {quoted}"
    return {
        **_network(inferred if differing else config),
        "classes": in_short(inferred if "classes" in differing else config)["classes"],
        **_tensors(checkpoint),
        **{topic: text for topic, text in in_short(config).items() if topic in ("tracking", "domain")},
        "configuration": origin,
        "use": use,
    }


def _detector(checkpoint: Checkpoint, path: str) -> dict[str, str]:
    names = {"kind": describe_detector(checkpoint).removeprefix("a ")}
    tail = {**_tensors(checkpoint), "use": f"memotr train ... --pretrained {shlex.quote(path)}"}
    return {**names, **_network(infer_config(tracker_names(checkpoint.state), str(checkpoint.path))), **tail}


def _backbone(checkpoint: Checkpoint) -> dict[str, str]:
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    use = f"memotr train ... model.backbone.weights={shlex.quote(str(checkpoint.path))}"
    if "layer1.0.conv3.weight" not in shapes:
        use = "none: memotr's ResNet has blocks of three convolutions (ResNet-50 and larger)"
    return {"backbone": _resnet(shapes, ""), **_tensors(checkpoint), "use": use}


def in_short(config: Config) -> dict[str, str]:
    """Return topic → text about a tracker's configuration."""
    t = config.tracking
    domain = domain_of(config)
    return {
        **_network(config),
        **({} if domain is None else {"domain": domain}),
        "classes": f"{len(config.classes)}: {', '.join(config.classes)}",
        "tracking": f"detections from {t.det_thresh}, tracks from {t.track_thresh}, results above {t.result_thresh}, "
        f"ended after {t.miss_tolerance} frames unseen",
    }


def _network(config: Config) -> dict[str, str]:
    m = config.model
    return {
        "variant": m.variant,
        "network": f"hidden size {m.hidden_dim}, FFN {m.ffn_dim}, {m.num_levels} levels, {m.num_queries} detection "
        f"queries, {m.num_encoder_layers} encoder and {m.num_decoder_layers} decoder layers",
        "backbone": _backbone_settings(m.backbone),
    }


def _backbone_settings(backbone: BackboneConfig) -> str:
    if backbone.transformers_type is None:
        resnet = _RESNETS.get(backbone.depths, "ResNet")
        return f"{resnet}, width {backbone.width}, {backbone.norm} normalisation"
    settings = ", ".join(f"{key} {value}" for key, value in backbone.config.items())
    return f"{backbone.transformers_type} of transformers, {settings or 'its default settings'}"


def _tensors(checkpoint: Checkpoint) -> dict[str, str]:
    state = checkpoint.state
    lines = {
        "parameters": f"{count_parameters(state):,} in {len(state)} tensors",
        "precision": ", ".join(_precisions(state.values())),
    }
    if checkpoint.epoch is not None:
        steps = f", {checkpoint.iterations:,} iterations" if checkpoint.iterations is not None else ""
        lines["trained"] = f"{checkpoint.epoch} epochs{steps}"
    return lines


def _precisions(tensors: Iterable[Tensor]) -> list[str]:
    return sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point()})


def _resnet(shapes: dict[str, tuple[int, ...]], prefix: str) -> str:
    depths = tuple(resnet_shape(shapes, prefix)["depths"])
    if f"{prefix}layer1.0.conv3.weight" not in shapes and depths == (3, 4, 6, 3):
        return "ResNet-34"
    return _RESNETS.get(depths, f"ResNet of depths {depths}")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
