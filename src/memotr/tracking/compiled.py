"""Frame step with fixed shapes, for `torch.compile` and CUDA graphs.

Tracks occupy the first of a fixed number of slots, and births the slots after them. The step never asks the device for
the number of tracks; the host reads it from the table that it copies once per frame.
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
from memotr.tracking.gate import limit_births, read_scores
from memotr.tracking.lifecycle import carry_on, give_birth
from memotr.tracking.motion import extrapolate
from memotr.tracking.precision import exact_convolutions
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import as_table
from memotr.tracks import Tracks

FIELDS = tuple(field.name for field in fields(TrackState))
SLOTS = 64  # initial number; doubled whenever it is too small
MOST_SIZES = 64  # largest number of sizes of frames and slots that one process compiles for


class SlotStep(nn.Module):
    """Step of one frame of one video, with S slots as input and output.

    Args:
        network: network from :func:`memotr.models.inference.for_inference`.
        settings: thresholds.
        dtype: numerical precision of the network; None: float32.
    """

    def __init__(self, network: MeMOTR, settings: TrackingConfig, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.network, self.settings, self.dtype = network, settings, dtype

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
        device = images.pixels.device.type
        with torch.autocast(device, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            output = self.network(images, [slots], vacant=vacant[None])[0]
        slots, vacant, next_id, count = self._decide(output.float(), slots, vacant, next_id)
        slots = self.network.memory(slots, vacant & ~vacant.all())  # attention without any key gives NaN
        motion = self.settings.motion
        if motion.enabled:
            slots = extrapolate(slots, motion.min_length, motion.weight)
        table = as_table(slots.boxes, slots.scores.amax(dim=1), slots.ids, slots.labels)
        return table, count, vacant, next_id, *(getattr(slots, name) for name in FIELDS)

    def _decide(
        self, output: FrameOutput, slots: TrackState, vacant: Tensor, next_id: Tensor
    ) -> tuple[TrackState, Tensor, Tensor, Tensor]:
        """Decide as :func:`gate` and :func:`advance`; order the slots by kept tracks, births, and the others."""
        missed, best_score, best_class = read_scores(output, slots, self.settings.track_thresh)
        stays = (missed < self.settings.miss_tolerance) & ~vacant
        born = limit_births(self.settings.max_tracks, best_score >= self.settings.det_thresh, best_score, stays)
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
        model: MeMOTR,
        *,
        compile: Callable[[SlotStep], Callable[..., tuple[Tensor, ...]]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, **settings)
        self._run = (compile or _compiled)(SlotStep(self.network, self.settings, self.dtype))

    @torch.inference_mode()  # other tensors would cause another compilation
    def reset(self) -> None:
        super().reset()
        self.slots = _grown(self.tracks, SLOTS)
        self.vacant = torch.arange(len(self.slots), device=self.model.device) >= len(self.tracks)
        self.next_birth = torch.tensor(self.next_id, device=self.model.device)

    @torch.inference_mode()
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        images = images.to(self.model.device)
        self.network.prepare_layout(images)  # outside the graph, whose results the next replay overwrites
        while True:
            torch.compiler.cudagraph_mark_step_begin()
            table, count, *state = self._take(images)
            numbers = F.pad(torch.stack((count, state[1])), (0, 5)).to(table.dtype)
            copied = torch.cat((table, numbers[None])).cpu().numpy()  # the only wait for the device
            alive, next_id = int(copied[-1, 0]), int(copied[-1, 1])
            if alive <= len(self.slots):
                break
            self._grow()  # and repeat the frame, from the unchanged state
        # Copies, because the next replay of a CUDA graph writes to the same memory.
        self.vacant, self.next_birth, *rows = (tensor.clone() for tensor in state)
        self.slots = TrackState(*rows)
        self.tracks, self.next_id = self.slots[:alive], next_id
        self.frame += 1
        return self._report(copied[:alive], height, width)

    def _take(self, images: ImageBatch) -> tuple[Tensor, ...]:
        try:
            with exact_convolutions(self.dtype is None):
                return self._run(images, self.vacant, self.next_birth, self.slots)
        except Exception as error:  # PyTorch documents no class for failed compilation
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
    """Return the slots with ``more`` vacant ones appended."""
    rows = {name: getattr(slots, name) for name in FIELDS}
    return TrackState(**{name: torch.cat((row, row.new_zeros(more, *row.shape[1:]))) for name, row in rows.items()})


def _compiled(step: SlotStep) -> Callable[..., tuple[Tensor, ...]]:
    on_cuda = step.network.device.type == "cuda"
    compiled = torch.compile(step, fullgraph=True, dynamic=False, mode="reduce-overhead" if on_cuda else "default")

    def run(*inputs: Any) -> tuple[Tensor, ...]:
        with torch._dynamo.config.patch(recompile_limit=MOST_SIZES):
            return compiled(*inputs)  # type: ignore[no-any-return]

    return run
