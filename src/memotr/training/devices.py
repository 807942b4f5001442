"""Setup of Lightning Fabric: devices, processes and precision."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import subprocess
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from memotr.config import Config
from memotr.errors import UserError
from memotr.processes import follow_launcher, launching
from memotr.vocabulary import DeviceKind, TrainingPrecision

RANK_TIMEOUT = timedelta(hours=2)
"""Timeout of ranks that wait for each other, for example while one of them validates."""

EXIT_TIMEOUT = 5
"""Seconds after the end of a run after which ranks that have not exited are killed."""

SCRATCH_FRACTION = 1 / 8
"""Fraction of the device's memory for scratch memory of the frames that are encoded together."""


class Autocast(MixedPrecision):
    """Mixed precision that leaves inputs and outputs (boxes, losses) unchanged."""

    def convert_input(self, data: Any) -> Any:
        """Return the inputs unchanged."""
        return data

    def convert_output(self, data: Any) -> Any:
        """Return the outputs unchanged."""
        return data


def make_fabric(
    device: DeviceKind = "auto",
    devices: int | None = None,
    num_nodes: int | None = None,
    precision: TrainingPrecision = "32",
    *,
    statistics: bool = False,
) -> Fabric:
    """Make a Fabric that is not yet launched.

    Args:
        device: kind of device; "auto" prefers CUDA, then Apple's MPS.
        devices: number of processes on this machine, one per device; None: as started by torchrun or SLURM, otherwise
            every CUDA device, or one process on a CPU.
        num_nodes: number of machines; None: as given by torchrun or SLURM, otherwise one.
        precision: numerical precision of the network; weights are always float32.
        statistics: the model has running statistics (batch normalisation), which are copied from the first rank.

    Raises:
        UserError: a device or a precision is not available.
    """
    follow_launcher()
    kind = _resolve_kind(device)
    devices = _agreed("--devices", devices, _started("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")) or _count(kind)
    num_nodes = _agreed("--num-nodes", num_nodes, _started("GROUP_WORLD_SIZE", "SLURM_NNODES")) or 1
    if kind != "cpu" and devices > _count(kind):
        raise UserError(f"--devices {devices}: this machine has {_count(kind)} ({kind})")
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"--precision fp16 needs CUDA, but the device is {kind}; use bf16 or 32")
    return Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=num_nodes,
        strategy=_data_parallel(statistics) if devices * num_nodes > 1 else "auto",
        plugins=[] if precision == "32" else [Autocast("bf16-mixed" if precision == "bf16" else "16-mixed", kind)],
    )


def frames_that_fit(config: Config, device: torch.device) -> int:
    """Return the number of frames of a clip to encode as one batch, from the device's memory and the largest image.

    Scratch memory grows with the number of frames. It holds the hidden activations of one feed-forward network, their
    gradients, and what is recomputed for one layer: about five times the hidden activations.
    """
    sides = config.data.augmentation
    pixels = max(sides.short_sides) * sides.longest_side
    tokens = pixels / 48  # of four levels, the finest with a stride of 8
    numbers = 5 * tokens * config.model.ffn_dim * max(map(config.batch_size, range(config.training.epochs)))
    size = 4 if config.training.precision == "32" else 2
    longest = max(config.data.sampling.lengths)
    return max(1, min(longest, int(_memory(device) * SCRATCH_FRACTION / (numbers * size))))


def _memory(device: torch.device) -> float:
    """Return the memory in bytes of a CUDA device; for other devices, that of the machine."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 8 * 2.0**30


def launch(fabric: Fabric) -> None:
    """Start the other ranks of this machine, unless torchrun or SLURM has; they end with this process."""
    with launching():
        fabric.launch()
    atexit.register(_end_ranks, getattr(fabric.strategy.launcher, "procs", ()))


def _end_ranks(ranks: Iterable[subprocess.Popen[bytes]]) -> None:
    """Wait for other ranks to end, and kill those that do not."""
    for rank in ranks:
        try:
            rank.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def leave_process_group() -> None:
    """Leave the process group together with all other ranks."""
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # objects that use the group, such as DistributedDataParallel, hang if they are freed later
        dist.barrier()
        dist.destroy_process_group()


def _data_parallel(statistics: bool) -> DDPStrategy:
    """Return the data-parallel strategy, which does not search for unused parameters.

    Gradients are views of the buckets that are reduced. Buffers are synchronised only if they are running statistics. A
    static graph would add operators and not start the reduction earlier.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {"gradient_as_bucket_view": True, buffers: statistics}
    return DDPStrategy(timeout=RANK_TIMEOUT, **options)


def _resolve_kind(device: DeviceKind) -> DeviceKind:
    """Return the kind of device, with "auto" resolved. Raises UserError if there is no such device."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device != "cpu" and not _count(device):
        raise UserError(f"--device {device}: PyTorch finds none on this machine; use cpu or auto")
    return device


def _count(kind: DeviceKind) -> int:
    """Return the number of devices of a kind on this machine; a CPU counts as one."""
    if kind == "cuda":
        return torch.cuda.device_count()
    return 1 if kind == "cpu" else int(torch.backends.mps.is_available())


def _started(torchrun: str, slurm: str) -> int | None:
    """Return a number from the environment variable of torchrun or of srun; None if neither started this process."""
    if TorchElasticEnvironment.detect():
        return int(os.environ[torchrun])
    if SLURMEnvironment.detect():
        if int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
            raise UserError("the number of ranks per node is unknown: start srun with --nodes and --ntasks-per-node")
        return int(os.environ.get(slurm, "1"))
    return None


def _agreed(option: str, asked: int | None, started: int | None) -> int | None:
    """Return the number of an option or of the launcher. Raises UserError if they differ."""
    if asked and started and asked != started:
        raise UserError(f"{option} {asked}: torchrun or srun started {started}; leave the option out")
    return asked or started
