"""Baseline of all speed-ups: a plain implementation with the same results, written as research code usually is.

Its network is not optimised: deformable attention in plain PyTorch, one pass over memory per operation, float32, and
outputs of all decoder layers. Each track has its own state, and a Python loop updates them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from memotr.bench.scene import copy_with_kernel
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.kernels import deformable_attention
from memotr.models.levels import Levels
from memotr.models.memotr import MeMOTR
from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.step import as_table
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker
from memotr.tracks import Tracks
from memotr.vocabulary import Channels


def stacked_attention(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Compute deformable attention as research code does: sample every level, stack, multiply by the weights, sum.

    Arguments as in :func:`memotr.models.kernels.deformable_attention`. It computes in the dtype of the locations.
    """
    (B, _, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
    samples = []
    exact = value.to(locations.dtype)
    for level, part in enumerate(exact.split([H * W for H, W in shapes], dim=1)):  # (B, H*W, M, D)
        maps = part.flatten(2).transpose(1, 2).reshape(B * M, D, *shapes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (B*M, Lq, P, 2)
        samples.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    weights = weights.transpose(1, 2).reshape(B * M, 1, Lq, L * P)
    output = (torch.stack(samples, dim=-2).flatten(-2) * weights).sum(-1)  # (B*M, D, Lq)
    return output.view(B, M * D, Lq).transpose(1, 2).contiguous().to(value.dtype)  # (B, Lq, M*D)


class PlainAttention(DeformableAttention):
    """Attention module as in research code: padding is masked in a copy, locations need several operations."""

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, levels: Levels) -> Tensor:
        """Sample ``source`` around each query's reference, as the base class does."""
        shapes, mask = levels.shapes, levels.mask
        assert mask is not None  # images without known sizes always have a mask
        B, Lq = reference.shape[:2]
        M, L, P = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(source).masked_fill(mask[..., None], 0.0).unflatten(-1, (M, -1))  # (B, S, M, D)
        weights = self.attention_weights(query).view(B, Lq, M, L * P).softmax(-1).view(B, Lq, M, L, P)
        offsets = self.sampling_offsets(query).view(B, Lq, M, L, P, 2)
        if reference.shape[-1] == 2:
            centre = reference if reference.ndim == 6 else self.spread(reference)
            size = torch.tensor([(w, h) for h, w in shapes], dtype=centre.dtype, device=centre.device)  # (L, 2)
            locations = centre + offsets / size[:, None, :]
        else:
            centre, size = reference[:, :, None, :, None, :2], reference[:, :, None, :, None, 2:]
            locations = centre + offsets / P * size * 0.5
        output: Tensor = self.output_proj(deformable_attention(value, shapes, locations, weights, kernel=self.kernel))
        return output.view(query.shape)

    def spread(self, points: Tensor) -> Tensor:
        """Add dimensions for heads and samples, without copying."""
        return points[:, :, None, :, None]  # (B, Lq, 1, L, 1, 2)


class PlainTracker(VideoTracker):
    """Tracker with the results of :class:`memotr.Tracker`, but without its optimisations and without a motion model.

    Args:
        model: model with weights and settings.
        first: tracks before the first frame; None: no tracks.
    """

    def __init__(self, model: MeMOTR, first: TrackState | None = None) -> None:
        super().__init__(model.config, None, None, None, None, None)
        self.network = copy_with_kernel(model, "reference")
        for module in self.network.modules():
            if isinstance(module, DeformableAttention):
                module.__class__ = PlainAttention
        self.first = first if first is not None else model.no_tracks()
        self.reset()

    def reset(self) -> None:
        """Return to the tracks before the first frame."""
        self.frame, self.next_id = 0, len(self.first)
        self.tracks = _split(self.first)

    @torch.inference_mode()
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame, channels: Channels = "rgb") -> Tracks:
        """Track the next frame, as :meth:`memotr.Tracker.update`."""
        prepared = self._prepared(frame, channels)
        images = ImageBatch(prepared.images.pixels, prepared.images.mask).to(self.network.device)
        output = self.network(images, [self.all_tracks()], aux=True)[0]
        updated = [self._update(track, output, output.num_detections + i) for i, track in enumerate(self.tracks)]
        self.tracks = [track for track in updated if track.disappear_time.item() < self.settings.miss_tolerance]
        scores = output.logits[: output.num_detections].sigmoid().amax(dim=1)
        for query in (scores >= self.settings.det_thresh).nonzero()[:, 0].tolist():
            self.tracks.append(_start_track(self.next_id, output, query))
            self.next_id += 1
        tracks = self.network.memory(self.all_tracks())
        self.tracks = _split(tracks)
        self.frame += 1
        table = as_table(tracks.boxes, tracks.scores.amax(dim=1), tracks.ids, tracks.labels)
        return self._report(table.cpu().numpy(), prepared)

    def all_tracks(self) -> TrackState:
        """Return all tracks in one state, the input of the network."""
        return TrackState.cat([self.network.no_tracks(), *self.tracks])

    def _update(self, track: TrackState, output: FrameOutput, query: int) -> TrackState:
        """Return a track with the predictions of its query."""
        logits = output.logits[query]
        missed = logits[int(track.labels)].sigmoid().item() < self.settings.track_thresh
        return track.replace(
            logits=logits[None],
            boxes=output.boxes[query, None],
            output_embed=output.output_embed[query, None],
            disappear_time=track.disappear_time + 1 if missed else torch.zeros_like(track.disappear_time),
        )


def _split(tracks: TrackState) -> list[TrackState]:
    """Return a state with one row for each track."""
    return [tracks[i : i + 1] for i in range(len(tracks))]


def _start_track(track_id: int, output: FrameOutput, query: int) -> TrackState:
    """Return a new track from a detection query of a frame."""
    logits, content, embed = (
        output.logits[query, None],
        output.output_embed[query, None],
        output.query_embed[query, None],
    )
    return TrackState(
        ids=torch.tensor([track_id], device=logits.device),
        labels=logits.argmax(dim=1),
        logits=logits,
        boxes=output.boxes[query, None],
        ref_pts=output.ref_pts[query, None],
        query_embed=embed,
        output_embed=content,
        last_output=content,
        long_memory=embed[:, -content.shape[1] :],
        disappear_time=torch.zeros(1, dtype=torch.int64, device=logits.device),
        seen_boxes=logits.new_zeros(1, 0, 4),
    )
