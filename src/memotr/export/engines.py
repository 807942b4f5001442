"""What runs an exported frame step: ONNX Runtime or PyTorch, behind one interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from memotr.config import Config
from memotr.errors import UserError
from memotr.export.description import read_config
from memotr.export.frame_step import INPUTS, OUTPUTS
from memotr.export.program import METADATA_FILE, quiet_exporter

EngineName = Literal["torch", "onnx", "pt2"]
"""For weights, and for the two kinds of exported files."""


class Engine(Protocol):
    """An exported frame step. ``config`` is that of the model it was made of."""

    config: Config

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From the tensors of :data:`INPUTS`, on the CPU, to those of :data:`OUTPUTS`."""


class OnnxEngine:
    """ONNX Runtime.

    Args:
        path: written by ``memotr export``.
        device: "cpu"; "cuda" or "cuda:1", which needs the package onnxruntime-gpu; "auto" takes what there is.

    Raises:
        UserError: the file is not what it should be, or the device is not there.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        import onnxruntime

        kind, _, number = device.partition(":")
        on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if kind not in ("auto", "cpu", "cuda") or (kind == "cuda" and not on_gpu):
            raise UserError(f"device {device}: this ONNX Runtime has {'cpu and cuda' if on_gpu else 'cpu only'}")
        gpu = [("CUDAExecutionProvider", {"device_id": number or "0"})] if on_gpu and kind != "cpu" else []
        try:
            self.session = onnxruntime.InferenceSession(path, providers=[*gpu, "CPUExecutionProvider"])
        except Exception as error:  # its classes have no common base of their own
            raise UserError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
        self.config = read_config(self.session.get_modelmeta().custom_metadata_map, str(path))

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = self.session.run(OUTPUTS, {name: inputs[name].numpy() for name in INPUTS})
        return {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, values, strict=True)}


class ProgramEngine:
    """A ``torch.export`` program in PyTorch, on the CPU.

    Raises:
        UserError: the file is not what it should be.
    """

    def __init__(self, path: Path) -> None:
        texts = {METADATA_FILE: ""}
        try:
            with quiet_exporter():
                program = torch.export.load(path, extra_files=texts)
        except Exception:  # what other bytes raise is anybody's guess
            raise UserError(
                f"{path}: not readable as a torch.export program of this PyTorch {torch.__version__}"
            ) from None
        self.config = read_config(json.loads(texts[METADATA_FILE] or "{}"), str(path))
        self.module = program.module()

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = self.module(*(inputs[name] for name in INPUTS))
        return dict(zip(OUTPUTS, values, strict=True))


def choose_engine(checkpoint: str | Path, wanted: Literal["auto", "torch", "onnx", "pt2"]) -> EngineName:
    """The engine that a checkpoint is for, by its ending. Raises UserError where another one is wanted."""
    endings: dict[str, EngineName] = {".onnx": "onnx", ".pt2": "pt2"}
    name = endings.get(Path(checkpoint).suffix, "torch")
    if wanted not in ("auto", name):
        remedy = f"memotr export {checkpoint} FILE.{wanted}" if name == "torch" else f"it takes engine {name}"
        raise UserError(f"engine {wanted} does not run {checkpoint}: {remedy}")
    return name


def open_engine(path: str | Path, device: str = "auto") -> Engine:
    """Load what ``memotr export`` wrote.

    Raises:
        UserError: there is no such file, it was not made by ``memotr export``, or the device is not there.
    """
    path = Path(path)
    name = choose_engine(path, "auto")
    if name == "torch":
        raise UserError(
            f"{path}: an exported tracker ends in .onnx or .pt2; this makes one: memotr export {path} FILE.onnx"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if name == "onnx":
        return OnnxEngine(path, device)
    if device not in ("auto", "cpu"):
        raise UserError(f"device {device}: a .pt2 file runs on the CPU, where it was exported")
    return ProgramEngine(path)
