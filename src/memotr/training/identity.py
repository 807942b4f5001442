"""Contrastive identity loss over a clip (not in the paper), for trackers trained from scratch.

The paper's losses supervise identity through boxes alone, from which appearance is learnt slowly if there is little
data. This loss supervises it directly: embeddings of one object should be similar in all frames of a clip, and differ
from those of other objects (supervised contrastive loss; Khosla et al., NeurIPS 2020).
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
from memotr.training.losses import at_least_float32
from memotr.training.matching import Matching, Predictions
from memotr.training.targets import PaddedTargets, upload

TEMPERATURE = 0.1
"""Divisor of the cosine similarities."""


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """Output for one frame of B videos, and what the host has read and decided of it.

    Attributes:
        output: output for B videos in training mode.
        predictions: predictions for each video, on the host.
        matchings: matched objects of each video.
        targets: ground truth of the frame.
    """

    output: FrameOutput
    predictions: Sequence[Predictions]
    matchings: Sequence[Matching]
    targets: PaddedTargets


@dataclass(frozen=True, eq=False)
class Sightings:
    """P embeddings of objects in a clip of one video.

    Attributes:
        embed: (P, C) embeddings.
        ids: (P,) ids of their objects, on the host.
        frame: (P,) numbers of their frames, on the host.
    """

    embed: Tensor
    ids: NDArray[np.int64]
    frame: NDArray[np.int64]


def find_sightings(frames: Sequence[SeenFrame], merge_layer: int) -> list[Sightings]:
    """Return, for each of B videos, the embeddings of its objects that the loss compares.

    An object has up to three per frame: the encoder's features at its centre, from which colours and shapes are learnt
    soonest; and the outputs of the last layer of D_det, which has no memory, and of the last layer of D_joint, of the
    query that is matched to the object with an IoU above 0.5.

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
    """Return the queries with an IoU above 0.5 with their object, and these objects."""
    queries = np.flatnonzero(targets >= 0)
    queries = queries[iou[queries, targets[queries]] > 0.5]
    return queries, targets[queries]


def identity_loss(seen: Sightings) -> Tensor:
    """Return the supervised contrastive loss of a clip (), the mean over sightings of objects in two or more frames.

    Only the first half of the channels is compared; the other half may encode box and class. Two embeddings of an
    object in the same frame are not a pair.
    """
    embed, device = at_least_float32(seen.embed), seen.embed.device  # (P, C)
    same, together = seen.ids[:, None] == seen.ids, seen.frame[:, None] == seen.frame  # (P, P)
    pairs = same & ~together
    anchors = np.flatnonzero(pairs.any(axis=1))
    if len(anchors) == 0:
        return embed.sum() * 0
    unit = F.normalize(embed[:, : embed.shape[1] // 2], dim=1)
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(upload(same & together, device), -torch.inf)
    of_anchors = similarity.index_select(0, upload(anchors, device))
    negative_log = of_anchors.logsumexp(dim=1, keepdim=True) - of_anchors  # -log p of each pair
    counts = upload(pairs[anchors].sum(axis=1), device)
    return (negative_log.masked_fill(upload(~pairs[anchors], device), 0).sum(dim=1) / counts).mean()
