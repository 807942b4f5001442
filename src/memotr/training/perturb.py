"""Perturbation of training: dropped tracks and inserted false positives (section 3.5 of the paper, after MOTR)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from memotr.boxes import box_iou, cxcywh_to_xyxy
from memotr.structures import Assignment, FrameOutput


def perturb(
    choice: Assignment,
    output: FrameOutput,
    drop_rate: float,
    insert_rate: float,
    generator: torch.Generator,
    keep_strays: bool = False,
) -> Assignment:
    """Drop tracks at random, and insert false positives that overlap the remaining ones.

    Only tracks and births that carry an object (id >= 0, overlap above one half) go on, each dropped with
    ``drop_rate``. Each that remains brings in, with ``insert_rate``, the unmatched detection that overlaps it most: all
    of them where there are not more than that.

    Args:
        choice: the unperturbed decision.
        output: the frame's predictions, one batch element.
        drop_rate: in [0, 1].
        insert_rate: in [0, 1].
        keep_strays: what carries no object goes on, too, as it does without perturbation (not in the published code).
        generator: of the random draws, on the CPU.
    """
    n, device = output.num_detections, output.boxes.device
    n_tracks = len(choice.track_ids)
    good = torch.cat((_carries(choice.track_ids, choice.track_iou), _carries(choice.birth_ids, choice.birth_iou)))
    good &= torch.rand(len(good), generator=generator).to(device) >= drop_rate
    boxes = torch.cat((output.boxes[n:], output.boxes[choice.births])).detach()  # (N + M, 4)
    inviting = good & (torch.rand(len(good), generator=generator).to(device) < insert_rate)
    matched = choice.births if keep_strays else choice.births[~choice.birth_from_initial]
    false = _overlapping(boxes[inviting], output.boxes[:n].detach(), matched)
    if keep_strays:
        good |= torch.cat((choice.track_keep & (choice.track_ids < 0), choice.birth_ids < 0))
    born = good[n_tracks:]
    none = torch.zeros_like(false)
    return replace(
        choice,
        track_keep=good[:n_tracks],
        births=torch.cat((choice.births[born], false)),
        birth_ids=torch.cat((choice.birth_ids[born], none - 1)),
        birth_labels=torch.cat((choice.birth_labels[born], output.logits[false].argmax(dim=1))),
        birth_iou=torch.cat((choice.birth_iou[born], none.to(choice.birth_iou.dtype))),
        birth_from_initial=torch.cat((choice.birth_from_initial[born], none == 0)),
    )


def _carries(ids: Tensor, iou: Tensor) -> Tensor:
    return (ids >= 0) & (iou > 0.5)


def _overlapping(boxes: Tensor, detections: Tensor, matched: Tensor) -> Tensor:
    """Return the unmatched detection queries that overlap ``boxes`` (F, 4) most, each once; at most F."""
    unmatched = torch.ones(len(detections), dtype=torch.bool, device=detections.device)
    unmatched[matched] = False
    candidates = unmatched.nonzero()[:, 0]
    if len(boxes) == 0 or len(candidates) <= len(boxes):
        return candidates[: 0 if len(boxes) == 0 else None]
    iou, _ = box_iou(cxcywh_to_xyxy(detections[candidates]), cxcywh_to_xyxy(boxes))
    return candidates[iou.argmax(dim=0).unique()]
