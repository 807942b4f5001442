"""What "times as fast" refers to: the plain formulation, as research code has it, whose results are the same.

The network as it is built: deformable attention in plain PyTorch, every operation a pass of its own, float32, the
outputs of all decoder layers; each track a state of its own, looked after one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from memotr.bench.scene import another_network
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.kernels import deformable_attention
from memotr.models.levels import Levels
from memotr.models.memotr import MeMOTR
from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.step import as_table
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker
from memotr.tracks import Tracks


def stacked_attention(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Deformable attention as it is usually written: sample every level, stack, weigh, add.

    Like :func:`memotr.models.kernels.deformable_attention`; it computes in the precision of the locations.
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
    """The attention module as it is usually written: padding blanked in a copy, locations in separate operations."""

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, levels: Levels) -> Tensor:
        shapes, mask = levels.shapes, levels.mask
        assert mask is not None  # the plain formulation does not ask whether there is padding
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
        return points[:, :, None, :, None]  # (B, Lq, 1, L, 1, 2)


class PlainTracker(VideoTracker):
    """Tracks as :class:`memotr.Tracker` does, without any of what makes that fast.

    Args:
        model: whose weights it uses and whose settings count (no motion model).
        first: what it follows from the first frame on.
    """

    def __init__(self, model: MeMOTR, first: TrackState | None = None) -> None:
        super().__init__(model.config, None, None, None, None, None)
        self.network = another_network(model, "reference")
        for module in self.network.modules():
            if isinstance(module, DeformableAttention):
                module.__class__ = PlainAttention
        self.first = first if first is not None else model.no_tracks()
        self.reset()

    def reset(self) -> None:
        self.frame, self.next_id = 0, len(self.first)
        self.tracks = _one_by_one(self.first)

    @torch.inference_mode()
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame) -> Tracks:
        prepared = self._prepared(frame)
        images = ImageBatch(prepared.images.pixels, prepared.images.mask).to(self.network.device)
        output = self.network(images, [self.together()], aux=True)[0]
        seen = [self._see(track, output, output.num_detections + i) for i, track in enumerate(self.tracks)]
        self.tracks = [track for track in seen if track.disappear_time.item() < self.settings.miss_tolerance]
        scores = output.logits[: output.num_detections].sigmoid().amax(dim=1)
        for query in (scores >= self.settings.det_thresh).nonzero()[:, 0].tolist():
            self.tracks.append(_born(self.next_id, output, query))
            self.next_id += 1
        renewed = self.network.memory(self.together())
        self.tracks = _one_by_one(renewed)
        self.frame += 1
        table = as_table(renewed.boxes, renewed.scores.amax(dim=1), renewed.ids, renewed.labels)
        return self._report(table.cpu().numpy(), prepared)

    def together(self) -> TrackState:
        """All tracks, as the network takes them."""
        return TrackState.cat([self.network.no_tracks(), *self.tracks])

    def _see(self, track: TrackState, output: FrameOutput, query: int) -> TrackState:
        logits = output.logits[query]
        missed = logits[int(track.labels)].sigmoid().item() < self.settings.track_thresh
        return track.replace(
            logits=logits[None],
            boxes=output.boxes[query, None],
            output_embed=output.output_embed[query, None],
            disappear_time=track.disappear_time + 1 if missed else torch.zeros_like(track.disappear_time),
        )


def _one_by_one(tracks: TrackState) -> list[TrackState]:
    """Each track as a state of its own, with one row."""
    return [tracks[i : i + 1] for i in range(len(tracks))]


def _born(track_id: int, output: FrameOutput, query: int) -> TrackState:
    """A track from a detection query of a frame."""
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
