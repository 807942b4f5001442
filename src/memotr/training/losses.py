"""Losses between predictions and their matched ground truth, for all frames, videos and layers of a clip at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memotr.boxes import paired_iou
from memotr.structures import LayerOutputs
from memotr.training.matching import Matching
from memotr.training.targets import PaddedTargets, upload

LOSS_NAMES = ("label_focal_loss", "box_l1_loss", "box_giou_loss")


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss (Lin et al., ICCV 2017) of logits against 0/1 targets of the same shape, per element."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = probability * (1 - targets) + (1 - probability) * targets  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * cross_entropy * missed**gamma


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor of at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def clip_losses(
    predictions: Sequence[LayerOutputs], matchings: Sequence[Sequence[Matching]], targets: Sequence[PaddedTargets]
) -> Tensor:
    """Compute the three losses of every decoder layer, summed over a batch of clips, without waiting for the device.

    Args:
        predictions: predictions for each of T frames of B videos.
        matchings: ``matchings[t][b]`` has the object of every query of frame t of video b.
        targets: ground truth of each frame.

    Returns:
        (Ld, 3) sums of focal loss, L1 distance and 1 - GIoU in every layer. The focal loss of a query is the mean over
        classes; the sums are not divided by the number of objects.
    """
    device = predictions[0].logits.device
    logits = at_least_float32(torch.cat([each.logits.flatten(1, 2) for each in predictions], dim=1))  # (Ld, R, K)
    boxes = at_least_float32(torch.cat([each.boxes.flatten(1, 2) for each in predictions], dim=1))  # (Ld, R, 4)
    truth_boxes = torch.cat([each.boxes.flatten(0, 1) for each in targets])  # (T*B*G, 4)
    truth_labels = torch.cat([each.labels.flatten() for each in targets])
    rows, matched = _lay_out(predictions, matchings, targets)  # (R',) rows that are queries; (Ld, R')
    if len(rows) < logits.shape[1]:  # some rows are padding
        index = upload(rows, device)
        logits, boxes = logits.index_select(1, index), boxes.index_select(1, index)
    layer, row = np.nonzero(matched >= 0)  # (P,) pairs
    pairs = np.stack((layer, layer * matched.shape[1] + row, matched[layer, row]))
    layer, query, target = upload(pairs, device)

    num_classes = logits.shape[-1]
    place = query * num_classes + truth_labels.index_select(0, target)  # (P,)
    wanted = torch.zeros_like(logits).flatten().scatter_(0, place, 1.0).view_as(logits)
    focal = sigmoid_focal_loss(logits, wanted).mean(dim=2).sum(dim=1)  # (Ld,)

    found, truth = boxes.flatten(0, 1).index_select(0, query), truth_boxes.index_select(0, target)  # (P, 4)
    l1 = (found - truth).abs().sum(dim=1)  # (P,)
    giou = 1 - paired_iou(found, truth)[1]  # (P,)
    zeros = focal.new_zeros(len(focal), 2)
    return torch.cat((focal[:, None], zeros.index_add(0, layer, torch.stack((l1, giou), dim=1))), dim=1)  # (Ld, 3)


def _lay_out(
    predictions: Sequence[LayerOutputs], matchings: Sequence[Sequence[Matching]], targets: Sequence[PaddedTargets]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the R' of R joined rows that are queries, not padding, and the joined target, or -1, of each (Ld, R')."""
    rows, matched, first_row, first_target = [], [], 0, 0
    for output, of_videos, truth in zip(predictions, matchings, targets, strict=True):
        for matching in of_videos:
            wanted = matching.targets  # (Ld, Q)
            rows.append(first_row + np.arange(wanted.shape[1]))
            matched.append(np.where(wanted >= 0, first_target + wanted, -1))
            first_row += output.logits.shape[2]
            first_target += truth.labels.shape[1]
    return np.concatenate(rows), np.concatenate(matched, axis=1)
