"""Gradients of one clip on each rank, on CPU. Run with the file to write.

Lightning Fabric starts two ranks, unless torchrun or SLURM has started the ranks.
"""

from __future__ import annotations

import os
import sys

import torch

from memotr.config import OptimizerConfig
from memotr.structures import ClipBatch, ImageBatch
from memotr.training.clip_runner import ClipLoss, ClipRunner
from memotr.training.devices import make_fabric
from memotr.training.optim import make_optimizer
from tests.builders import tiny_model
from tests.training.builders import random_clip

CLIPS = {
    "objects everywhere": [[3, 2], [2, 3]],
    "none on the second rank": [[3, 0], [2, 0]],
    "none at all": [[0, 0], [0, 0]],
    "one frame": [[2, 1]],
    "no tracks on the first rank": [[0, 2], [2, 2]],
}
"""Number of objects in each frame of the first and of the second clip."""

VARIANTS = ("dab", "deformable-detr")


def exact_model(variant):
    """Return the model in float64, in which another order of sums makes no visible difference."""
    return tiny_model(variant).double().train()


def clips(name, ranks=2):
    """The clips of all ranks as one batch; those of the third and fourth have as many objects, in other places."""
    batch = random_clip([(counts * 2)[:ranks] for counts in CLIPS[name]], seed=len(name))
    return ClipBatch([ImageBatch(images.pixels.double(), images.mask) for images in batch.frames], batch.targets)


def one_of(batch, rank):
    """The clip of one rank, as a batch of one."""
    own = slice(rank, rank + 1)
    frames = [ImageBatch(images.pixels[own], images.mask[own]) for images in batch.frames]
    return ClipBatch(frames, [targets[own] for targets in batch.targets])


def main():
    torch.set_num_threads(1)
    fabric = make_fabric("cpu", None if "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_NTASKS" in os.environ else 2)
    fabric.launch()
    found = {}
    for variant in VARIANTS:
        model = exact_model(variant)
        loss, _ = fabric.setup(ClipLoss(ClipRunner(model)), make_optimizer(model, OptimizerConfig()))
        for name in CLIPS:
            model.zero_grad()
            total, _ = loss(one_of(clips(name, fabric.world_size), fabric.global_rank), 0, torch.Generator())
            fabric.backward(total)
            mean = fabric.all_reduce(total.detach(), reduce_op="mean")
            gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
            found[variant, name] = mean, gradients
    if fabric.is_global_zero:
        torch.save(found, sys.argv[1])


if __name__ == "__main__":
    main()
