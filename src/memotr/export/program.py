"""Tracing of a model's frame step, and writing of the trace as a ``torch.export`` program or as ONNX."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from memotr.errors import UserError
from memotr.export.frame_step import INPUTS, OUTPUTS, STATE, STRIDE, ExportedStep, empty_state, thresholds
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch

METADATA_FILE = "memotr.json"
"""Name of the description inside a ``torch.export`` program."""


def trace(model: MeMOTR) -> tuple[ExportedStep, ExportedProgram]:
    """Trace the frame step of a model as a graph for images of any size and any number of tracks.

    Args:
        model: model on the CPU. It is set to evaluation mode and to the kernel "reference", which other runtimes have.

    Returns:
        The frame step, and its graph.

    Raises:
        UserError: the configuration enables the motion model, which is not part of the step.
    """
    if model.config.tracking.motion.enabled:
        raise UserError("the motion model cannot be exported: set tracking.motion.enabled to false")
    step = ExportedStep(model.eval().set_kernel("reference"))
    height, width, tracks = Dim("height"), Dim("width"), Dim("num_tracks")
    sizes: dict[str, dict[int, object] | None] = dict.fromkeys(INPUTS)
    sizes |= {"pixels": {2: STRIDE * height, 3: STRIDE * width}, "mask": {1: STRIDE * height, 2: STRIDE * width}}
    sizes |= {name: {0: tracks} for name in STATE}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "While compiling, we found certain side effects")  # hooks of transformers
        # strict, because non-strict tracing treats len() of a tensor as a constant
        return step, torch.export.export(step, _example(model), dynamic_shapes=sizes, strict=True)


def write_program(program: ExportedProgram, path: Path, description: Mapping[str, str]) -> None:
    """Save a traced step for PyTorch, with its description as an extra file in the archive."""
    samples = program.example_inputs
    program.example_inputs = None  # they would be stored as a pickle
    archive = io.BytesIO()  # in memory first: PyTorch aborts the process when the disk is full
    with quiet_exporter():
        torch.export.save(program, archive, extra_files={METADATA_FILE: json.dumps(description, allow_nan=False)})
    program.example_inputs = samples
    path.write_bytes(archive.getbuffer())


def write_onnx(program: ExportedProgram, path: Path, description: Mapping[str, str]) -> None:
    """Translate a traced step to ONNX, with its description as the file's metadata."""
    import onnx_ir
    import onnxscript  # noqa: F401  raises ImportError with the package's name, unlike PyTorch
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass, InlinePass

    with quiet_exporter():
        translated = torch.onnx.export(
            program, dynamo=True, input_names=INPUTS, output_names=OUTPUTS, optimize=False, verbose=False
        )
        assert translated is not None
        # Equal clamps are merged first, because the optimiser gives the bounds of all clamps of a tensor the same name.
        InlinePass()(translated.model)
        CommonSubexpressionEliminationPass()(translated.model)
        translated.optimize()
    graph = translated.model.graph
    for value, names in [(v, {0: "num_tracks"}) for v in graph.inputs if v.name in STATE] + [
        (v, {0: "new_num_tracks"}) for v in graph.outputs if v.shape
    ]:
        assert value.shape is not None
        value.shape = onnx_ir.Shape([names.get(i, size) for i, size in enumerate(value.shape)])
    translated.model.metadata_props.update(description)
    translated.save(path, external_data=False)


def _example(model: MeMOTR) -> tuple[Tensor, ...]:
    """Return example inputs. No variable size is 0 or 1, which tracing would treat as a constant."""
    images = ImageBatch.from_images([torch.zeros(3, 3 * STRIDE, 4 * STRIDE)])
    state = {
        name: value.new_zeros(3, *value.shape[1:]) for name, value in empty_state(model.config).items() if value.ndim
    }
    inputs = {"pixels": images.pixels, "mask": images.mask, **state, "next_id": torch.tensor(3)}
    inputs |= thresholds(0.5, 0.5, 30)
    return tuple(inputs[name] for name in INPUTS)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Suppress log messages and warnings of the exporter about its internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch._export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
