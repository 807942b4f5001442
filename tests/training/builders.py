"""Small clips and videos to train on, and predictions of several layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from memotr.config import LossConfig
from memotr.structures import ClipBatch, FrameTargets, ImageBatch, LayerOutputs
from memotr.training.matching import read_predictions
from memotr.training.targets import pad_targets
from tests.builders import random_output
from tests.data.layouts import scenes, write_sequence


def write_videos(root: Path, length: int = 5) -> Path:
    """Write two sequences of moving rectangles for :data:`SMALL` settings; return the folder."""
    for name, scene in scenes("video", 2, length=length, size=(64, 96), objects=3).items():
        write_sequence(root / name, scene)
    return root


def random_targets(n, num_classes=1, seed=0):
    """Return ground truth of a frame: n objects with ids from 0, boxes well inside the image."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.3 + 0.4 * torch.rand(n, 2, generator=generator)
    sizes = 0.1 + 0.3 * torch.rand(n, 2, generator=generator)
    labels = torch.randint(0, num_classes, (n,), generator=generator)
    return FrameTargets(torch.arange(n), labels, torch.cat((centres, sizes), dim=1))


def random_clip(objects, size=(64, 96), seed=0):
    """Return a clip with ``objects[t][b]`` objects in frame t of video b; all images have one size."""
    generator = torch.Generator().manual_seed(seed)
    frames, targets = [], []
    for t, counts in enumerate(objects):
        images = [torch.randn(3, *size, generator=generator) for _ in counts]
        frames.append(ImageBatch.from_images(images))
        targets.append([random_targets(n, seed=seed + 100 * t + b) for b, n in enumerate(counts)])
    return ClipBatch(frames, targets)


def layered_output(num_detections, num_tracks, num_classes=1, layers=2, seed=0):
    """Return random outputs for a batch of one video, different in every decoder layer."""
    output = random_output(num_detections, num_tracks, num_classes, seed=seed)
    others = [random_output(num_detections, num_tracks, num_classes, seed=seed + 10 + i) for i in range(layers - 1)]
    names = ("logits", "boxes", "output_embed")
    every = LayerOutputs(*(torch.stack([getattr(o, name) for o in (*others, output)])[:, None] for name in names))
    return replace(output, **{name: getattr(output, name)[None] for name in output._PER_QUERY}, layers=every)


def predictions_of(output, targets, merge_layer=1, weights=LossConfig()):  # noqa: B008 (frozen)
    """Return the predictions on the host for a frame of one video."""
    (padded,) = pad_targets([[targets]], output.boxes.device)
    return read_predictions(output, padded, merge_layer, weights)[0]


def targets_of(ids, num_classes=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = len(ids)
    boxes = torch.rand(n, 4, generator=generator) * 0.4 + 0.2
    return FrameTargets(
        torch.tensor(ids, dtype=torch.int64), torch.randint(0, num_classes, (n,), generator=generator), boxes
    )


SMALL = [
    "model.backbone.width=8",
    "model.hidden_dim=32",
    "model.ffn_dim=32",
    "model.num_queries=8",
    "model.num_heads=2",
    "data.workers=0",
    "data.sampling={lengths: [1, 2], steps: [1], interval: 2}",
    "data.augmentation={short_sides: [64], longest_side: 96, crop: 0}",
    "input={short_side: 64, longest_side: 96}",
    "training.batch_size=2",
    "training.output.log_every=1",
    "training.output.save_every=0",
]
"""Settings over the preset ``tiny`` with which a step takes a few hundredths of a second."""
