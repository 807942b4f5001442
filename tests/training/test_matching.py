import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.boxes import cxcywh_to_xyxy, generalized_box_iou
from memotr.config import LossConfig
from memotr.training.matching import assign, index_of_ids, match
from tests.builders import random_tracks
from tests.training.builders import layered_output, targets_of

COSTS = LossConfig()


def slow_cost(logits, box, label, truth):
    p = torch.sigmoid(logits[label].double())
    focal = 0.25 * (1 - p) ** 2 * -torch.log(p + 1e-8) - 0.75 * p**2 * -torch.log(1 - p + 1e-8)
    giou = generalized_box_iou(cxcywh_to_xyxy(box[None]), cxcywh_to_xyxy(truth[None])).item()
    return 2 * focal.item() + 5 * (box - truth).abs().sum().item() - 2 * giou


def cheapest(layer, n, targets, objects):
    """The best assignment of objects to the first n queries, by trying them all."""
    best = min(
        itertools.permutations(range(n), len(objects)),
        key=lambda queries: sum(
            slow_cost(layer.logits[q], layer.boxes[q], targets.labels[g], targets.boxes[g])
            for q, g in zip(queries, objects, strict=True)
        ),
    )
    wanted = [-1] * n
    for q, g in zip(best, objects, strict=True):
        wanted[q] = g
    return wanted


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("merge_layer", [0, 1, 2, 3])  # with 3, all layers only detect; the last one decides
def test_matching_equals_trying_everything(seed, num_classes, merge_layer):
    output = layered_output(5, 3, num_classes, layers=3, seed=seed)
    targets = targets_of([12, 10, 15, 11], num_classes, seed)
    tracks = random_tracks(3, num_classes).replace(ids=torch.tensor([10, 99, 15]))  # 99 is not in the frame
    matching = match(output, tracks, targets, merge_layer, COSTS)
    for i, layer in enumerate([*output.aux, output]):
        if i < min(merge_layer, 2):
            expected = [*cheapest(layer, 5, targets, [0, 1, 2, 3]), -1, -1, -1]
        else:
            expected = [*cheapest(layer, 5, targets, [0, 3]), 1, -1, 2]
        assert matching.targets[i].tolist() == expected


def test_more_objects_than_queries():
    matching = match(layered_output(2, 0), random_tracks(0), targets_of([1, 2, 3]), 1, COSTS)
    assert (matching.targets >= 0).sum(dim=1).tolist() == [2, 2]


def test_no_objects_and_no_tracks():
    matching = match(layered_output(4, 0), random_tracks(0), targets_of([]), 1, COSTS)
    assert (matching.targets == -1).all()
    matching = match(layered_output(4, 2), random_tracks(2), targets_of([]), 1, COSTS)
    assert matching.of_tracks.tolist() == [-1, -1]


def test_diverged_predictions_do_not_stop_the_matching():
    output = layered_output(4, 0)
    output.boxes.fill_(torch.nan)
    assert (match(output, random_tracks(0), targets_of([5]), 1, COSTS).of_detections >= 0).sum() == 1


def test_index_of_ids():
    assert index_of_ids(np.array([5, -1, 7, 8]), np.array([8, 5])).tolist() == [1, -1, -1, 0]
    assert index_of_ids(np.array([-1]), np.array([-1, 3])).tolist() == [-1]
    assert index_of_ids(np.array([4, 5]), np.zeros(0, np.int64)).tolist() == [-1, -1]


def frame_to_assign():
    """Tracks: well found, badly found, not in the frame, a likely false positive, an unlikely one. Four detections."""
    targets = targets_of([20, 21, 22, 23])
    tracks = random_tracks(5).replace(
        ids=torch.tensor([20, 21, 77, -1, -1]), iou=torch.tensor([0.9, 0.9, 0.8, 0.0, 0.0])
    )
    output = layered_output(4, 5)
    far = torch.tensor([0.95, 0.95, 0.02, 0.02])
    boxes = torch.stack([far, far, far, far, targets.boxes[0], far, far, far, far])
    boxes[1], boxes[2] = targets.boxes[2], targets.boxes[3] * torch.tensor([1, 1, 1, 0.3])
    logits = torch.tensor([2.0, 2, 2, -2, 2, 2, -2, 2, -2])[:, None]
    output = replace(output, boxes=boxes, logits=logits)
    return output, tracks, targets


def test_what_is_carried_on():
    output, tracks, targets = frame_to_assign()
    choice = assign(output, tracks, match(output, tracks, targets, 1, COSTS), targets, keep=0.5)
    # a bad overlap loses the id; an object that is not in the frame keeps it
    assert choice.track_ids.tolist() == [20, -1, 77, -1, -1]
    assert choice.track_keep.tolist() == [True, True, True, True, False]
    assert choice.track_iou[2].item() == pytest.approx(0.8)
    # matched detections first (the one that overlaps badly without id), then the likely unmatched one
    assert choice.births.tolist() == [1, 2, 0]
    assert choice.birth_ids.tolist() == [22, -1, -1]
    assert choice.birth_from_initial.tolist() == [False, False, True]
    assert choice.birth_iou.tolist() == pytest.approx([1.0, 0.3, 0.0], abs=1e-5)


@pytest.mark.parametrize(("overlap", "kept"), [(0.5, True), (0.4999, False)])
def test_an_overlap_of_one_half_keeps_the_id(overlap, kept):
    output, tracks, targets = frame_to_assign()
    matching = match(output, tracks, targets, 1, COSTS)
    matching = replace(matching, iou=torch.full_like(matching.iou, overlap))
    choice = assign(output, tracks, matching, targets, keep=0.5)
    assert choice.track_ids.tolist()[:2] == ([20, 21] if kept else [-1, -1])
    assert choice.birth_ids.tolist() == ([22, 23, -1] if kept else [-1, -1, -1])


@pytest.mark.parametrize(("keep", "carried"), [(0.5, False), (0.4999, True)])
def test_false_positives_go_on_with_scores_above_the_threshold(keep, carried):
    output, tracks, targets = frame_to_assign()
    matching = match(output, tracks, targets, 1, COSTS)
    output = replace(output, logits=torch.zeros_like(output.logits))  # scores of exactly 0.5
    choice = assign(output, tracks, matching, targets, keep=keep)
    assert choice.track_keep.tolist() == [True, True, True, carried, carried]
    assert choice.births.tolist() == ([1, 2, 0, 3] if carried else [1, 2])
