"""Box arithmetic on tensors: conversions, IoU, and the inverse of the sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit log(max(x, eps) / max(1 - x, eps)) of ``x`` clamped to [0, 1], of any shape."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre, width and height to corners, in the same unit."""
    centre, size = boxes[..., :2], boxes[..., 2:]  # (..., 2) each
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def box_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the pairwise intersection over union of xyxy boxes.

    Args:
        a: (N, 4) corners.
        b: (M, 4) corners in the same unit.

    Returns:
        IoU and union area, both (N, M). The IoU of two boxes without area is 0.
    """
    area_a = (a[:, 2:] - a[:, :2]).prod(dim=1)  # (N,)
    area_b = (b[:, 2:] - b[:, :2]).prod(dim=1)  # (M,)
    low = torch.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])  # (N, M, 2)
    intersection = (high - low).clamp(min=0).prod(dim=2)  # (N, M)
    union = area_a[:, None] + area_b[None, :] - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny), union


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the pairwise generalized IoU (Rezatofighi et al., CVPR 2019) of xyxy boxes.

    Args:
        a: (N, 4) corners.
        b: (M, 4) corners in the same unit.

    Returns:
        Generalized IoU (N, M) in [-1, 1].
    """
    iou, union = box_iou(a, b)
    low = torch.minimum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = torch.maximum(a[:, None, 2:], b[None, :, 2:])  # (N, M, 2)
    hull = (high - low).clamp(min=0).prod(dim=2)  # (N, M)
    return iou - (hull - union) / hull.clamp(min=torch.finfo(hull.dtype).tiny)


def paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute IoU and generalized IoU of each box of ``a`` with the box of the same row of ``b``.

    Args:
        a: (N, 4) cxcywh.
        b: (N, 4) cxcywh in the same unit.

    Returns:
        IoU (N,) and generalized IoU (N,).
    """
    a, b = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    tiny = torch.finfo(a.dtype).tiny
    intersection = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)  # (N,)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - intersection
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    iou = intersection / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)
