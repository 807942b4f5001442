"""Contrastive identity loss over a clip (not in the paper), for trackers trained from scratch.

The paper's losses supervise identity through boxes only: a track that has moved to another object is penalised because
its box is not on its own object. With little data, appearance is learned slowly that way. This loss supervises it
directly: the embeddings of one object are pulled together over all frames of a clip and pushed away from those of other
objects (supervised contrastive loss; Khosla et al., NeurIPS 2020).
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
"""Divisor of the cosine similarities."""


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """Outputs, matchings and ground truth of one frame of B videos.

    Attributes:
        output: output for B videos in training mode.
        predictions: predictions on the host, for each video.
        matchings: matching of queries with objects, for each video.
        targets: ground truth of the frame.
    """

    output: FrameOutput
    predictions: Sequence[Predictions]
    matchings: Sequence[Matching]
    targets: PaddedTargets


@dataclass(frozen=True, eq=False)
class Sightings:
    """P sightings of objects in a clip of one video.

    Attributes:
        embed: (P, C) embeddings, on the device.
        ids: (P,) ids of the objects, on the host.
        frame: (P,) frame indices in the clip, on the host.
    """

    embed: Tensor
    ids: NDArray[np.int64]
    frame: NDArray[np.int64]


def find_sightings(frames: Sequence[SeenFrame], merge_layer: int) -> list[Sightings]:
    """Return, for each of B videos, the embeddings of its objects that the loss compares.

    Every object has up to three sightings in a frame: the encoder's features at the centre of its ground-truth box, and
    the output embeddings of the query that is matched to it with an IoU above 0.5, in the last layer of the detection
    decoder (which does not use the memory) and in the last layer of the joint decoder. Encoder features are included
    because the loss learns appearance from them at once; decoder outputs alone contain only positions for a long time.

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
        centres = frame.output.encoded.at(targets.boxes[..., :2])  # (B, G, C)
        seen = [(centres, [(np.arange(n), np.arange(n)) for n in targets.counts])]
        layers = {max(merge_layer - 1, 0): 0, len(every) - 1: 1}  # layer → its index in Predictions.ious
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
    """Return the queries whose IoU with their object is above 0.5, and the indices of their objects."""
    queries = np.flatnonzero(targets >= 0)
    queries = queries[iou[queries, targets[queries]] > 0.5]
    return queries, targets[queries]


def identity_loss(seen: Sightings) -> Tensor:
    """Return the supervised contrastive loss of a clip (), the mean over sightings of objects in two or more frames.

    It uses the first half of the channels only, so that the others remain free for box and class. Sightings of an
    object in the same frame do not form a pair.
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
    nll = of_anchors.logsumexp(dim=1, keepdim=True) - of_anchors  # -log p of each pair
    counts = upload(pairs[anchors].sum(axis=1), device)
    return (nll.masked_fill(upload(~pairs[anchors], device), 0).sum(dim=1) / counts).mean()
