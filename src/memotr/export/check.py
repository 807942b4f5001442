"""Check of an exported step against the model: both track a generated video with births and deaths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from memotr.errors import UserError
from memotr.export.engines import Engine
from memotr.export.frame_step import INPUTS, MIN_SIDE, OUTPUTS, STATE, ExportedStep, empty_state, thresholds
from memotr.structures import ImageBatch

TOLERANCE = 1e-3
"""Largest accepted difference of embeddings, boxes and scores, whose values are of the order of 1."""

SIZES = ((150, 224), (224, 150), (30, 200))
"""Sizes (height, width) of the frames in turn, in pixels before padding."""

EMPTY_AFTER = 4
"""Frame in which all tracks end, so that the next one begins without tracks, like the first."""


@torch.inference_mode()
def check(step: ExportedStep, engine: Engine, num_frames: int = 8) -> float:
    """Run the model's step and the exported step frame by frame, and compare their outputs.

    Each step continues from the state that it has returned for the frame before.

    Args:
        step: step of the model in PyTorch.
        engine: engine of the exported step.
        num_frames: number of frames.

    Returns:
        Largest difference of all floating-point outputs. Ids, labels and counts are equal.

    Raises:
        UserError: the outputs differ; the message names the output and the frame.
    """
    expected_state = exported_state = empty_state(engine.config)
    largest = 0.0
    for t, images in enumerate(_frames(num_frames)):
        limits = thresholds(2, 2, 1) if t == EMPTY_AFTER else _limits(step, images, expected_state)
        expected = _run(step, images, expected_state, limits)
        exported = engine.run({"pixels": images.pixels, "mask": images.mask, **exported_state, **limits})
        largest = max(largest, *(_difference(name, expected[name], exported[name], t) for name in OUTPUTS))
        expected_state, exported_state = (
            {name: output[f"new_{name}"] for name in (*STATE, "next_id")} for output in (expected, exported)
        )
    return largest


def _frames(count: int) -> Iterator[ImageBatch]:
    """Yield frames of noise at several scales that moves to the right."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(1, 3, n, n, generator=generator) for n in (3, 12, 48)]
    scene = torch.cat([torch.nn.functional.interpolate(x, size=(256, 256), mode="bilinear") for x in noise]).sum(0)
    for t in range(count):
        height, width = SIZES[t % len(SIZES)]
        yield ImageBatch.from_images([scene.roll(6 * t, dims=2)[:, :height, :width]], smallest=MIN_SIDE)


def _limits(step: ExportedStep, images: ImageBatch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return thresholds with which a few tracks start and a few of several tracks end, for any scores of the model.

    They lie in wide gaps between scores, so that rounding errors do not change decisions.
    """
    n = len(state["ids"])
    scores = _run(step, images, state, thresholds(0, 0, 1))["scores"]
    tracks, detections = scores[:n], scores[n:]
    return thresholds(_widest_gap(detections, 2, 8), _widest_gap(tracks, 1, n) if n > 1 else 0.0, 1)


def _widest_gap(scores: Tensor, low: int, high: int) -> float:
    """Return the middle of the widest gap with at least ``low`` and at most ``high`` scores above it."""
    best = scores.sort(descending=True).values[low - 1 : high + 1]
    gap = int((best[:-1] - best[1:]).argmax())
    return float(best[gap] + best[gap + 1]) / 2


def _run(
    step: ExportedStep, images: ImageBatch, state: Mapping[str, Tensor], limits: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    inputs = {"pixels": images.pixels, "mask": images.mask, **state, **limits}
    return dict(zip(OUTPUTS, step(*(inputs[name] for name in INPUTS)), strict=True))


def _difference(name: str, expected: Tensor, exported: Tensor, frame: int) -> float:
    """Return the largest difference of an output. Raises UserError if it is too large.

    Reference points are compared as boxes, because logits of numbers near 0 and 1 are inaccurate.
    """
    if expected.shape != exported.shape or expected.dtype != exported.dtype:
        raise UserError(
            f"the exported step returns {name} as {exported.dtype} {tuple(exported.shape)} in frame {frame}, "
            f"PyTorch as {expected.dtype} {tuple(expected.shape)}"
        )
    if name == "new_ref_pts":
        expected, exported = expected.sigmoid(), exported.sigmoid()
    difference = float((expected - exported).abs().max()) if expected.numel() else 0.0
    if not difference <= (TOLERANCE if expected.is_floating_point() else 0):  # also true for NaN
        raise UserError(f"{name} of the exported step differs from PyTorch's by {difference:.2g} in frame {frame}")
    return difference
