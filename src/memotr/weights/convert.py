"""Conversion of weights files between layouts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from memotr.config import Config
from memotr.errors import UserError
from memotr.weights import huggingface
from memotr.weights.checkpoint import HEADER, Checkpoint, make_header
from memotr.weights.kinds import Kind
from memotr.weights.model_files import check_tracker, fill_model, find_config, model_state, read_weights, save_model
from memotr.weights.pretrained import describe_detector
from memotr.weights.tensor_files import cast, write_torch

PYTORCH = (".pth", ".pt")


def convert(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    half: bool = False,
) -> str:
    """Write a tracker in another layout, or a Hugging Face detector in the official one.

    Args:
        source: a tracker's checkpoint, the name of a preset that ships with weights, or a Hugging Face model folder;
            it is not changed.
        target: ``.safetensors`` for our layout, ``.pth`` or ``.pt`` for the one that the authors' code reads.
        config: configuration of the tracker; None: find it as :func:`load_model` does.
        settings: settings of the tracker to override as ``key=value``.
        half: store float16.

    Returns:
        A description of the written file.

    Raises:
        UserError: the source is of another kind, the target has an unknown suffix or is the source itself, or a weight
            exceeds the range of float16.
    """
    source, target = Path(source), Path(target)
    if target.suffix not in (*PYTORCH, ".safetensors"):
        raise UserError(f"{target}: the name must end in .safetensors (memotr's layout), .pth or .pt (the authors')")
    if target.is_dir():
        raise UserError(f"{target}: is a folder; pass the file to write")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: is the source itself; choose another file to write")
    checkpoint = read_weights(source)
    if checkpoint.layout == huggingface.LAYOUT:
        if settings:
            raise UserError(f"{source}: a detector has no tracker settings: leave out --set {shlex.quote(settings[0])}")
        return _convert_detector(checkpoint, target, half)
    check_tracker(checkpoint)
    return _convert_tracker(checkpoint, target, find_config(checkpoint, config, settings), half)


def _convert_tracker(checkpoint: Checkpoint, target: Path, found: tuple[Config, str], half: bool) -> str:
    settings, origin = found
    model = fill_model(checkpoint, settings, origin)
    dtype = torch.float16 if half else None
    if target.suffix in PYTORCH:
        header = make_header(settings.model_dump(mode="json"), checkpoint.epoch)
        write_torch(target, {"model": model_state(model, dtype, target), HEADER: header})
    else:
        save_model(model, target, epoch=checkpoint.epoch, dtype=dtype)
    without = ", without its training state" if checkpoint.kind is Kind.TRAINING else ""
    classes = ", ".join(settings.classes)
    return f"{target}: tracker ({settings.model.variant}; {classes}){without}; configuration: {origin}"


def _convert_detector(checkpoint: Checkpoint, target: Path, half: bool) -> str:
    if target.suffix not in PYTORCH:
        raise UserError(
            f"{target}: a detector can only be written in its official layout; the name must end in .pth or .pt"
        )
    dtype = torch.float16 if half else torch.float32
    write_torch(target, {"model": cast(checkpoint.state, dtype, target)})
    detector = describe_detector(checkpoint).removeprefix("a ")
    return f"{target}: {detector}; use: memotr train ... --pretrained {shlex.quote(str(target))}"
