"""The step from frame to frame as a graph of fixed shapes, for `torch.compile` and CUDA graphs.

Tracks live in a number of slots, those that are followed first, and births take the slots behind them: nothing in the
step asks the device how many tracks there are. The host learns it from the one table that it copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memotr.config import TrackingConfig
from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.structures import Assignment, FrameOutput, ImageBatch, TrackState
from memotr.tracking.gate import judge, within
from memotr.tracking.lifecycle import carry_on, give_birth
from memotr.tracking.motion import extrapolate
from memotr.tracking.precision import exact_convolutions
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import as_table
from memotr.tracks import Tracks

FIELDS = tuple(field.name for field in fields(TrackState))
SLOTS = 64  # to begin with; twice as many whenever there are not enough
MOST_SIZES = 64  # of frames and of slots, that one process compiles for


class SlotStep(nn.Module):
    """One frame of one video, S slots in, S slots out.

    Args:
        network: from :func:`memotr.models.inference.for_inference`.
        settings: thresholds.
        dtype: of the heavy arithmetic, None: float32.
    """

    def __init__(self, network: MeMOTR, settings: TrackingConfig, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.network, self.settings, self.dtype = network, settings, dtype

    def forward(self, images: ImageBatch, vacant: Tensor, next_id: Tensor, slots: TrackState) -> tuple[Tensor, ...]:
        """Look at one frame.

        Args:
            images: of one video.
            vacant: (S,) bool, True behind the last track.
            next_id: () int64, of the next birth.
            slots: of S rows.

        Returns:
            The table of :func:`as_table` (S, 7); () how many tracks there are, of which those beyond S were lost; then
            ``vacant``, ``next_id`` and the fields of ``slots`` (:data:`FIELDS`) for the next frame.
        """
        device = images.pixels.device.type
        with torch.autocast(device, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            output = self.network(images, [slots], vacant=vacant[None])[0]
        slots, vacant, next_id, count = self._decide(output.float(), slots, vacant, next_id)
        slots = self.network.memory(slots, vacant & ~vacant.all())  # attention to nothing at all is not a number
        motion = self.settings.motion
        if motion.enabled:
            slots = extrapolate(slots, motion.min_length, motion.weight)
        table = as_table(slots.boxes, slots.scores.amax(dim=1), slots.ids, slots.labels)
        return table, count, vacant, next_id, *(getattr(slots, name) for name in FIELDS)

    def _decide(
        self, output: FrameOutput, slots: TrackState, vacant: Tensor, next_id: Tensor
    ) -> tuple[TrackState, Tensor, Tensor, Tensor]:
        """What :func:`gate` and :func:`advance` do: tracks that stay, then births in order, then all the others."""
        missed, best_score, best_class = judge(output, slots, self.settings.track_thresh)
        stays = (missed < self.settings.miss_tolerance) & ~vacant
        born = within(self.settings.max_tracks, best_score >= self.settings.det_thresh, best_score, stays)
        detections = torch.arange(len(born), device=born.device)
        choice = Assignment(
            track_ids=slots.ids,
            track_keep=stays,
            disappear_time=missed,
            track_iou=slots.iou,
            births=detections,
            birth_ids=next_id + born.cumsum(0) - 1,
            birth_labels=best_class,
            birth_iou=torch.zeros_like(best_score),
            birth_from_initial=torch.zeros_like(born),
        )
        old, new = carry_on(slots, output, choice), give_birth(output, choice, slots.seen_boxes.shape[1])
        kept = torch.cat((stays, born))
        order = torch.argsort(~kept, stable=True)[: len(slots)]
        return TrackState.cat([old, new])[order], ~kept[order], next_id + born.sum(), kept.sum()


class CompiledTracker(Tracker):
    """Follows the objects of one video as any tracker does, by a step that is compiled for its size.

    The first frame of a size takes seconds to minutes. On a CUDA device the step is replayed as a CUDA graph and the
    host waits once a frame, for the results; on a CPU it needs a C++ compiler.

    Args:
        model: as for :class:`memotr.Tracker`.
        compile: what makes the step fast; None: ``torch.compile`` as the device likes it.
        settings: all others of :class:`memotr.Tracker`.

    Raises:
        memotr.errors.UserError: as :class:`memotr.Tracker`; at the first frame, ``torch.compile`` does not work on this
            machine.
    """

    def __init__(
        self,
        model: MeMOTR,
        *,
        compile: Callable[[SlotStep], Callable[..., tuple[Tensor, ...]]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, **settings)
        self._run = (compile or _compiled)(SlotStep(self.network, self.settings, self.dtype))

    @torch.inference_mode()  # tensors of the other kind would be compiled for once more
    def reset(self) -> None:
        super().reset()
        self.slots = _grown(self.tracks, SLOTS)
        self.vacant = torch.arange(len(self.slots), device=self.model.device) >= len(self.tracks)
        self.next_birth = torch.tensor(self.next_id, device=self.model.device)

    @torch.inference_mode()
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        images = images.to(self.model.device)
        self.network.prepare_layout(images)  # not in the graph, whose results the next replay overwrites
        while True:
            torch.compiler.cudagraph_mark_step_begin()
            table, count, *state = self._take(images)
            numbers = F.pad(torch.stack((count, state[1])), (0, 5)).to(table.dtype)
            copied = torch.cat((table, numbers[None])).cpu().numpy()  # the one wait
            alive, next_id = int(copied[-1, 0]), int(copied[-1, 1])
            if alive <= len(self.slots):
                break
            self._grow()  # and once more: the state is still that before this frame
        # Copies: the next replay of a CUDA graph writes to the same memory.
        self.vacant, self.next_birth, *rows = (tensor.clone() for tensor in state)
        self.slots = TrackState(*rows)
        self.tracks, self.next_id = self.slots[:alive], next_id
        self.frame += 1
        return self._report(copied[:alive], height, width)

    def _take(self, images: ImageBatch) -> tuple[Tensor, ...]:
        try:
            with exact_convolutions(self.dtype is None):
                return self._run(images, self.vacant, self.next_birth, self.slots)
        except Exception as error:  # PyTorch promises no class for what may go wrong
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
                raise UserError(f"torch.compile does not work here ({reason}): track without compiling") from error
            raise

    def _grow(self) -> None:
        more = len(self.slots)
        self.slots = _grown(self.slots, more)
        self.vacant = torch.cat((self.vacant, self.vacant.new_ones(more)))


def _grown(slots: TrackState, more: int) -> TrackState:
    """So many vacant slots behind those that are there."""
    rows = {name: getattr(slots, name) for name in FIELDS}
    return TrackState(**{name: torch.cat((row, row.new_zeros(more, *row.shape[1:]))) for name, row in rows.items()})


def _compiled(step: SlotStep) -> Callable[..., tuple[Tensor, ...]]:
    on_cuda = step.network.device.type == "cuda"
    compiled = torch.compile(step, fullgraph=True, dynamic=False, mode="reduce-overhead" if on_cuda else "default")

    def run(*inputs: Any) -> tuple[Tensor, ...]:
        with torch._dynamo.config.patch(recompile_limit=MOST_SIZES):
            return compiled(*inputs)  # type: ignore[no-any-return]

    return run
