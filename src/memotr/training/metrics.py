"""Metrics of training steps, which are summed on the device and copied to the host only when a line is logged."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from memotr.training.losses import LOSS_NAMES

NAMES = ("loss", *LOSS_NAMES, *(f"aux_{name}" for name in LOSS_NAMES), "identity_loss", "grad_norm")
"""Names of the metrics: the loss that is minimised, its unweighted parts (those of the last layer, those of the earlier
layers, and the identity loss, 0 if it has no weight), and the norm of the gradient before clipping."""

SHORT_NAMES = dict(zip(LOSS_NAMES, ("label", "l1", "giou"), strict=True))


@dataclass(frozen=True)
class StepMetrics:
    """Line of metrics: the steps since the line before.

    Attributes:
        step: number of the last of these steps, from 1.
        epoch: epoch of that step, from 0.
        means: mean of each of ``NAMES`` over the steps and all ranks, without skipped steps; NaN if all were skipped.
        rates: learning rate of every parameter group.
        skipped: number of skipped steps since the run began.
        seconds: seconds per step.
        memory: peak memory of the first rank in MB, on the GPU if it has one, else resident; 0 if unknown (Windows).
        left: estimated seconds until the last epoch ends.
    """

    step: int
    epoch: int
    means: Mapping[str, float]
    rates: Mapping[str, float]
    skipped: int
    seconds: float
    memory: float
    left: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values for the metrics file."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            **self.means,
            **self.rates,
            "skipped": self.skipped,
            "seconds_per_step": round(self.seconds, 4),
            "memory_mb": round(self.memory, 1),
        }

    def as_text(self) -> str:
        """Return a line for the terminal."""
        parts = " ".join(f"{short} {self.means[name]:.3f}" for name, short in SHORT_NAMES.items())
        skipped = f" · {self.skipped} skipped" if self.skipped else ""
        return (
            f"loss {self.means['loss']:.3f} ({parts}) · {self.seconds:.2f} s/step · {self.memory:.0f} MB · "
            f"{timedelta(seconds=round(self.left))} left{skipped}"
        )


class Sums:
    """Sums of metrics and time over the steps since the last line."""

    def __init__(self, device: torch.device) -> None:
        self._values = torch.zeros(len(NAMES), device=device)
        self._count = 0  # steps that were not skipped
        self._steps = 0  # all steps
        self._seconds = 0.0  # seconds of the steps until the clock was last started
        self._started: float | None = None  # time of that start; None while the clock is stopped

    def __len__(self) -> int:
        """Return the number of steps since the last line."""
        return self._steps

    def add(self, values: Tensor | None) -> None:
        """Add a step with the values (9,) of ``NAMES``; None: the step was skipped."""
        self._steps += 1
        if values is not None:
            self._count += 1
            self._values += values

    def start_clock(self) -> None:
        """Start measuring the time of steps."""
        self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """Stop measuring the time of steps."""
        self._seconds, self._started = self._elapsed(), None

    def _elapsed(self) -> float:
        """Return the seconds of the steps since the last line."""
        return self._seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def finish(self) -> tuple[dict[str, float], float]:
        """Return means by name, equal on all ranks, and seconds per step; reset the sums, not the clock."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self._values)
            self._values /= dist.get_world_size()
        means = [value / self._count if self._count else float("nan") for value in self._values.tolist()]
        seconds = self._elapsed() / max(1, self._steps)
        self._values.zero_()
        self._count, self._steps, self._seconds = 0, 0, 0.0
        if self._started is not None:
            self.start_clock()
        return dict(zip(NAMES, means, strict=True)), seconds

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of this rank."""
        # On the host: unpickling a tensor of another rank's device would create a CUDA context there.
        values = self._values.cpu().clone()
        return {"values": values, "count": self._count, "steps": self._steps, "seconds": self._elapsed()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`."""
        self._values.copy_(state["values"])
        self._count, self._steps = state["count"], state["steps"]
        self._seconds = state.get("seconds", 0.0)  # older checkpoints lack it


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process in MB: allocated on a CUDA device, else resident; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # not on Windows
    except ImportError:
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
