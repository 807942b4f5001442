"""One frame of inference as a function of tensors alone: what is exported, and the names that its files speak of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.config import Config
from memotr.models.memotr import MeMOTR
from memotr.models.queries import QUERY_VARIANTS
from memotr.structures import ImageBatch, TrackState
from memotr.tracking.step import Limits, TrackerState, take_step

STATE = ("ids", "labels", "ref_pts", "query_embed", "last_output", "long_memory", "disappear_time")
"""What of a :class:`TrackState` lives on from frame to frame; each step makes the rest anew."""

THRESHOLDS = ("det_thresh", "track_thresh", "miss_tolerance")

INPUTS = ("pixels", "mask", *STATE, "next_id", *THRESHOLDS)
"""In the order of :meth:`ExportedStep.forward`."""

OUTPUTS = (*(f"new_{name}" for name in (*STATE, "next_id")), "boxes", "scores")

STRIDE, SMALLEST = 32, 64
"""Height and width of an image are multiples of the one and at least the other, in pixels."""


class ExportedStep(nn.Module):
    """Frame step whose inputs and outputs are tensors: state and thresholds come in, the next state goes out.

    The motion model is left out.
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
        """Look at one frame of one video.

        Args:
            pixels: (1, 3, H, W) and mask: (1, H, W), an :class:`ImageBatch`.
            ids: (N,) and the next six: the fields of a :class:`TrackState` of the same names.
            next_id: () int64, of the next birth.
            det_thresh: () and the next two: as :func:`memotr.tracking.gate.gate` takes them.

        Returns:
            The state of the N' tracks alive after the frame, as it came in; the id of the next birth; boxes (N', 4)
            cxcywh in [0, 1] and scores (N',) of the best class.
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
        limits, memory = Limits(det_thresh, track_thresh, miss_tolerance), self.model.query_updater

        def renew(tracks: TrackState, vacant: Tensor | None) -> TrackState:
            return memory.interact(tracks, self.model.queries, vacant)

        state, _ = take_step(output, TrackerState(tracks, next_id), renew, limits)
        new = state.tracks
        return (*(getattr(new, name) for name in STATE), state.next_id, new.boxes, new.scores.amax(dim=1))


def empty_state(config: Config) -> dict[str, Tensor]:
    """The tensors of :data:`STATE` and the next id before the first frame of a video."""
    dim = config.model.hidden_dim
    tracks = TrackState.empty(len(config.classes), dim, dim * QUERY_VARIANTS[config.model.variant].parts)
    return {name: getattr(tracks, name) for name in STATE} | {"next_id": torch.tensor(0)}


def thresholds(det_thresh: float, track_thresh: float, miss_tolerance: int) -> dict[str, Tensor]:
    """The inputs that decide over births and deaths."""
    return {
        "det_thresh": torch.tensor(det_thresh, dtype=torch.float32),
        "track_thresh": torch.tensor(track_thresh, dtype=torch.float32),
        "miss_tolerance": torch.tensor(miss_tolerance),
    }
