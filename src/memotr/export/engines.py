"""Engines that run an exported frame step: ONNX Runtime and PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from memotr.config import Config
from memotr.errors import UserError, first_line
from memotr.export.archive import DESCRIPTION, open_archive
from memotr.export.description import read_config, read_texts
from memotr.export.frame_step import INPUTS, OUTPUTS, empty_state
from memotr.export.graph import GraphError, Program
from memotr.export.onnx_file import read_metadata
from memotr.vocabulary import EngineName


class Engine(Protocol):
    """Interface of engines, which run an exported frame step.

    Attributes:
        config: configuration of the exported model.
    """

    config: Config

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one step.

        Args:
            inputs: tensors on the CPU by the names of :data:`INPUTS`.

        Returns:
            Tensors on the CPU by the names of :data:`OUTPUTS`.

        Raises:
            UserError: the step fails.
        """


class OnnxEngine:
    """Engine for ONNX files, in ONNX Runtime.

    Args:
        path: file written by ``memotr export``.
        device: "cpu"; "cuda" or "cuda:1", which needs the package onnxruntime-gpu; "auto" prefers CUDA.

    Raises:
        UserError: the file is not a valid export, or the device is not available.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        import onnxruntime

        kind, _, number = device.partition(":")
        on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if kind not in ("auto", "cpu", "cuda") or (kind == "cuda" and not on_gpu):
            raise UserError(f"device {device}: this ONNX Runtime has {'cpu and cuda' if on_gpu else 'cpu only'}")
        gpu = [("CUDAExecutionProvider", {"device_id": number or "0"})] if on_gpu and kind != "cpu" else []
        self.path = path
        self.config = read_config(read_metadata(path), str(path))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # nothing: errors are raised as well, and would print text from the file
        try:
            self.session = onnxruntime.InferenceSession(
                path,
                options,
                providers=[*gpu, "CPUExecutionProvider"],
                enable_fallback=int(bool(gpu)),  # the fallback prints errors of the file
            )
        except Exception as error:  # its error classes have no common base
            raise UserError(f"{path}: ONNX Runtime cannot load it: {first_line(error)}") from None

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one step, see :class:`Engine`."""
        try:
            values = self.session.run(OUTPUTS, {name: inputs[name].numpy() for name in INPUTS})
            tensors = [torch.from_numpy(value) for value in values]
        except Exception as error:
            raise UserError(f"{self.path}: cannot run a frame step: {first_line(error)}") from None
        return _checked(tensors, self.config, self.path)


class ProgramEngine:
    """Engine for ``torch.export`` programs, in PyTorch on the CPU.

    Args:
        path: file written by ``memotr export``.

    Raises:
        UserError: the file is not a valid export.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_archive(path) as archive:
            self.config = read_config(read_texts(archive.read(DESCRIPTION), str(path)), str(path))
            try:
                self.program = Program(archive, len(INPUTS), len(OUTPUTS))
            except GraphError as error:
                raise UserError(f"{path}: refused: {error}; export the checkpoint again, or to .onnx") from None

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one step, see :class:`Engine`."""
        try:
            values = self.program([inputs[name] for name in INPUTS])
        except Exception as error:  # operators with arguments that do not fit
            raise UserError(f"{self.path}: cannot run a frame step: {first_line(error)}") from None
        return _checked(values, self.config, self.path)


def _checked(values: Sequence[Tensor], config: Config, path: Path) -> dict[str, Tensor]:
    """Return the outputs of an exported step by name. Raises UserError if the next step could not use them."""
    outputs = dict(zip(OUTPUTS, values, strict=True))
    wanted = {f"new_{name}": value for name, value in empty_state(config).items()}
    wanted |= {"boxes": torch.empty(0, 4), "scores": torch.empty(0)}
    count = outputs["scores"].shape[:1]
    for name, like in wanted.items():
        shape = (*count, *like.shape[1:]) if like.ndim else ()
        if outputs[name].dtype != like.dtype or outputs[name].shape != shape:
            raise UserError(
                f"{path}: its step returns {name} as {outputs[name].dtype} {tuple(outputs[name].shape)}, "
                f"expected {like.dtype} {tuple(shape)}"
            )
    if not (outputs["boxes"].isfinite().all() and outputs["scores"].isfinite().all()):
        raise UserError(f"{path}: its step returns boxes or scores that are NaN or infinite")
    return outputs


def choose_engine(checkpoint: str | Path, wanted: EngineName) -> EngineName:
    """Return the engine for a checkpoint by its suffix. Raises UserError if another one is requested."""
    endings: dict[str, EngineName] = {".onnx": "onnx", ".pt2": "pt2"}
    name = endings.get(Path(checkpoint).suffix.lower(), "torch")
    if wanted not in ("auto", name):
        remedy = f"memotr export {checkpoint} FILE.{wanted}" if name == "torch" else f"it needs engine {name}"
        raise UserError(f"engine {wanted} does not run {checkpoint}: {remedy}")
    return name


def open_engine(path: str | Path, device: str = "auto") -> Engine:
    """Load a file written by ``memotr export``.

    Raises:
        UserError: there is no such file, it was not made by ``memotr export``, or the device is not available.
    """
    path = Path(path)
    if choose_export(path) == "onnx":
        return OnnxEngine(path, device)
    if device not in ("auto", "cpu"):
        raise UserError(f"device {device}: a .pt2 file runs on the CPU, where it was exported")
    return ProgramEngine(path)


def choose_export(path: Path) -> EngineName:
    """Return the engine of an exported file, onnx or pt2. Raises UserError for other files and missing ones."""
    name = choose_engine(path, "auto")
    if name == "torch":
        raise UserError(
            f"{path}: an exported tracker ends in .onnx or .pt2; to make one: memotr export {path} FILE.onnx"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return name
