"""Tracks of one video between its frames: one row per track, or a fixed number of slots.

Continued tracks occupy the first slots, new tracks the next ones; the rest is vacant. The step then has fixed shapes,
for `torch.compile` and CUDA graphs, and does not wait for the device to know the number of tracks: the host reads that
number from the table that it copies once per frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from memotr.structures import ImageBatch, TrackState
from memotr.tracking.step import FrameStep, TrackerState

FIELDS = tuple(field.name for field in fields(TrackState))
SLOTS = 64  # initial number; doubled whenever it is too small

RunSlots = Callable[[ImageBatch, Tensor, Tensor, TrackState], tuple[Tensor, ...]]
"""Function that runs :meth:`SlotStep.forward`, compiled or as a graph. Later calls do not overwrite its results."""


class SlotStep(nn.Module):
    """Frame step with S slots, whose inputs and outputs are tensors.

    Args:
        step: the frame step.
    """

    def __init__(self, step: FrameStep) -> None:
        super().__init__()
        self.step = step

    def forward(self, images: ImageBatch, vacant: Tensor, next_id: Tensor, slots: TrackState) -> tuple[Tensor, ...]:
        """Process one frame.

        Args:
            images: the frame, as a batch of one.
            vacant: (S,) bool, True on slots that hold no track.
            next_id: () int64, id of the next new track.
            slots: track states, S rows.

        Returns:
            The table of :func:`as_table` (S, 7); the number of tracks (), of which those beyond S are dropped; then
            ``vacant``, ``next_id`` and the fields of ``slots`` (:data:`FIELDS`) for the next frame.
        """
        table, alive, (slots, next_id, vacant) = self.step(images, TrackerState(slots, next_id, vacant))
        return table, alive, vacant, next_id, *(getattr(slots, name) for name in FIELDS)


class Rows:
    """Tracks of one video, one row per track.

    Args:
        step: the frame step.
        tracks: tracks before the first frame.
        next_id: id of the next new track.
    """

    def __init__(self, step: FrameStep, tracks: TrackState, next_id: int) -> None:
        self._step, self.state = step, TrackerState(tracks, next_id)

    def advance(self, images: ImageBatch) -> NDArray[np.float64]:
        """Process a frame (a batch of one) and return the table of :func:`as_table`."""
        table, _, self.state = self._step(images, self.state)
        return table.cpu().numpy()  # type: ignore[no-any-return]

    @property
    def tracks(self) -> TrackState:
        """The tracks after the last frame."""
        return self.state.tracks

    @property
    def next_id(self) -> int:
        """The id of the next track to start."""
        return int(self.state.next_id)


class Slots:
    """Tracks of one video in slots.

    Args:
        run: runs the step.
        tracks: tracks before the first frame.
        next_id: id of the next new track.
    """

    @torch.inference_mode()  # tensors made outside of it would cause another compilation
    def __init__(self, run: RunSlots, tracks: TrackState, next_id: int) -> None:
        slots, device = grown(tracks, SLOTS), tracks.ids.device
        vacant = torch.arange(len(slots), device=device) >= len(tracks)
        self._run, self._alive, self.next_id = run, len(tracks), next_id
        self.state = TrackerState(slots, torch.tensor(next_id, device=device), vacant)

    def advance(self, images: ImageBatch) -> NDArray[np.float64]:
        """Process a frame (a batch of one) and return the table of :func:`as_table`."""
        while True:
            slots, next_id, vacant = self.state
            assert vacant is not None
            assert isinstance(next_id, Tensor)
            table, count, vacant_after, next_birth, *rows = self._run(images, vacant, next_id, slots)
            numbers = F.pad(torch.stack((count, next_birth)), (0, 5)).to(table.dtype)
            copied: NDArray[np.float64] = torch.cat((table, numbers[None])).cpu().numpy()  # only here the host waits
            alive, self.next_id = int(copied[-1, 0]), int(copied[-1, 1])
            if alive <= len(slots):
                break
            more = len(slots)  # grow, and repeat the frame
            self.state = TrackerState(grown(slots, more), next_id, torch.cat((vacant, vacant.new_ones(more))))
        self.state, self._alive = TrackerState(TrackState(*rows), next_birth, vacant_after), alive
        return copied[:alive]

    @property
    def tracks(self) -> TrackState:
        """The tracks after the last frame."""
        return self.state.tracks[: self._alive]


def grown(slots: TrackState, more: int) -> TrackState:
    """Return the slots with ``more`` vacant ones appended."""
    rows = {name: getattr(slots, name) for name in FIELDS}
    return TrackState(**{name: torch.cat((row, row.new_zeros(more, *row.shape[1:]))) for name, row in rows.items()})
