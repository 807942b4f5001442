"""Loading and saving of trackers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from memotr.build import build_model, expected_parameters
from memotr.config import Config, as_settings, load_config, make_config
from memotr.errors import UserError, warn, wrong_type
from memotr.models.memotr import MeMOTR
from memotr.vocabulary import Kernel
from memotr.weights.architecture import count_parameters, differences, heads_are_a_guess, in_words, infer_config
from memotr.weights.checkpoint import (
    BOX_HEADS,
    HEADER,
    SHARED_BOX_HEADS,
    Checkpoint,
    make_header,
    read_checkpoint,
    shared_heads_once,
)
from memotr.weights.kinds import Kind
from memotr.weights.named import weights_file
from memotr.weights.pretrained import describe_detector
from memotr.weights.published_names import load_published, published_state
from memotr.weights.registry import domain_of, named_weights
from memotr.weights.tensor_files import cast, write_safetensors

PUBLISHED_CONFIGS = ("config.yaml", "train/config.yaml", "train/train.yaml")
"""Paths of the configuration relative to a checkpoint's folder; versions of the authors' code wrote the last two."""

SMALL = 10_000_000  # number of parameters below which a network is never too large for its file

INFERRED = "inferred from the weights"
"""Origin of a configuration that was not found, for messages."""


def load_model(
    weights: str | Path,
    *,
    config: str | Path | Config | None = None,
    settings: Sequence[str] = (),
    device: str | torch.device = "auto",
    kernel: Kernel = "auto",
) -> MeMOTR:
    """Load a tracker in evaluation mode, in float32; warn if it was trained on generated data only.

    Args:
        weights: a checkpoint (the authors' files, ours, or a bare state dict of either), a name of weights
            ("dancetrack"; ``memotr weights list`` shows all), or a repository of the Hugging Face Hub
            ("hf://owner/name"). Named weights and repositories are downloaded at first use.
        config: configuration, path of its YAML file, or name of a preset. None: the configuration in the file; else
            in ``<checkpoint>.yaml``, ``config.yaml`` or ``train/config.yaml`` in its folder (where the authors' code
            writes it); else inferred from names and shapes, with published values for the rest.
        settings: settings to override as ``key=value`` (``tracking.det_thresh=0.4``).
        device: "auto" (CUDA if available, otherwise CPU), "cpu", "cuda", "cuda:1", "mps", ...
        kernel: implementation of deformable attention; "auto" takes the fastest one for the device.

    Raises:
        UserError: the weights do not exist or cannot be fetched, the file is damaged, not a tracker, or does not fit
            the configuration (loading is strict), or the device is not available.
    """
    model = open_model(weights, config=config, settings=settings, device=device, kernel=kernel)
    if domain := domain_of(model.config):
        warn(f"{weights}: trained on {domain}")
    return model


def open_model(
    weights: str | Path,
    *,
    config: str | Path | Config | None = None,
    settings: Sequence[str] = (),
    device: str | torch.device = "auto",
    kernel: Kernel = "auto",
) -> MeMOTR:
    """Load a tracker as :func:`load_model`, but without the warning about its training data."""
    target = choose_device(device)
    checkpoint = read_tracker(weights)
    found, origin = find_config(checkpoint, config, settings)
    if origin == INFERRED:
        warn(
            f"{checkpoint.path}: no configuration in it or in its folder: class names, image size and thresholds are "
            "guessed (memotr info shows them); pass others with --config"
        )
    return fill_model(checkpoint, found, origin).to(target).eval().set_kernel(kernel)


def save_model(model: MeMOTR, path: str | Path, *, epoch: int | None = None, dtype: torch.dtype | None = None) -> None:
    """Write a tracker and its configuration into one safetensors file for :func:`load_model`.

    Args:
        model: model on any device.
        path: file to write; its folder is created, and the file appears once it is complete.
        epoch: number of trained epochs, for ``memotr info``.
        dtype: type of the tensors in the file, ``torch.float16`` for half the size; they are loaded as float32.

    Raises:
        UserError: the name has another suffix, the file cannot be written, or a weight exceeds the range of ``dtype``.
    """
    if not isinstance(model, MeMOTR):
        raise wrong_type("a model, which memotr.load_model returns", model)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: the name must end in .safetensors; memotr convert writes other layouts")
    state = {k: v for k, v in model_state(model, dtype, path).items() if not k.startswith(SHARED_BOX_HEADS)}
    header = make_header(model.config.model_dump(mode="json"), epoch)
    write_safetensors(path, state, {"format": "pt", HEADER: json.dumps(header, allow_nan=False)})


def model_state(model: MeMOTR, dtype: torch.dtype | None, path: Path) -> dict[str, Tensor]:
    """Return the model's tensors on the CPU by published names, floating-point ones as ``dtype``.

    Raises:
        UserError: a value exceeds the range of ``dtype``.
    """
    state = {name: tensor.cpu() for name, tensor in published_state(model).items()}
    return state if dtype is None else cast(state, dtype, path)


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of a name; "auto" is CUDA if available, otherwise the CPU.

    Raises:
        UserError: the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r} is not one of auto, cpu, cuda, cuda:0, mps, ...") from None
    if device.type != "cpu":
        _check_available(device)
    return device


def read_tracker(weights: str | Path) -> Checkpoint:
    """Read a tracker, as :func:`read_weights`. Raises UserError for other weights."""
    entry = named_weights().get(str(weights))
    if entry is not None and entry.kind is Kind.DETECTOR and not Path(weights).is_file():  # refused unfetched
        raise UserError(f"{weights}: is a detector, not a tracker; {use_of_detector(str(weights))}")
    checkpoint = read_weights(weights)
    check_tracker(checkpoint)
    return checkpoint


def read_weights(weights: str | Path) -> Checkpoint:
    """Read weights of any kind: a file or folder, weights known by name, or ``hf://owner/name``.

    Raises:
        UserError: the weights do not exist or cannot be fetched.
    """
    return read_checkpoint(weights_file(weights))


def use_of_detector(weights: str) -> str:
    """Return how to use a detector, for messages."""
    return f"to train from it use `memotr train ... --pretrained {shlex.quote(weights)}`"


def check_tracker(checkpoint: Checkpoint) -> None:
    """Raise UserError unless a checkpoint is a tracker; the message names the option that accepts it."""
    path = checkpoint.path
    if checkpoint.kind is Kind.DETECTOR:
        raise UserError(f"{path}: is {describe_detector(checkpoint)}, not a tracker; {use_of_detector(str(path))}")
    if checkpoint.kind is Kind.BACKBONE:
        raise UserError(f"{path}: is only a ResNet (of torchvision or timm), not a tracker; pass a MeMOTR checkpoint")


def find_config(
    checkpoint: Checkpoint, given: str | Path | Config | None = None, settings: Sequence[str] = ()
) -> tuple[Config, str]:
    """Return the configuration of a tracker's checkpoint, with settings (``key=value``) replaced, and its origin.

    Raises:
        UserError: the configuration or a setting is invalid.
    """
    found, origin = _find_config(checkpoint, given)
    return (make_config(found.model_dump(mode="json"), origin, as_settings(settings)) if settings else found), origin


def _find_config(checkpoint: Checkpoint, given: str | Path | Config | None) -> tuple[Config, str]:
    path = checkpoint.path
    if isinstance(given, Config):
        return given, "given"
    if given is not None:
        return load_config(given), str(given)
    if checkpoint.settings is not None:
        return make_config(checkpoint.settings, str(path)), f"in {path}"
    places = (path.with_suffix(".yaml"), *(path.parent / name for name in PUBLISHED_CONFIGS))
    for candidate in places:
        if candidate.is_file():
            return _load_neighbour(candidate, path), str(candidate)
    return infer_config(checkpoint.state, str(path), name=path.stem), INFERRED


def fill_model(checkpoint: Checkpoint, config: Config, origin: str) -> MeMOTR:
    """Return a model with exactly the weights of a checkpoint.

    Raises:
        UserError: the file does not fit the configuration; the message names its ``origin``.
    """
    _check_size(checkpoint, config, origin)
    model = build_model(config)
    state = shared_heads_once(checkpoint.state, checkpoint.path)
    state |= {SHARED_BOX_HEADS + k.removeprefix(BOX_HEADS): t for k, t in state.items() if k.startswith(BOX_HEADS)}
    _check_fit(state, published_state(model), checkpoint, config, origin)
    load_published(model, state)
    if checkpoint.settings is None and heads_are_a_guess(config.model) and origin == INFERRED:
        warn(
            f"{checkpoint.path}: the number of attention heads is not stored in the weights and was guessed as "
            f"{config.model.num_heads}; give the configuration if that is wrong"
        )
    return model


def _load_neighbour(candidate: Path, checkpoint: Path) -> Config:
    try:
        return load_config(candidate)
    except UserError as error:
        raise UserError(
            f"{error} (read because it is in the folder of {checkpoint.name}; pass another configuration)"
        ) from None


def _check_available(device: torch.device) -> None:
    kind = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count() if kind is not None and kind.type == device.type else 0
    if device.type == "cuda" and count == 0 and torch.version.cuda is None and torch.version.hip is None:
        raise UserError(f"device {device}: this PyTorch is built without CUDA; choose cpu or auto")
    if count == 0:
        raise UserError(f"device {device}: PyTorch finds no such device on this machine; choose cpu or auto")
    if (device.index or 0) >= count:
        available = ", ".join(f"{device.type}:{i}" for i in range(count))
        raise UserError(f"device {device}: does not exist; available are {available}")


def _check_size(checkpoint: Checkpoint, config: Config, origin: str) -> None:
    """Raise UserError if a network would be far larger than the file, before memory is allocated."""
    expected, found = expected_parameters(config), count_parameters(checkpoint.state)
    if expected > 2 * found + SMALL:
        sizes = f"the network has about {expected:,} parameters, the file {found:,}"
        raise _misfit(checkpoint.state, checkpoint, config, origin, sizes)


def _check_fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], checkpoint: Checkpoint, config: Config, origin: str
) -> None:
    """Raise UserError unless names and shapes are equal; the message names the likely cause."""
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    reshaped = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    found = [
        f"{len(names)} {what} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (reshaped, "of another shape"))
        if names
    ]
    if found:
        raise _misfit(state, checkpoint, config, origin, f"tensors: {', '.join(found)}")


def _misfit(state: Mapping[str, Tensor], checkpoint: Checkpoint, config: Config, origin: str, found: str) -> UserError:
    try:
        cause = in_words(differences(infer_config(state, str(checkpoint.path)), config))
    except UserError:
        cause = ""
    if not cause and origin == INFERRED and config.model.backbone.transformers_type is not None:
        cause = "names and shapes do not determine the backbone's settings; give the configuration of its training"
    cause = cause or f"the file is incomplete or of a modified network; {found}"
    return UserError(f"{checkpoint.path}: does not fit the configuration ({origin}): {cause}")
