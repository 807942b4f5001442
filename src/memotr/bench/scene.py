"""Inputs of the measurements: a network with random weights, trackers that start with tracks, and noise frames."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from memotr.bench.options import Options, Size
from memotr.build import build_model
from memotr.config import InputConfig, TrackingConfig
from memotr.io.frames import Frame
from memotr.io.mp4 import VideoSink
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.memotr import MeMOTR
from memotr.structures import TrackState
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.step import Network
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks
from memotr.vocabulary import Kernel, Precision

STEADY = TrackingConfig(det_thresh=1.0, track_thresh=0.0, result_thresh=0.0, min_area=0.0)
"""Thresholds that disable births and deaths, so that every frame costs the same."""

POINT_SPREAD = 2.0
"""Standard deviation in pixels of the sampling offsets of queries with a deviation of 1. Queries have about 1.5, so
sampling points are about three pixels apart, as in trained networks."""


def make_model(options: Options, size: Size) -> MeMOTR:
    """Return the network for frames of one size, in evaluation mode, with weights of a constant seed."""
    torch.manual_seed(0)
    model = build_model(options.config).to(options.device).eval()
    for module in model.modules():
        if isinstance(module, DeformableAttention):  # untrained ones sample the same grid for all queries
            channels = module.sampling_offsets.in_features
            nn.init.normal_(module.sampling_offsets.weight, std=POINT_SPREAD / math.sqrt(channels))
            nn.init.normal_(module.attention_weights.weight, std=1 / math.sqrt(channels))
    sides = InputConfig(short_side=min(size), longest_side=max(size))
    model.config = options.config.model_copy(update={"tracking": STEADY, "input": sides})
    return model


def copy_with_kernel(model: MeMOTR, kernel: Kernel) -> MeMOTR:
    """Return a copy of a network that shares its weights but has another kernel."""
    weights = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in weights}).set_kernel(kernel)


def make_crowd(model: MeMOTR, count: int) -> TrackState:
    """Return ``count`` tracks with random embeddings and boxes."""
    random = torch.Generator().manual_seed(0)
    embed = torch.randn(5, count, model.dim * model.queries.parts, generator=random).to(model.device)
    ref_pts = torch.randn(count, 4, generator=random) + torch.tensor([0.0, 0.0, -2.0, -1.0])  # boxes are narrow
    return TrackState(
        ids=torch.arange(count, device=model.device),
        labels=torch.zeros(count, dtype=torch.int64, device=model.device),
        logits=torch.zeros(count, model.num_classes, device=model.device),
        boxes=ref_pts.sigmoid().to(model.device),
        ref_pts=ref_pts.to(model.device),
        query_embed=embed[0],
        output_embed=embed[1, :, : model.dim],
        last_output=embed[2, :, : model.dim],
        long_memory=embed[3, :, : model.dim],
        disappear_time=torch.zeros(count, dtype=torch.int64, device=model.device),
        seen_boxes=torch.zeros(count, 0, 4, device=model.device),
    )


class CrowdTracker(Tracker):
    """Tracker that has tracks before the first frame of a video.

    Args:
        model: model with weights and settings.
        first: tracks before the first frame.
        precision: numerical precision of the network.
        prepared: optimise the network for inference.
        preprocess_on_device: see :class:`memotr.Tracker`.
        network: network to run; None: that of the model.
        settings: other arguments of the base class.
    """

    def __init__(
        self,
        model: MeMOTR,
        first: TrackState,
        precision: Precision = "32",
        *,
        prepared: bool = True,
        preprocess_on_device: bool | None = None,
        network: Network | None = None,
        **settings: Any,
    ) -> None:
        self.first = first
        network = model.eval() if network is None and not prepared else network
        super().__init__(
            model,
            precision=precision,
            preprocess_on_device=preprocess_on_device,
            graph="auto" if prepared else "off",
            network=network,
            **settings,
        )

    def another(self, network: Network | None = None) -> CrowdTracker:
        """Return another tracker with the same model and tracks."""
        network = self.network if network is None else network
        return CrowdTracker(
            self.model, self.first, self.precision, preprocess_on_device=self.preprocess_on_device, network=network
        )

    def _first_tracks(self) -> TrackState:
        return self.first


class CompiledCrowdTracker(CompiledTracker, CrowdTracker):
    """Compiled tracker that has tracks before the first frame of a video."""


def make_frames(count: int, size: Size) -> list[NDArray[np.uint8]]:
    """Return RGB images (H, W, 3) of a moving pattern, with about as much detail as photographs."""
    random, (height, width) = np.random.default_rng(0), size
    coarse = random.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    whole = cv2.resize(coarse, (width + 32, height + 32), interpolation=cv2.INTER_CUBIC)
    noise = random.integers(0, 12, (height, width, 3), dtype=np.uint8)
    shifts = [4 * i % 32 for i in range(count)]
    return [np.asarray(cv2.add(whole[s : s + height, s : s + width], noise), np.uint8) for s in shifts]


def write_video(path: Path, count: int, size: Size) -> Path:
    """Write an H.264 file with the frames of :func:`make_frames`, and return its path."""
    with VideoSink(path, fps=Fraction(25)) as sink:
        for i, image in enumerate(make_frames(count, size)):
            sink.write(Frame(i, image, i / 25), Tracks.empty(i, ()))
    return path
