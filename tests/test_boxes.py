import math

import pytest
import torch

from memotr.boxes import box_iou, cxcywh_to_xyxy, inverse_sigmoid, paired_iou


def slow_overlaps(a, b):
    """IoU and GIoU of two boxes, written out."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return width * height / area, width * height / area - (hull - area) / hull


def test_overlaps_equal_the_slow_version():
    torch.manual_seed(0)
    a, b = (torch.rand(n, 4, dtype=torch.float64) for n in (7, 5))
    iou, giou = paired_iou(a[:, None], b)
    x, y = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    for i in range(7):
        for j in range(5):
            expected = slow_overlaps(x[i].tolist(), y[j].tolist())
            assert (iou[i, j].item(), giou[i, j].item()) == pytest.approx(expected)
    assert box_iou(x, y)[0].equal(iou)


def test_boxes_without_area_have_no_overlap():
    point = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert box_iou(cxcywh_to_xyxy(point), cxcywh_to_xyxy(point))[0].item() == 0
    iou, giou = paired_iou(point, point)
    assert iou.item() == 0
    assert math.isfinite(giou.item())


def test_no_boxes():
    none, some = torch.zeros(0, 4), torch.rand(3, 4)
    assert box_iou(none, some)[0].shape == (0, 3)
    assert paired_iou(some[:, None], none)[1].shape == (3, 0)


def test_corners_of_a_box():
    assert cxcywh_to_xyxy(torch.tensor([[5.0, 6, 4, 2]])).tolist() == [[3, 5, 7, 7]]


def test_inverse_sigmoid_is_clamped():
    x = torch.tensor([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
    edge = math.log(1e-5)
    expected = torch.tensor([edge, edge, math.log(0.25 / 0.75), 0.0, -edge, -edge])
    torch.testing.assert_close(inverse_sigmoid(x), expected)
