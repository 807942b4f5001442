import math

import pytest
import torch

from memotr.boxes import box_iou, cxcywh_to_xyxy, generalized_box_iou
from memotr.structures import FrameTargets
from memotr.training.losses import frame_losses, paired_iou, sigmoid_focal_loss
from memotr.training.matching import Matching
from tests.training.builders import layered_output, targets_of


def slow_focal(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if target else -0.75 * p**2 * math.log(1 - p)


def test_focal_loss_equals_the_formula():
    logits, targets = torch.linspace(-4, 4, 9), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1.0])
    expected = [slow_focal(x, t) for x, t in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert sigmoid_focal_loss(logits, targets).tolist() == pytest.approx(expected, rel=1e-5)


def test_paired_overlaps_are_the_diagonal():
    torch.manual_seed(0)
    a, b = torch.rand(6, 4), torch.rand(6, 4)
    iou, giou = paired_iou(a, b)
    corners = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    torch.testing.assert_close(iou, box_iou(*corners)[0].diag())
    torch.testing.assert_close(giou, generalized_box_iou(*corners).diag())


def slow_losses(output, matching, targets):
    """The losses of every layer, query by query."""
    rows = []
    for layer, wanted in zip([*output.aux, output], matching.targets.tolist(), strict=True):
        focal = l1 = giou = 0.0
        for q, g in enumerate(wanted):
            label = targets.labels[g].item() if g >= 0 else -1
            values = [slow_focal(x, k == label) for k, x in enumerate(layer.logits[q].tolist())]
            focal += sum(values) / len(values)
            if g >= 0:
                box, truth = layer.boxes[q : q + 1], targets.boxes[g : g + 1]
                l1 += (box - truth).abs().sum().item()
                giou += 1 - generalized_box_iou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(truth)).item()
        rows.append([focal, l1, giou])
    return torch.tensor(rows)


@pytest.mark.parametrize("num_classes", [1, 4])
def test_frame_losses_equal_the_slow_version(num_classes):
    output = layered_output(5, 3, num_classes, layers=3)
    targets = targets_of([7, 8, 9], num_classes)
    wanted = torch.tensor([[2, -1, 0, 1, -1, -1, -1, -1], [-1, -1, 1, -1, -1, 0, -1, 2], [-1] * 8])
    matching = Matching(wanted, torch.zeros(8), 5)
    torch.testing.assert_close(frame_losses(output, matching, targets), slow_losses(output, matching, targets))


def test_a_frame_without_objects_costs_only_its_false_positives():
    output = layered_output(5, 0, 1, layers=2)
    none = FrameTargets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    losses = frame_losses(output, Matching(torch.full((2, 5), -1), torch.zeros(5), 5), none)
    assert (losses[:, 0] > 0).all()
    assert losses[:, 1:].tolist() == [[0, 0], [0, 0]]
