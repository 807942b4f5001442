"""Loss functions, pure and elementwise: summed by whoever calls them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from memotr.boxes import cxcywh_to_xyxy


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017) of logits against 0/1 targets of the same shape, one value an element."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    surprise = probability * (1 - targets) + (1 - probability) * targets  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * cross_entropy * surprise**gamma


def paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU of box i of ``a`` with box i of ``b``: cxcywh (N, 4) each to (N,), (N,)."""
    a, b = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    tiny = torch.finfo(a.dtype).tiny
    intersection = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)  # (N,)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - intersection
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    iou = intersection / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)
