"""Frame step with fixed shapes, for `torch.compile` and CUDA graphs.

Tracks occupy the first of a fixed number of slots, and births the slots after them. The step never asks the device for
the number of tracks; the host reads it from the table that it copies once per frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch, TrackState
from memotr.tracking.precision import tf32_switched
from memotr.tracking.step import FrameStep, TrackerState
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import PreparedFrame
from memotr.tracks import Tracks

FIELDS = tuple(field.name for field in fields(TrackState))
SLOTS = 64  # initial number; doubled whenever it is too small
MOST_SIZES = 64  # largest number of sizes of frames and slots that one process compiles for


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
            vacant: (S,) bool, True after the last track.
            next_id: () int64, id of the next birth.
            slots: track states, S rows.

        Returns:
            The table of :func:`as_table` (S, 7); the number of tracks (), of which those beyond S are lost; then
            ``vacant``, ``next_id`` and the fields of ``slots`` (:data:`FIELDS`) for the next frame.
        """
        table, alive, (slots, next_id, vacant) = self.step(images, TrackerState(slots, next_id, vacant))
        return table, alive, vacant, next_id, *(getattr(slots, name) for name in FIELDS)


class CompiledTracker(Tracker):
    """Tracker of the objects of one video whose step is compiled for the size of the frames.

    The first frame of a size takes seconds to minutes. On a CUDA device the step is replayed as a CUDA graph and the
    host waits once per frame, for the results; on a CPU compilation needs a C++ compiler.

    Args:
        model: see :class:`memotr.Tracker`.
        compile: compiles the step; None: ``torch.compile`` with options for the device.
        settings: all other arguments of :class:`memotr.Tracker`.

    Raises:
        memotr.errors.UserError: as :class:`memotr.Tracker`; also at the first frame, if ``torch.compile`` does not work
            on this machine.
    """

    def __init__(
        self,
        model: MeMOTR | str | Path,
        *,
        compile: Callable[[SlotStep], Callable[..., tuple[Tensor, ...]]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, **settings)
        self._run = (compile or _compiled)(SlotStep(self.frame_step))

    @torch.inference_mode()  # other tensors would cause another compilation
    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""
        super().reset()
        tracks, next_id, _ = self.state
        slots, device = _grown(tracks, SLOTS), self.model.device
        self.alive, self._next_id = len(tracks), int(next_id)
        vacant = torch.arange(len(slots), device=device) >= len(tracks)
        self.state = TrackerState(slots, torch.tensor(next_id, device=device), vacant)

    @property
    def tracks(self) -> TrackState:
        """The tracks after the last frame."""
        return self.state.tracks[: self.alive]

    @property
    def next_id(self) -> int:
        """The id of the next track to start."""
        return self._next_id

    @torch.inference_mode()
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame) -> Tracks:
        """Track the next frame, as the base class does."""
        prepared = self._prepared(frame)
        images = prepared.images.to(self.model.device)
        if isinstance(self.network, MeMOTR):
            self.network.prepare_layout(images)  # outside the graph, whose results the next replay overwrites
        while True:
            torch.compiler.cudagraph_mark_step_begin()
            table, count, *state = self._take(images)
            numbers = F.pad(torch.stack((count, state[1])), (0, 5)).to(table.dtype)
            copied = torch.cat((table, numbers[None])).cpu().numpy()  # the only wait for the device
            alive, next_id = int(copied[-1, 0]), int(copied[-1, 1])
            if alive <= len(self.state.tracks):
                break
            self._grow()  # and repeat the frame, from the unchanged state
        # Copies, because the next replay of a CUDA graph writes to the same memory.
        vacant, next_birth, *rows = (tensor.clone() for tensor in state)
        self.state = TrackerState(TrackState(*rows), next_birth, vacant)
        self.alive, self._next_id = alive, next_id
        self.frame += 1
        return self._report(copied[:alive], prepared)

    def _take(self, images: ImageBatch) -> tuple[Tensor, ...]:
        try:
            with tf32_switched(self.precision):
                slots, next_id, vacant = self.state
                return self._run(images, vacant, next_id, slots)
        except Exception as error:  # PyTorch documents no class for failed compilation
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
                raise UserError(f"torch.compile does not work here ({reason}): track without compiling") from error
            raise

    def _grow(self) -> None:
        slots, next_id, vacant = self.state
        assert vacant is not None
        more = len(slots)
        self.state = TrackerState(_grown(slots, more), next_id, torch.cat((vacant, vacant.new_ones(more))))


def _grown(slots: TrackState, more: int) -> TrackState:
    """Return the slots with ``more`` vacant ones appended."""
    rows = {name: getattr(slots, name) for name in FIELDS}
    return TrackState(**{name: torch.cat((row, row.new_zeros(more, *row.shape[1:]))) for name, row in rows.items()})


def _compiled(step: SlotStep) -> Callable[..., tuple[Tensor, ...]]:
    network = step.step.network
    on_cuda = isinstance(network, MeMOTR) and network.device.type == "cuda"
    compiled = torch.compile(step, fullgraph=True, dynamic=False, mode="reduce-overhead" if on_cuda else "default")

    def run(*inputs: Any) -> tuple[Tensor, ...]:
        with torch._dynamo.config.patch(recompile_limit=MOST_SIZES):
            return compiled(*inputs)  # type: ignore[no-any-return]

    return run
