"""Whether an exported step does what the model does: both follow a made-up video, in which tracks come and go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from memotr.errors import UserError
from memotr.export.engines import Engine
from memotr.export.frame_step import INPUTS, OUTPUTS, SMALLEST, STATE, ExportedStep, empty_state, thresholds
from memotr.structures import ImageBatch

TOLERANCE = 1e-3
"""Largest difference of an embedding, a box or a score. What tracks carry is of the order of 1."""

SIZES = ((150, 224), (224, 150), (30, 200))
"""Of the frames, by turns, in pixels before they are padded."""

EMPTY_AFTER = 4
"""The frame in which all tracks end: the next one begins without any, as the first."""


@torch.inference_mode()
def check(step: ExportedStep, engine: Engine, num_frames: int = 8) -> float:
    """Compare frame by frame, each side with the state that it made itself.

    Returns:
        The largest difference of all numbers but ids, labels and counts, which are equal.

    Raises:
        UserError: they differ, and in what.
    """
    ours = theirs = empty_state(engine.config)
    largest = 0.0
    for t, images in enumerate(_frames(num_frames)):
        limits = thresholds(2, 2, 1) if t == EMPTY_AFTER else _limits(step, images, ours)
        expected = _run(step, images, ours, limits)
        found = engine.run({"pixels": images.pixels, "mask": images.mask, **theirs, **limits})
        largest = max(largest, *(_difference(name, expected[name], found[name], t) for name in OUTPUTS))
        ours, theirs = ({name: output[f"new_{name}"] for name in (*STATE, "next_id")} for output in (expected, found))
    return largest


def _frames(count: int) -> Iterator[ImageBatch]:
    """Noise at several scales, drifting to the right."""
    generator = torch.Generator().manual_seed(0)
    scales = [torch.randn(1, 3, n, n, generator=generator) for n in (3, 12, 48)]
    scene = torch.stack([torch.nn.functional.interpolate(x, size=(256, 256), mode="bilinear") for x in scales]).sum(0)[
        0
    ]
    for t in range(count):
        height, width = SIZES[t % len(SIZES)]
        yield ImageBatch.from_images([scene.roll(6 * t, dims=2)[:, :height, :width]], smallest=SMALLEST)


def _limits(step: ExportedStep, images: ImageBatch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Thresholds by which a few are born and a few of several tracks end, whatever the model's scores are like.

    They lie in wide gaps, where a rounding error decides nothing.
    """
    n = len(state["ids"])
    everything = _run(step, images, state, thresholds(0, 0, 1))["scores"]
    tracks, detections = everything[:n], everything[n:]
    return thresholds(_widest_gap(detections, 2, 8), _widest_gap(tracks, 1, n) if n > 1 else 0.0, 1)


def _widest_gap(scores: Tensor, low: int, high: int) -> float:
    """The middle of the widest gap that leaves at least ``low`` and at most ``high`` scores above it."""
    best = scores.sort(descending=True).values[low - 1 : high + 1]
    gap = int((best[:-1] - best[1:]).argmax())
    return float(best[gap] + best[gap + 1]) / 2


def _run(
    step: ExportedStep, images: ImageBatch, state: Mapping[str, Tensor], limits: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    inputs = {"pixels": images.pixels, "mask": images.mask, **state, **limits}
    return dict(zip(OUTPUTS, step(*(inputs[name] for name in INPUTS)), strict=True))


def _difference(name: str, expected: Tensor, found: Tensor, frame: int) -> float:
    """The largest one. Reference points are compared as boxes: near 0 and 1 their logits have no precision."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        raise UserError(
            f"the exported step gives {name} as {found.dtype} {tuple(found.shape)} in frame {frame}, "
            f"PyTorch as {expected.dtype} {tuple(expected.shape)}"
        )
    if name == "new_ref_pts":
        expected, found = expected.sigmoid(), found.sigmoid()
    difference = float((expected - found).abs().max()) if expected.numel() else 0.0
    if not difference <= (TOLERANCE if expected.is_floating_point() else 0):  # NaN included
        raise UserError(f"the exported step gives another {name} than PyTorch in frame {frame}, by {difference:.2g}")
    return difference
