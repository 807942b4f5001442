"""Frame step with tensors as inputs and outputs, which is exported, and the names of these tensors in the files."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.config import Config
from memotr.models.memotr import MeMOTR
from memotr.models.queries import QUERY_VARIANTS
from memotr.structures import ImageBatch, TrackState
from memotr.tracking.step import Limits, TrackerState, take_step

STATE = ("ids", "labels", "ref_pts", "query_embed", "last_output", "long_memory", "disappear_time")
"""Fields of a :class:`TrackState` that the next frame needs; each step computes the others."""

THRESHOLDS = ("det_thresh", "track_thresh", "miss_tolerance")
"""Inputs with the thresholds."""

INPUTS = ("pixels", "mask", *STATE, "next_id", *THRESHOLDS)
"""Names of all inputs, in the order of :meth:`ExportedStep.forward`."""

OUTPUTS = (*(f"new_{name}" for name in (*STATE, "next_id")), "boxes", "scores")
"""Names of all outputs, in their order."""

STRIDE, MIN_SIDE = 32, 64
"""Height and width of an image in pixels are multiples of ``STRIDE`` and at least ``MIN_SIDE``."""


class ExportedStep(nn.Module):
    """Frame step whose inputs and outputs are tensors. It has no motion model.

    Args:
        model: model to export.
    """

    def __init__(self, model: MeMOTR) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pixels: Tensor,
        mask: Tensor,
        ids: Tensor,
        labels: Tensor,
        ref_pts: Tensor,
        query_embed: Tensor,
        last_output: Tensor,
        long_memory: Tensor,
        disappear_time: Tensor,
        next_id: Tensor,
        det_thresh: Tensor,
        track_thresh: Tensor,
        miss_tolerance: Tensor,
    ) -> tuple[Tensor, ...]:
        """Process one frame of one video. The first dimension of all states is the number of tracks N.

        Args:
            pixels: (1, 3, H, W) float, see :class:`memotr.structures.ImageBatch`.
            mask: (1, H, W) bool.
            ids: (N,) int64, see :class:`memotr.structures.TrackState` for this and the next six.
            labels: (N,) int64.
            ref_pts: (N, 4) float.
            query_embed: (N, C or 2C) float.
            last_output: (N, C) float.
            long_memory: (N, C) float.
            disappear_time: (N,) int64.
            next_id: () int64, id of the next birth.
            det_thresh: () float, see :func:`memotr.tracking.gate.gate` for this and the next two.
            track_thresh: () float.
            miss_tolerance: () int64.

        Returns:
            Tensors in the order of :data:`OUTPUTS`: the state of the N' tracks after the frame, the id of the next
            birth, boxes (N', 4) cxcywh in [0, 1], and scores (N',) of the best class.
        """
        n = len(ids)
        tracks = TrackState(
            ids=ids,
            labels=labels,
            logits=ref_pts.new_zeros(n, self.model.num_classes),
            boxes=ref_pts.new_zeros(n, 4),
            ref_pts=ref_pts,
            query_embed=query_embed,
            output_embed=torch.zeros_like(last_output),
            last_output=last_output,
            long_memory=long_memory,
            disappear_time=disappear_time,
            seen_boxes=ref_pts.new_zeros(n, 0, 4),
        )
        output = self.model(ImageBatch(pixels, mask), [tracks])[0]
        limits, updater = Limits(det_thresh, track_thresh, miss_tolerance), self.model.query_updater

        def memory(tracks: TrackState, vacant: Tensor | None) -> TrackState:
            return updater.interact(tracks, self.model.queries, vacant)

        state, _ = take_step(output, TrackerState(tracks, next_id), memory, limits)
        new = state.tracks
        return (*(getattr(new, name) for name in STATE), state.next_id, new.boxes, new.scores.amax(dim=1))


def empty_state(config: Config) -> dict[str, Tensor]:
    """Return the tensors of :data:`STATE` and ``next_id`` before the first frame of a video."""
    dim = config.model.hidden_dim
    tracks = TrackState.empty(len(config.classes), dim, dim * QUERY_VARIANTS[config.model.variant].parts)
    return {name: getattr(tracks, name) for name in STATE} | {"next_id": torch.tensor(0)}


def thresholds(det_thresh: float, track_thresh: float, miss_tolerance: int) -> dict[str, Tensor]:
    """Return the inputs :data:`THRESHOLDS` as tensors."""
    return {
        "det_thresh": torch.tensor(det_thresh, dtype=torch.float32),
        "track_thresh": torch.tensor(track_thresh, dtype=torch.float32),
        "miss_tolerance": torch.tensor(miss_tolerance),
    }
