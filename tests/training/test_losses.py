import math

import numpy as np
import pytest
import torch

from memotr.boxes import paired_iou
from memotr.structures import LayerOutputs
from memotr.training.losses import clip_losses, sigmoid_focal_loss
from memotr.training.matching import Matching
from memotr.training.targets import pad_targets
from tests.training.builders import layered_output, targets_of


def slow_focal(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if target else -0.75 * p**2 * math.log(1 - p)


def test_focal_loss_equals_the_formula():
    logits, targets = torch.linspace(-4, 4, 9), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1.0])
    expected = [slow_focal(x, t) for x, t in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert sigmoid_focal_loss(logits, targets).tolist() == pytest.approx(expected, rel=1e-5)


def slow_losses(layers, b, matching, targets):
    """The losses of every layer for video b of a frame, query by query."""
    rows = []
    for i, wanted in enumerate(matching.targets.tolist()):
        focal = l1 = giou = 0.0
        for q, g in enumerate(wanted):
            label = targets.labels[g].item() if g >= 0 else -1
            values = [slow_focal(x, k == label) for k, x in enumerate(layers.logits[i, b, q].tolist())]
            focal += sum(values) / len(values)
            if g >= 0:
                box, truth = layers.boxes[i, b, q], targets.boxes[g]
                l1 += (box - truth).abs().sum().item()
                giou += 1 - paired_iou(box, truth)[1].item()
        rows.append([focal, l1, giou])
    return torch.tensor(rows)


def random_matching(queries, objects, layers, seed):
    """Some queries of every layer get an object each."""
    random = np.random.default_rng(seed)
    targets = np.full((layers, queries), -1)
    for row in targets:
        count = min(objects, queries)
        row[random.choice(queries, count, replace=False)] = random.choice(objects, count, replace=False)
    return Matching(targets, np.zeros(queries, np.float32))


@pytest.mark.parametrize("num_classes", [1, 4])
def test_losses_of_a_clip_equal_the_slow_version(num_classes):
    """Two videos of three frames, with different numbers of tracks and of objects."""
    tracks, objects = [(0, 0), (3, 1), (2, 4)], [(3, 2), (0, 4), (2, 2)]
    predictions, matchings, truths, expected = [], [], [], torch.zeros(3, 3)
    for t in range(3):
        seeds = [10 * t + b for b in range(2)]
        truths.append([targets_of(list(range(n)), num_classes, seed=s) for n, s in zip(objects[t], seeds, strict=True)])
        matchings.append([random_matching(5 + tracks[t][b], objects[t][b], 3, seeds[b]) for b in range(2)])
        layers = layered_output(5, max(tracks[t]), num_classes, layers=3, seed=t).layers
        other = layered_output(5, max(tracks[t]), num_classes, layers=3, seed=t + 5).layers
        pairs = [(getattr(layers, n), getattr(other, n)) for n in ("logits", "boxes", "output_embed")]
        predictions.append(LayerOutputs(*(torch.cat(pair, dim=1) for pair in pairs)))
        expected += sum(slow_losses(predictions[t], b, matchings[t][b], truths[t][b]) for b in range(2))
    found = clip_losses(predictions, matchings, pad_targets(truths, torch.device("cpu")))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_frame_without_objects_costs_only_its_false_positives():
    output = layered_output(5, 0, 1, layers=2)
    matching = Matching(np.full((2, 5), -1), np.zeros(5, np.float32))
    losses = clip_losses([output.layers], [[matching]], pad_targets([[targets_of([])]], torch.device("cpu")))
    assert (losses[:, 0] > 0).all()
    assert losses[:, 1:].tolist() == [[0, 0], [0, 0]]
