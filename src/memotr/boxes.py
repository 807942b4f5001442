"""Box arithmetic on tensors: conversions, IoU, and the inverse of the sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit log(max(x, eps) / max(1 - x, eps)) of ``x`` clamped to [0, 1], of any shape."""
    return torch.log(x.clamp(eps, 1.0) / (1 - x).clamp(eps, 1.0))  # numbers of one type, for the export to ONNX


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


def paired_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute IoU and generalized IoU (Rezatofighi et al., CVPR 2019) of each box of ``a`` with its box of ``b``.

    Args:
        a: (..., 4) cxcywh.
        b: (..., 4) cxcywh in the same unit; the leading dimensions are broadcast.

    Returns:
        IoU (...) and generalized IoU (...).
    """
    (a_low, a_high), (b_low, b_high) = _corners(a), _corners(b)
    tiny = torch.finfo(a.dtype).tiny
    intersection = _area((torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0))  # (...)
    union = _area(a_high - a_low) + _area(b_high - b_low) - intersection
    hull = _area((torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).clamp(min=0))
    iou = intersection / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper corners (..., 2) of cxcywh boxes (..., 4)."""
    centre, size = boxes.split(2, dim=-1)
    half = size / 2
    return centre - half, centre + half


def _area(size: Tensor) -> Tensor:
    """Return width times height of (..., 2). The gradient of ``prod`` would take a dozen operators."""
    width, height = size.unbind(-1)
    return width * height
