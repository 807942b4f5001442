"""Five steps of AdamW in float64, and how the records in ``trajectory/`` were written.

``python -m tests.training.trajectory`` writes them again. Do this only if results are meant to change.
``python -m tests.training.trajectory FILE`` takes the steps on two ranks, one clip on each, and writes them to a file.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path

import torch

from memotr.config import LossConfig, OptimizerConfig
from memotr.structures import ClipBatch, FrameTargets, ImageBatch
from memotr.training.clip_runner import ClipLoss, ClipRunner
from memotr.training.devices import make_fabric
from memotr.training.optim import GROUPS, make_optimizer
from tests.builders import tiny_model

VARIANTS = ("dab", "deformable-detr")
RECORDS = Path(__file__).parent / "trajectory"
STEPS, FRAMES, SIZE = 5, 4, (60, 90)
SEEN = (3, 9, 14, 20, 25)
"""Detection queries where the objects are, so that many are found and followed."""
IDS = ([[1, 2, 3], [1, 2, 3, 4], [2, 3, 4], [1, 2, 3, 4]], [[7, 8], [8], [7, 8, 9], []])
"""Ids in every frame of both clips."""

SCENES = {
    "plain": {},
    "prefix": {"no_grad_frames": 2},
    "identity": {"loss": LossConfig(identity=0.5)},
    "perturbed": {"drop_rate": 0.3, "insert_rate": 0.7},
    "strays": {"drop_rate": 0.2, "insert_rate": 0.5, "keep_strays": True},
}
"""Arguments of the clip runner and of its forward pass."""
ON_TWO_RANKS = "identity"
"""Scene that is taken on two ranks, too: no perturbation, because ranks draw different numbers."""


def record_of(variant):
    """Return the file of a variant's records."""
    return RECORDS / f"{variant}.json"


def exact_model(variant):
    """A network that seldom sees objects where there are none, and finds a track again near where it was."""
    model = tiny_model(variant, classes=2, num_decoder_layers=3, update_threshold=0.3).double().train()
    with torch.no_grad():
        for head in model.class_embed:
            head.weight.mul_(0.25)
            head.bias.fill_(-1.0)
        for mlp in model.bbox_embed:
            mlp.layers[-1].weight.mul_(0.1)
            mlp.layers[-1].bias.mul_(0.1)
    return model


@cache
def make_clips(variant):
    """The batch of both clips for each step."""
    return [make_clip(exact_model(variant), step) for step in range(STEPS)]


def make_clip(model, step):
    """Both clips of a step, as one batch: noise, with objects near where the model sees some."""
    random = torch.Generator().manual_seed(step)
    frames = []
    for _ in range(FRAMES):
        images = ImageBatch.from_images([torch.randn(3, *SIZE, generator=random, dtype=torch.float64) for _ in IDS])
        frames.append(ImageBatch(images.pixels, images.mask))
    with torch.no_grad():
        seen = model(frames[0], [model.no_tracks()] * 2).boxes[:, list(SEEN)].float()  # (2, 5, 4)
    targets = []
    for t in range(FRAMES):
        targets.append([])
        for b, ids_of_clip in enumerate(IDS):
            ids = torch.tensor(ids_of_clip[t], dtype=torch.int64)
            boxes = seen[b, ids % 5] * (1 + 0.02 * torch.randn(len(ids), 4, generator=random))
            targets[t].append(FrameTargets(ids, ids % 2, boxes))
    return ClipBatch(frames, targets)


def one_of(batch, rank):
    """The clip of one rank, as a batch of one."""
    own = slice(rank, rank + 1)
    frames = [ImageBatch(images.pixels[own], images.mask[own]) for images in batch.frames]
    return ClipBatch(frames, [targets[own] for targets in batch.targets])


def take_steps(variant, scene, recompute=(), fabric=None, **arguments):
    """Return the losses, gradient norms and ids of every step, and how far each group of weights has moved."""
    arguments = {**SCENES[scene], **arguments}
    no_grad_frames = arguments.pop("no_grad_frames", 0)
    model = exact_model(variant).recompute_activations(recompute)
    before = {p: p.detach().clone() for p in model.parameters()}
    runner = ClipRunner(model, **arguments)
    rates = OptimizerConfig(lr=5e-5, lr_backbone=2e-5, lr_points=1e-5, lr_query_updater=2e-4)
    optimizer = make_optimizer(model, rates)
    groups = {group["name"]: list(group["params"]) for group in optimizer.param_groups}
    loss = None if fabric is None else fabric.setup(ClipLoss(runner), optimizer)[0]
    steps = []
    for number, clip in enumerate(make_clips(variant)):
        random = torch.Generator().manual_seed(100 + number)
        if loss is None:
            result = runner(clip, no_grad_frames, random)
            result.total.backward()
            values = torch.cat((result.total.detach()[None], result.parts))
            ids = [[state.ids.tolist() for state in states] for states in result.tracks]
        else:
            total, values = loss(one_of(clip, fabric.global_rank), no_grad_frames, random)
            fabric.backward(total)
            values, ids = fabric.all_reduce(values, reduce_op="mean"), None
        norms = {name: _norm([p.grad for p in parameters]) for name, parameters in groups.items()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        steps.append({"losses": values.tolist(), "norms": [norms[name] for name in GROUPS], "ids": ids})
    moved = [_norm([p.detach() - before[p] for p in groups[name]]) for name in GROUPS]
    return {"steps": steps, "moved": moved}


def _norm(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm().item()


def write_two_ranks(file):
    fabric = make_fabric("cpu", 2)
    fabric.launch()
    found = {v: take_steps(v, ON_TWO_RANKS, fabric=fabric, frames_at_once=4) for v in VARIANTS}
    if fabric.is_global_zero:
        Path(file).write_text(json.dumps(found))


def one_line_a_step(record):
    """Return JSON with a line for each step."""
    return re.sub(r"(\}, |\[)(?=\{)", r"\1\n", json.dumps(record).replace('}, "', '},\n"')) + "\n"


def write_records():
    RECORDS.mkdir(exist_ok=True)
    for variant in VARIANTS:
        record = {scene: take_steps(variant, scene) for scene in SCENES}
        record_of(variant).write_text(one_line_a_step(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:]:
        write_two_ranks(sys.argv[1])
    else:
        write_records()
