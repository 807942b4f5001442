import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.boxes import paired_iou
from memotr.config import LossConfig
from memotr.structures import LayerOutputs
from memotr.training.matching import assign, index_of_ids, match, read_predictions
from memotr.training.targets import pad_targets
from tests.training.builders import layered_output, predictions_of, targets_of

NOBODY = np.zeros(0, np.int64)
TRACK_IDS = np.array([20, 21, 77, -1, -1])
TRACK_IOU = np.array([0.9, 0.9, 0.8, 0.0, 0.0], np.float32)


def matching_of(output, targets, track_ids=NOBODY, merge_layer=1):
    predictions = predictions_of(output, targets, merge_layer)
    return match(predictions, np.array(track_ids, np.int64), targets.ids.numpy(), merge_layer)


def slow_cost(logits, box, label, truth):
    p = torch.sigmoid(logits[label].double())
    focal = 0.25 * (1 - p) ** 2 * -torch.log(p + 1e-8) - 0.75 * p**2 * -torch.log(1 - p + 1e-8)
    giou = paired_iou(box, truth)[1].item()
    return 2 * focal.item() + 5 * (box - truth).abs().sum().item() - 2 * giou


def cheapest(logits, boxes, n, targets, objects):
    """The best assignment of objects to the first n queries, by trying them all."""
    best = min(
        itertools.permutations(range(n), len(objects)),
        key=lambda queries: sum(
            slow_cost(logits[q], boxes[q], targets.labels[g], targets.boxes[g])
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
    matching = matching_of(output, targets, [10, 99, 15], merge_layer)  # 99 is not in the frame
    for i in range(3):
        layer = output.layers.logits[i, 0], output.layers.boxes[i, 0]
        if i < min(merge_layer, 2):
            expected = [*cheapest(*layer, 5, targets, [0, 1, 2, 3]), -1, -1, -1]
        else:
            expected = [*cheapest(*layer, 5, targets, [0, 3]), 1, -1, 2]
        assert matching.targets[i].tolist() == expected
    overlap = [
        float(paired_iou(output.boxes[0, q], targets.boxes[g])[0]) if g >= 0 else 0.0 for q, g in enumerate(expected)
    ]
    assert matching.iou.tolist() == pytest.approx(overlap, abs=1e-6)


def test_videos_in_a_batch_do_not_mix():
    """Different numbers of tracks and of objects, as many and as few as there may be."""
    outputs = [layered_output(5, n, 2, seed=n) for n in (3, 0, 2)]
    truths = [targets_of(ids, 2, seed=len(ids)) for ids in ([4, 5], [], [1, 2, 3, 7])]
    names, more = ("logits", "boxes", "output_embed"), {}
    for name in names:
        rows = [getattr(o.layers, name)[:, 0] for o in outputs]  # (Ld, Q, ...)
        padded = [torch.cat((r, torch.full((len(r), 8 - r.shape[1], *r.shape[2:]), torch.nan)), dim=1) for r in rows]
        more[name] = torch.stack(padded, dim=1)
    batch = type(outputs[0])(
        **{name: more[name][-1] for name in names},
        **dict.fromkeys(("query_embed", "ref_pts", "init_ref_pts"), more["boxes"][-1]),
        num_detections=5,
        num_tracks=(3, 0, 2),
        layers=LayerOutputs(**more),
    )
    together = read_predictions(batch, pad_targets([truths], torch.device("cpu"))[0], 1, LossConfig())
    for found, output, truth in zip(together, outputs, truths, strict=True):
        for name, value in vars(predictions_of(output, truth)).items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_more_objects_than_queries():
    matching = matching_of(layered_output(2, 0), targets_of([1, 2, 3]))
    assert (matching.targets >= 0).sum(axis=1).tolist() == [2, 2]


def test_no_objects_and_no_tracks():
    assert (matching_of(layered_output(4, 0), targets_of([])).targets == -1).all()
    assert matching_of(layered_output(4, 2), targets_of([]), [0, 1]).targets[-1, 4:].tolist() == [-1, -1]


def test_diverged_predictions_do_not_stop_the_matching():
    output = layered_output(4, 0)
    output.layers.boxes.fill_(torch.nan)
    assert (matching_of(output, targets_of([5])).targets[-1] >= 0).sum() == 1


def test_index_of_ids():
    assert index_of_ids(np.array([5, -1, 7, 8]), np.array([8, 5])).tolist() == [1, -1, -1, 0]
    assert index_of_ids(np.array([-1]), np.array([-1, 3])).tolist() == [-1]
    assert index_of_ids(np.array([4, 5]), np.zeros(0, np.int64)).tolist() == [-1, -1]


def frame_to_assign():
    """Tracks: well found, badly found, not in the frame, a likely false positive, an unlikely one. Four detections."""
    targets = targets_of([20, 21, 22, 23])
    far = torch.tensor([0.95, 0.95, 0.02, 0.02])
    boxes = torch.stack([far, far, far, far, targets.boxes[0], far, far, far, far])
    boxes[1], boxes[2] = targets.boxes[2], targets.boxes[3] * torch.tensor([1, 1, 1, 0.3])
    output = layered_output(4, 5)
    output.layers.boxes[-1, 0] = boxes
    output.layers.logits[-1, 0] = torch.tensor([2.0, 2, 2, -2, 2, 2, -2, 2, -2])[:, None]
    return output, targets


def test_tracks_and_detections_that_continue():
    output, targets = frame_to_assign()
    predictions, truth = predictions_of(output, targets), targets.ids.numpy()
    choice = assign(predictions, match(predictions, TRACK_IDS, truth, 1), TRACK_IDS, TRACK_IOU, truth, keep=0.5)
    # a bad overlap loses the id; an object that is not in the frame keeps it
    assert choice.track_ids.tolist() == [20, -1, 77, -1, -1]
    assert choice.track_keep.tolist() == [True, True, True, True, False]
    assert choice.track_iou[2].item() == pytest.approx(0.8)
    # matched detections first (the one that overlaps badly without id), then the likely unmatched one
    assert choice.births.tolist() == [1, 2, 0]
    assert choice.birth_ids.tolist() == [22, -1, -1]
    assert choice.birth_targets.tolist() == [2, 3, -1]
    assert choice.birth_iou.tolist() == pytest.approx([1.0, 0.3, 0.0], abs=1e-5)
    assert choice.next_ids.tolist() == [20, -1, 77, -1, 22, -1, -1]
    assert choice.next_iou.tolist() == pytest.approx([1.0, 0.0, 0.8, 0.0, 1.0, 0.3, 0.0], abs=1e-5)


@pytest.mark.parametrize(("overlap", "kept"), [(0.5, True), (0.4999, False)])
def test_an_overlap_of_one_half_keeps_the_id(overlap, kept):
    output, targets = frame_to_assign()
    predictions, truth = predictions_of(output, targets), targets.ids.numpy()
    matching = match(predictions, TRACK_IDS, truth, 1)
    matching = replace(matching, iou=np.full_like(matching.iou, overlap))
    choice = assign(predictions, matching, TRACK_IDS, TRACK_IOU, truth, keep=0.5)
    assert choice.track_ids.tolist()[:2] == ([20, 21] if kept else [-1, -1])
    assert choice.birth_ids.tolist() == ([22, 23, -1] if kept else [-1, -1, -1])


@pytest.mark.parametrize(("keep", "carried"), [(0.5, False), (0.4999, True)])
def test_false_positives_go_on_with_scores_above_the_threshold(keep, carried):
    output, targets = frame_to_assign()
    predictions, truth = predictions_of(output, targets), targets.ids.numpy()
    matching = match(predictions, TRACK_IDS, truth, 1)
    predictions = replace(predictions, scores=np.full_like(predictions.scores, 0.5))
    choice = assign(predictions, matching, TRACK_IDS, TRACK_IOU, truth, keep=keep)
    assert choice.track_keep.tolist() == [True, True, True, carried, carried]
    assert choice.births.tolist() == ([1, 2, 0, 3] if carried else [1, 2])
