"""The frame step: forward pass, decision, lifecycle, memory and result table.

Trackers run it eagerly, with fixed slots as a compiled graph, with several videos in one forward pass, or as it is
exported. They differ only in where the list of tracks is cut: after the tracks alive, or after a number of slots.
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
"""Renews tracks for the next frame; the tensor (N,) is True on rows that are no tracks."""


class Network(Protocol):
    """Interface of a network for a tracker; :class:`memotr.models.memotr.MeMOTR` has it."""

    def __call__(
        self, images: ImageBatch, tracks: Sequence[TrackState], *, vacant: Tensor | None = None
    ) -> FrameOutput | Sequence[FrameOutput]:
        """Run the forward pass, see :meth:`memotr.models.memotr.MeMOTR.forward`."""

    def memory(self, tracks: TrackState, vacant: Tensor | None = None) -> TrackState:
        """Update tracks, see :meth:`memotr.models.memotr.MeMOTR.memory`."""


class TrackerState(NamedTuple):
    """State of a tracker between two frames of one video.

    Attributes:
        tracks: N tracks, or S slots of which the first hold tracks.
        next_id: id of the next birth; with slots () int64.
        vacant: (S,) bool, True after the last track; None: there are no slots, and every row is a track.
    """

    tracks: TrackState
    next_id: int | Tensor
    vacant: Tensor | None = None


@dataclass(frozen=True)
class Limits:
    """Thresholds of the frame step; numbers, or tensors without dimensions where they are inputs of a graph.

    Attributes:
        det_thresh: lowest score of a detection that starts a track.
        track_thresh: score below which a track counts as unseen.
        miss_tolerance: number of consecutive unseen frames after which a track ends.
        max_tracks: largest number of tracks; None: no limit.
        motion: smallest number of seen boxes and weight of :func:`memotr.tracking.lifecycle.extrapolate`; None: off.
    """

    det_thresh: float | Tensor
    track_thresh: float | Tensor
    miss_tolerance: int | Tensor
    max_tracks: int | None = None
    motion: tuple[int, float] | None = None


class FrameStep(nn.Module):
    """Step of one frame of one video.

    Args:
        network: network that does the forward pass, and has the memory.
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
            The table of :func:`as_table` (N', 7), the number of tracks () if there are slots, and the state after the
            frame. Tracks beyond the slots are lost.
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
    """Return the state after a frame, and the number of tracks () if there are slots.

    Args:
        output: output of the network for the frame, one batch element.
        state: the tracks before the frame.
        memory: renews the tracks.
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
        tracks = memory(tracks, vacant & ~vacant.all())  # attention without any key gives NaN
        next_id = next_id + (choice.birth_ids >= 0).sum()
    if limits.motion is not None:
        tracks = extrapolate(tracks, *limits.motion)
    return TrackerState(tracks, next_id, vacant), alive


def as_table(boxes: Tensor, scores: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
    """Join N tracks in one tensor (N, 7) float64 to copy from the device: xyxy in [0, 1], score, id, label.

    Boxes (N, 4) are cxcywh in [0, 1]; scores, ids and labels are (N,).
    """
    if boxes.device.type == "mps":  # which has no float64
        boxes, scores, ids, labels = (each.cpu() for each in (boxes, scores, ids, labels))
    columns = (cxcywh_to_xyxy(boxes.float()), scores.float()[:, None], ids[:, None], labels[:, None])
    return torch.cat([column.double() for column in columns], dim=1)
