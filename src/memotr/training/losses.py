"""Losses of one frame's predictions against their matched ground truth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from memotr.boxes import paired_iou
from memotr.structures import FrameOutput, FrameTargets, LayerOutput
from memotr.training.matching import Matching

LOSS_NAMES = ("label_focal_loss", "box_l1_loss", "box_giou_loss")


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss (Lin et al., ICCV 2017) of logits against 0/1 targets of the same shape, per element."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    surprise = probability * (1 - targets) + (1 - probability) * targets  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * cross_entropy * surprise**gamma


def frame_losses(output: FrameOutput, matching: Matching, targets: FrameTargets) -> Tensor:
    """Compute the three losses of every decoder layer, summed over one frame of one video.

    Args:
        output: one batch element, with ``aux`` outputs.
        matching: which object every query should be.
        targets: the ground truth that it indexes.

    Returns:
        (Ld, 3) focal, L1 and 1 - GIoU sums, the last layer last; the focal loss is the mean over classes.
    """
    layers: list[LayerOutput | FrameOutput] = [*output.aux, output]
    logits = torch.stack([layer.logits for layer in layers]).float()  # (Ld, Q, K)
    boxes = torch.stack([layer.boxes for layer in layers]).float()  # (Ld, Q, 4)
    num_classes = logits.shape[-1]
    layer, query = (matching.targets >= 0).nonzero(as_tuple=True)  # (P,) matched pairs of all layers
    matched = matching.targets[layer, query]  # (P,)

    wanted = torch.zeros_like(logits)
    wanted[layer, query] = F.one_hot(targets.labels[matched], num_classes).to(wanted.dtype)
    focal = sigmoid_focal_loss(logits, wanted).mean(dim=2).sum(dim=1)  # (Ld,)

    found, truth = boxes[layer, query], targets.boxes[matched]  # (P, 4)
    l1 = (found - truth).abs().sum(dim=1)  # (P,)
    giou = 1 - paired_iou(found, truth)[1]  # (P,)
    zeros = focal.new_zeros(len(layers))
    return torch.stack((focal, zeros.index_add(0, layer, l1), zeros.index_add(0, layer, giou)), dim=1)  # (Ld, 3)
