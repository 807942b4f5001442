"""Contrastive identity loss over a clip (not in the paper), for trackers trained from scratch.

The paper's losses teach identity by way of boxes alone: a track that took up somebody else is shown where its own
object is. With little data that is a slow way to learn what people look like. This loss asks for it outright: what
leaves the decoder for one object shall be alike in all frames of a clip, and unlike all others (supervised contrastive
loss; Khosla et al., NeurIPS 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from memotr.boxes import paired_iou
from memotr.structures import FrameOutput, FrameTargets, LayerOutput
from memotr.training.matching import Matching

TEMPERATURE = 0.1


@dataclass(frozen=True, eq=False)
class Sightings:
    """Objects seen in one frame: embeddings (P, C), ids (P,) and the frame's number in the clip (P,)."""

    embed: Tensor
    ids: Tensor
    frame: Tensor


def sightings(
    output: FrameOutput, matching: Matching, targets: FrameTargets, merge_layer: int, frame: int
) -> Sightings:
    """Return the embeddings of the objects of a frame at each place in the network where the loss compares them.

    First what the encoder has in their middle: there the loss finds colours and shapes at once, where the decoder's
    outputs alone find nothing but places for a long time. Then what was matched to them and covers more than half of
    them, as the layers that only detect see it, without a memory, and as the last layer does.

    Args:
        output: one batch element, with ``aux`` outputs.
        matching: which object every query should be.
        targets: the ground truth that it indexes.
        merge_layer: number of layers that only detection queries enter.
        frame: its number in the clip.
    """
    every: list[LayerOutput | FrameOutput] = [*output.aux, output]
    assert output.encoded is not None
    embeds, ids = [output.encoded.at(targets.boxes[:, :2])], [targets.ids]
    for i in {max(merge_layer - 1, 0), len(every) - 1}:
        queries = (matching.targets[i] >= 0).nonzero()[:, 0]
        objects = matching.targets[i, queries]
        iou, _ = paired_iou(every[i].boxes[queries].detach().float(), targets.boxes[objects])
        embeds.append(every[i].output_embed[queries[iou > 0.5]])
        ids.append(targets.ids[objects[iou > 0.5]])
    seen = torch.cat(ids)
    return Sightings(torch.cat(embeds), seen, torch.full_like(seen, frame))


def identity_loss(clip: list[Sightings]) -> Tensor:
    """Return the supervised contrastive loss of a clip: the mean over objects seen in two or more frames; scalar.

    Only the first half of the channels takes part: the rest is free to tell box and class. Two sightings of an object
    in one frame are no pair.
    """
    embed = torch.cat([seen.embed for seen in clip]).float()  # (P, C)
    ids, frame = torch.cat([seen.ids for seen in clip]), torch.cat([seen.frame for seen in clip])  # (P,)
    unit = F.normalize(embed[:, : embed.shape[1] // 2], dim=1)
    same, together = ids[:, None] == ids, frame[:, None] == frame  # (P, P)
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(same & together, -torch.inf)
    pairs = same & ~together
    anchors = pairs.any(dim=1)
    if not anchors.any():
        return embed.sum() * 0
    surprise = similarity[anchors].logsumexp(dim=1, keepdim=True) - similarity[anchors]  # -log p of each pair
    pairs = pairs[anchors]
    return (surprise.masked_fill(~pairs, 0).sum(dim=1) / pairs.sum(dim=1)).mean()
