"""Tracker whose frame step is compiled by `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch
from memotr.tracking.slots import RunSlots, SlotStep
from memotr.tracking.tracker import Tracker

MAX_SIZES = 64  # maximum number of sizes of frames and slots that one process compiles for
CACHEABLE = {f"torch.amp.autocast_mode.{name}": "1" for name in ("_enter_autocast", "_exit_autocast")}
"""Functions unknown to AOTAutograd, which would therefore not cache the step. Their arguments are in the cache key."""

Compile = Callable[[SlotStep], Callable[..., tuple[Tensor, ...]]]


class CompiledTracker(Tracker):
    """Tracker of the objects of one video whose step is compiled for the size of the frames.

    The first frame of each size takes seconds to minutes, for the compilation. On a CUDA device the step is replayed as
    a CUDA graph and the host waits once per frame, for the results; on a CPU compilation needs a C++ compiler.

    Args:
        model: see :class:`memotr.Tracker`.
        compile: compiles the step; None: ``torch.compile`` with options for the device.
        settings: all other arguments of :class:`memotr.Tracker`.

    Raises:
        memotr.errors.UserError: as :class:`memotr.Tracker`; also at the first frame, if ``torch.compile`` does not work
            on this machine.
    """

    def __init__(self, model: MeMOTR | str | Path, *, compile: Compile | None = None, **settings: Any) -> None:
        self._compile = compile
        super().__init__(model, **settings)

    def _make_run_slots(self) -> RunSlots:
        step, network = SlotStep(self.frame_step), self.network
        run_compiled = self._compile(step) if self._compile is not None else _compiled(step, self.device)

        def run(images: ImageBatch, *state: Any) -> tuple[Tensor, ...]:
            if isinstance(network, MeMOTR):
                network.prepare_layout(images)  # outside the graph, whose results the next replay overwrites
            torch.compiler.cudagraph_mark_step_begin()
            try:
                return tuple(tensor.clone() for tensor in run_compiled(images, *state))
            except Exception as error:  # PyTorch documents no class for failed compilation
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    cause = getattr(error, "inner_exception", error)
                    reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
                    message = f"torch.compile does not work on this machine ({reason}): track without compilation"
                    raise UserError(message) from error
                raise

        return run


def _compiled(step: SlotStep, device: torch.device) -> Callable[..., tuple[Tensor, ...]]:
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    compiled = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    def run(*inputs: Any) -> tuple[Tensor, ...]:
        with (
            torch._dynamo.config.patch(recompile_limit=MAX_SIZES),
            torch._inductor.config.patch(unsafe_marked_cacheable_functions=CACHEABLE),
        ):
            return compiled(*inputs)  # type: ignore[no-any-return]

    return run
