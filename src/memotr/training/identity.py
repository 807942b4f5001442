"""Contrastive identity loss over a clip (not in the paper), for trackers trained from scratch.

The paper's losses teach identity by way of boxes alone: a track that took up somebody else is shown where its own
object is. With little data that is a slow way to learn what people look like. This loss asks for it outright: what
leaves the decoder for one object shall be alike in all frames of a clip, and unlike all others (supervised contrastive
loss; Khosla et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from memotr.structures import FrameOutput
from memotr.training.losses import exact
from memotr.training.matching import Matching, Predictions
from memotr.training.targets import PaddedTargets, upload

TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """One frame of B videos with what the host knows of it.

    Attributes:
        output: output for B videos in training mode.
        predictions: of each video.
        matchings: of each video.
        targets: ground truth.
    """

    output: FrameOutput
    predictions: Sequence[Predictions]
    matchings: Sequence[Matching]
    targets: PaddedTargets


@dataclass(frozen=True, eq=False)
class Sightings:
    """Objects seen in a clip of one video: embeddings (P, C); on the host ids (P,) and numbers of the frames (P,)."""

    embed: Tensor
    ids: NDArray[np.int64]
    frame: NDArray[np.int64]


def find_sightings(frames: Sequence[SeenFrame], merge_layer: int) -> list[Sightings]:
    """Return, for each of B videos, the embeddings of its objects at each place where the loss compares them.

    First what the encoder has in their middle: there the loss finds colours and shapes at once, where the decoder's
    outputs alone find nothing but places for a long time. Then what was matched to them and covers more than half of
    them, as the layers that only detect see it, without a memory, and as the last layer does.

    Args:
        frames: T frames of the clips.
        merge_layer: number of layers that only detection queries enter.
    """
    tensors: list[Tensor] = []  # (R, C) each
    rows: list[list[NDArray[np.int64]]] = [[] for _ in frames[0].matchings]  # of the joined tensors
    ids: list[list[NDArray[np.int64]]] = [[] for _ in rows]
    numbers: list[list[NDArray[np.int64]]] = [[] for _ in rows]
    end = 0
    for t, frame in enumerate(frames):
        every, targets = frame.output.layers, frame.targets
        assert every is not None
        assert frame.output.encoded is not None
        middles = frame.output.encoded.at(targets.boxes[..., :2])  # (B, G, C)
        seen = [(middles, [(np.arange(n), np.arange(n)) for n in targets.counts])]
        layers = {max(merge_layer - 1, 0): 0, len(every) - 1: 1}  # and their place in Predictions.ious
        for layer, place in layers.items():
            found = zip(frame.matchings, frame.predictions, strict=True)
            seen.append((every.output_embed[layer], [_covering(m.targets[layer], p.ious[place]) for m, p in found]))
        for embed, picks in seen:
            for b, (queries, objects) in enumerate(picks):
                rows[b].append(end + b * embed.shape[1] + queries)
                ids[b].append(targets.ids[b][objects])
                numbers[b].append(np.full(len(queries), t))
            tensors.append(embed.flatten(0, 1))
            end += len(tensors[-1])
    of_videos = [np.concatenate(parts) for parts in rows]
    chosen = torch.cat(tensors).index_select(0, upload(np.concatenate(of_videos), tensors[0].device))
    embeds = chosen.split([len(part) for part in of_videos])
    return [Sightings(e, np.concatenate(i), np.concatenate(n)) for e, i, n in zip(embeds, ids, numbers, strict=True)]


def _covering(targets: NDArray[np.int64], iou: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the queries that cover more than half of their object, and their objects."""
    queries = np.flatnonzero(targets >= 0)
    queries = queries[iou[queries, targets[queries]] > 0.5]
    return queries, targets[queries]


def identity_loss(seen: Sightings) -> Tensor:
    """Return the supervised contrastive loss of a clip: the mean over objects seen in two or more frames; scalar.

    Only the first half of the channels takes part: the rest is free to tell box and class. Two sightings of an object
    in one frame are no pair.
    """
    embed, device = exact(seen.embed), seen.embed.device  # (P, C)
    same, together = seen.ids[:, None] == seen.ids, seen.frame[:, None] == seen.frame  # (P, P)
    pairs = same & ~together
    anchors = np.flatnonzero(pairs.any(axis=1))
    if len(anchors) == 0:
        return embed.sum() * 0
    unit = F.normalize(embed[:, : embed.shape[1] // 2], dim=1)
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(upload(same & together, device), -torch.inf)
    of_anchors = similarity.index_select(0, upload(anchors, device))
    surprise = of_anchors.logsumexp(dim=1, keepdim=True) - of_anchors  # -log p of each pair
    counts = upload(pairs[anchors].sum(axis=1), device)
    return (surprise.masked_fill(upload(~pairs[anchors], device), 0).sum(dim=1) / counts).mean()
