"""Benchmark of a training step: forward pass of a clip with matching and losses, backward pass, clipping and AdamW."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from memotr.bench.host import HostWork
from memotr.bench.kept import KeptBytes, kept_table
from memotr.bench.measure import Contender, alternate, peak_memory, rows
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.build import build_model
from memotr.structures import ClipBatch, FrameTargets, ImageBatch
from memotr.training.clip_runner import ClipRunner
from memotr.training.optim import make_optimizer
from memotr.vocabulary import Kernel, ModelPart, TrainingPrecision

PARTS: tuple[ModelPart, ...] = get_args(ModelPart)


@dataclass(frozen=True)
class Setup:
    """Setup of a contender.

    Attributes:
        name: name in the table.
        kernel: kernel of deformable attention.
        precision: numerical precision of the network.
        recompute: parts whose activations are recomputed in the backward pass.
        together: encode all frames of the clip as one batch.
    """

    name: str
    kernel: Kernel = "auto"
    precision: TrainingPrecision = "32"
    recompute: tuple[ModelPart, ...] = ()
    together: bool = True


SETUPS = (
    Setup("reference kernel (baseline)", "reference", together=False),
    Setup("ours, frame by frame", together=False),
    Setup("ours"),
    Setup("ours, bf16", precision="bf16"),
    Setup("ours, checkpointed", recompute=PARTS),
    Setup("ours, bf16, checkpointed", precision="bf16", recompute=PARTS),
)

NOTE = "Operators are those that forward and backward pass dispatch; at waits the host waits for the device."


def measure(options: Options) -> Iterator[Table]:
    """Yield a table with a row for each setup. Each has its own model, so that no weights are moved between runs."""
    contenders = [Contender(setup.name, Step(options, setup)) for setup in SETUPS]
    timed = alternate(contenders, options.rounds, options.device)
    table = []
    for setup, row, each in zip(SETUPS, rows(timed), timed, strict=True):
        row["clips/s"] = 1 / each.spread.middle
        work = host_work(options, setup)
        row |= {"operators": work.operators, "waits": work.waits}
        if options.memory:
            row["peak MB"] = peak_memory(Step, options, setup)
        table.append(row)
    frames, (height, width) = options.clip_frames, options.clip_size
    clip = f"a clip of {frames} frames of {height}×{width}, {options.clip_objects} objects"
    yield Table(f"A training step: {clip}", table, NOTE)
    if options.memory:
        kept = [(each.precision, kept_bytes(options, each)) for each in SETUPS if each.together and not each.recompute]
        yield kept_table(f"Kept for the backward pass: {clip}", kept)


def host_work(options: Options, setup: Setup) -> HostWork:
    """Return the operators and waits of forward and backward pass, counted where kernels are compiled already."""
    step, work = Step(options, setup), HostWork()
    with work.counting():
        step.forward().backward()
    return work


def kept_bytes(options: Options, setup: Setup) -> Counter[str]:
    """Return the bytes that the forward pass of a step keeps, by module."""
    step = Step(options, setup)
    kept = KeptBytes(step.model)
    with kept.counting():
        step.forward()
    return kept.bytes


class Step:
    """Training step of one setup, always on the same clip."""

    def __init__(self, options: Options, setup: Setup) -> None:
        torch.manual_seed(0)
        self.model = build_model(options.config).to(options.device).train()
        self.model.set_kernel(setup.kernel).recompute_activations(setup.recompute)
        self.runner = ClipRunner(self.model, frames_at_once=options.clip_frames if setup.together else 1)
        self.optimizer = make_optimizer(
            self.model, options.config.training.optimizer, fused=self.model.device.type == "cuda"
        )
        self.clip, self.half = make_clip(options).to(options.device), setup.precision == "bf16"

    def forward(self) -> Tensor:
        """Return the loss of the clip."""
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.half):
            loss: Tensor = self.runner(self.clip).total
        return loss

    def __call__(self) -> float:
        """Run the step and return the loss."""
        loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def make_clip(options: Options) -> ClipBatch:
    """Return a clip of noise images, with boxes that move a little from frame to frame."""
    random = torch.Generator().manual_seed(0)
    count = options.clip_objects
    centres = 0.2 + 0.6 * torch.rand(count, 2, generator=random)
    sizes = 0.05 + 0.15 * torch.rand(count, 2, generator=random)
    images, targets = [], []
    for _ in range(options.clip_frames):
        images.append(ImageBatch.from_images([torch.randn(3, *options.clip_size, generator=random)]))
        boxes = torch.cat((centres, sizes), dim=1)
        targets.append([FrameTargets(torch.arange(count), torch.zeros(count, dtype=torch.int64), boxes)])
        centres = centres + 0.01 * torch.randn(count, 2, generator=random)
    return ClipBatch(images, targets)
