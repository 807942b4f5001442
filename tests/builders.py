"""Small random values that several tests start from."""

from __future__ import annotations

import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.structures import FrameOutput, ImageBatch, TrackState


def tiny_model(variant="dab", classes=1, seed=0, **model):
    """The tiny preset made smaller, with random weights whose scores spread around one half."""
    torch.manual_seed(seed)
    config = load_config("tiny")
    settings = config.model.model_copy(update={"variant": variant, "num_queries": 30, "num_decoder_layers": 2} | model)
    names = tuple(f"class {i}" for i in range(classes))
    network = build_model(config.model_copy(update={"model": settings, "classes": names})).eval()
    with torch.no_grad():
        for head in network.class_embed:
            head.weight.mul_(8)
            head.bias.zero_()
        for parameter in network.bbox_embed.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def random_images(sizes, seed=0):
    torch.manual_seed(seed)
    return ImageBatch.from_images([torch.randn(3, *size) for size in sizes])


def random_tracks(n, num_classes=1, dim=64, parts=1, history=0, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def floats(*shape):
        return torch.randn(n, *shape, generator=generator)

    return TrackState(
        ids=torch.arange(n),
        labels=torch.randint(0, num_classes, (n,), generator=generator),
        logits=floats(num_classes),
        boxes=floats(4).sigmoid(),
        ref_pts=floats(4),
        query_embed=floats(parts * dim),
        output_embed=floats(dim),
        last_output=floats(dim),
        long_memory=floats(dim),
        disappear_time=torch.randint(0, 3, (n,), generator=generator),
        seen_boxes=torch.full((n, history, 4), torch.nan),
    )


def random_output(num_detections, num_tracks, num_classes=1, dim=64, parts=1, seed=0):
    """One batch element of a frame's output."""
    generator = torch.Generator().manual_seed(seed)

    def floats(*shape):
        return torch.randn(num_detections + num_tracks, *shape, generator=generator)

    return FrameOutput(
        logits=floats(num_classes),
        boxes=floats(4).sigmoid(),
        output_embed=floats(dim),
        query_embed=floats(parts * dim),
        ref_pts=floats(4),
        init_ref_pts=floats(4),
        num_detections=num_detections,
        num_tracks=(num_tracks,),
    )
