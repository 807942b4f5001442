"""The frame step: forward pass, decision, lifecycle, memory and result table.

Trackers run it eagerly, compiled, as a CUDA graph, for several videos in one forward pass, or exported. These differ
only in the number of rows of the track state: one per track, or a fixed number of slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from memotr.boxes import cxcywh_to_xyxy
from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance, extrapolate, fill_slots

Memory = Callable[[TrackState, Tensor | None], TrackState]
"""Function that updates N tracks for the next frame; its mask (N,) is True on rows that hold no track."""


class Network(Protocol):
    """Interface that a tracker requires of a network; :class:`memotr.models.memotr.MeMOTR` implements it."""

    def __call__(
        self, images: ImageBatch, tracks: Sequence[TrackState], *, vacant: Tensor | None = None
    ) -> FrameOutput | Sequence[FrameOutput]:
        """Run the forward pass, see :meth:`memotr.models.memotr.MeMOTR.forward`."""

    def memory(self, tracks: TrackState, vacant: Tensor | None = None) -> TrackState:
        """Update tracks, see :meth:`memotr.models.memotr.MeMOTR.memory`."""


class TrackerState(NamedTuple):
    """State of a tracker between two frames of one video.

    Attributes:
        tracks: N tracks, or S slots, of which the first ones hold tracks.
        next_id: id of the next new track; with slots a tensor () int64.
        vacant: (S,) bool, True on slots that hold no track; None without slots: every row holds a track.
    """

    tracks: TrackState
    next_id: int | Tensor
    vacant: Tensor | None = None


@dataclass(frozen=True)
class Limits:
    """Thresholds of the frame step: numbers, or tensors () if they are inputs of an exported graph.

    Attributes:
        det_thresh: lowest score of a detection that starts a track, in [0, 1].
        track_thresh: score below which a track counts as unseen, in [0, 1].
        miss_tolerance: number of consecutive unseen frames after which a track ends.
        max_tracks: maximum number of tracks; None: no limit.
        motion: ``min_length`` and ``weight`` of :func:`memotr.tracking.lifecycle.extrapolate`; None: no motion model.
    """

    det_thresh: float | Tensor
    track_thresh: float | Tensor
    miss_tolerance: int | Tensor
    max_tracks: int | None = None
    motion: tuple[int, float] | None = None


class FrameStep(nn.Module):
    """Processing of one frame of one video.

    Args:
        network: network that runs the forward pass and updates the memory.
        limits: thresholds.
        dtype: numerical precision of the forward pass; None: float32. Decisions and memory are always float32.
    """

    def __init__(self, network: Network, limits: Limits, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.network, self.limits, self.dtype = network, limits, dtype

    def forward(self, images: ImageBatch, state: TrackerState) -> tuple[Tensor, Tensor | None, TrackerState]:
        """Process one frame.

        Args:
            images: the frame, as a batch of one.
            state: the tracks before the frame.

        Returns:
            The table (N', 7) of :func:`as_table`; with slots the number of tracks (), else None; and the state after
            the frame. Tracks that exceed the S slots are dropped: repeat the frame with more slots.
        """
        vacant = None if state.vacant is None else state.vacant[None]
        with torch.autocast(images.pixels.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            output = self.network(images, [state.tracks], vacant=vacant)[0]
        state, alive = take_step(output.float(), state, self.network.memory, self.limits)
        tracks = state.tracks
        return as_table(tracks.boxes, tracks.scores.amax(dim=1), tracks.ids, tracks.labels), alive, state


def take_step(
    output: FrameOutput, state: TrackerState, memory: Memory, limits: Limits
) -> tuple[TrackerState, Tensor | None]:
    """Apply a network output: return the state after the frame, and with slots the number of tracks (), else None.

    Args:
        output: output of the network for the frame, one batch element.
        state: the tracks before the frame.
        memory: function that updates the tracks for the next frame.
        limits: thresholds.
    """
    tracks, next_id, vacant = state
    choice = gate(
        output,
        tracks,
        det_thresh=limits.det_thresh,
        track_thresh=limits.track_thresh,
        miss_tolerance=limits.miss_tolerance,
        next_id=next_id,
        max_tracks=limits.max_tracks,
        vacant=vacant,
    )
    alive = None
    if vacant is None:
        tracks = memory(advance(tracks, output, choice), None)
        next_id = next_id + len(choice.births)
    else:
        tracks, vacant, alive = fill_slots(tracks, output, choice)
        tracks = memory(tracks, vacant & ~vacant.all())  # attention in which all keys are masked gives NaN
        next_id = next_id + (choice.birth_ids >= 0).sum()
    if limits.motion is not None:
        tracks = extrapolate(tracks, *limits.motion)
    return TrackerState(tracks, next_id, vacant), alive


def as_table(boxes: Tensor, scores: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
    """Return N tracks as one tensor (N, 7) float64, for one copy from the device: xyxy in [0, 1], score, id, label.

    Args:
        boxes: (N, 4) cxcywh in [0, 1].
        scores: (N,) in [0, 1].
        ids: (N,) int64.
        labels: (N,) int64.
    """
    if boxes.device.type == "mps":  # MPS has no float64
        boxes, scores, ids, labels = (each.cpu() for each in (boxes, scores, ids, labels))
    columns = (cxcywh_to_xyxy(boxes.float()), scores.float()[:, None], ids[:, None], labels[:, None])
    return torch.cat([column.double() for column in columns], dim=1)
