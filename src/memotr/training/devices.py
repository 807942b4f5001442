"""Devices, processes and precision: Lightning Fabric, set up for this project's modules."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import subprocess
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from memotr.errors import UserError
from memotr.processes import follow_launcher, launching

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32", "bf16", "fp16"]

PATIENCE = timedelta(hours=2)
"""How long ranks wait for each other: one of them validates while the others wait."""


LEAVING = 5
"""Seconds that the other ranks have at the end to exit by themselves."""


class Autocast(MixedPrecision):
    """Mixed precision for what is computed; values that go in and out (boxes, losses) stay as they are."""

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_output(self, data: Any) -> Any:
        return data


def make_fabric(
    accelerator: Accelerator = "auto",
    devices: int | None = None,
    num_nodes: int | None = None,
    precision: Precision = "32",
    *,
    statistics: bool = False,
) -> Fabric:
    """Fabric for so many devices on so many machines, not yet launched.

    Args:
        accelerator: "auto" takes CUDA, or Apple's MPS, where there is some.
        devices: processes on this machine, one a device; by default what torchrun or SLURM started here, else every
            CUDA device, or one process on a CPU.
        num_nodes: machines; by default what torchrun or SLURM says, else one.
        precision: of the heavy arithmetic; weights are always float32.
        statistics: the model gathers some (batch normalisation): all ranks are to have those of the first.

    Raises:
        UserError: a device or a precision that is not there.
    """
    follow_launcher()
    kind = _choose(accelerator)
    devices = _agreed("--devices", devices, _started("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")) or _count(kind)
    num_nodes = _agreed("--num-nodes", num_nodes, _started("GROUP_WORLD_SIZE", "SLURM_NNODES")) or 1
    if kind != "cpu" and devices > _count(kind):
        raise UserError(f"--devices {devices}: this machine has {_count(kind)} ({kind})")
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"--precision fp16 needs CUDA, this is {kind}; take bf16 or 32")
    return Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=num_nodes,
        strategy=_data_parallel(statistics) if devices * num_nodes > 1 else "auto",
        plugins=[] if precision == "32" else [Autocast("bf16-mixed" if precision == "bf16" else "16-mixed", kind)],
    )


def launch(fabric: Fabric) -> None:
    """Start the other ranks of this machine, where nothing else has; they end with this process at the latest."""
    with launching():
        fabric.launch()
    atexit.register(_end_ranks, getattr(fabric.strategy.launcher, "procs", ()))


def _end_ranks(ranks: Iterable[subprocess.Popen[bytes]]) -> None:
    """Wait for other ranks to end, but not for one that waits for this one."""
    for rank in ranks:
        try:
            rank.wait(LEAVING)
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def leave_process_group() -> None:
    """Let go of the other ranks, all at the same time."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # what still holds on to the group, as data parallelism does, hangs when it goes after it
        dist.barrier()
        dist.destroy_process_group()


def _data_parallel(statistics: bool) -> DDPStrategy:
    """Every parameter takes part in every clip: none to look for. Buffers without statistics need not be sent."""
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {"gradient_as_bucket_view": True, buffers: statistics}
    return DDPStrategy(timeout=PATIENCE, **options)


def _choose(accelerator: Accelerator) -> Literal["cpu", "cuda", "mps"]:
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if accelerator != "cpu" and not _count(accelerator):
        raise UserError(f"--accelerator {accelerator}: PyTorch finds no such device here; take cpu or auto")
    return accelerator


def _count(kind: Literal["cpu", "cuda", "mps"]) -> int:
    """Devices of a kind on this machine; a CPU counts as one."""
    if kind == "cuda":
        return torch.cuda.device_count()
    return 1 if kind == "cpu" else int(torch.backends.mps.is_available())


def _started(torchrun: str, slurm: str) -> int | None:
    """A number that torchrun or srun gave this process, by its variable; None where neither started it."""
    if TorchElasticEnvironment.detect():
        return int(os.environ[torchrun])
    if SLURMEnvironment.detect():
        return int(os.environ.get(slurm, "1"))
    return None


def _agreed(option: str, asked: int | None, started: int | None) -> int | None:
    if asked and started and asked != started:
        raise UserError(f"{option} {asked}: torchrun or srun started {started}; leave the option out")
    return asked or started
