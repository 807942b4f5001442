import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memotr.config import LossConfig
from memotr.structures import ClipBatch, FeatureMap, FrameTargets
from memotr.training.clip_runner import ClipRunner
from memotr.training.identity import TEMPERATURE, SeenFrame, Sightings, find_sightings, identity_loss
from memotr.training.matching import Matching
from memotr.training.targets import pad_targets
from tests.builders import tiny_model
from tests.training.builders import layered_output, predictions_of, random_clip, targets_of


def seen(*ids_of_frames, channels=8, seed=0):
    ids = np.array([number for ids in ids_of_frames for number in ids], int)
    frame = np.repeat(np.arange(len(ids_of_frames)), [*map(len, ids_of_frames)])
    return Sightings(torch.randn(len(ids), channels, generator=torch.Generator().manual_seed(seed)), ids, frame)


def slow(clip):
    """The formula, one pair at a time."""
    unit = [F.normalize(e[: len(e) // 2], dim=0) for e in clip.embed]
    everyone = list(zip(unit, clip.ids.tolist(), clip.frame.tolist(), strict=True))
    of_anchors = []
    for a, (x, i, t) in enumerate(everyone):
        others = [o for b, o in enumerate(everyone) if b != a and not (o[1] == i and o[2] == t)]
        total = sum(math.exp(float(x @ y) / TEMPERATURE) for y, _, _ in others)
        terms = [math.log(total) - float(x @ y) / TEMPERATURE for y, j, _ in others if j == i]
        if terms:
            of_anchors.append(sum(terms) / len(terms))
    return sum(of_anchors) / len(of_anchors) if of_anchors else 0.0


@pytest.mark.parametrize(
    "clip",
    [
        seen([1, 2], [1, 2]),
        seen([1, 1, 2, 2], [2, 2, 3, 3], [1, 1, 3, 3, 2, 2]),
        seen([4, 5], [], [5]),
        seen([4, 4, 5]),
        seen([1], [2]),
        seen([], []),
    ],
)
def test_agrees_with_the_formula(clip):
    assert float(identity_loss(clip)) == pytest.approx(slow(clip), rel=1e-5, abs=1e-6)


def test_only_half_of_the_channels_matter_and_only_their_direction():
    clip = seen([1, 2, 3], [1, 2, 3])
    changed = Sightings(clip.embed * torch.tensor([3.0] * 4 + [-1.0] * 4), clip.ids, clip.frame)
    torch.testing.assert_close(identity_loss(clip), identity_loss(changed))


def test_the_loss_is_near_zero_for_perfect_identities_and_large_for_exchanged_ones():
    axes, frame = torch.eye(8)[[0, 1, 2, 0, 1, 2]], np.repeat([0, 1], 3)
    assert identity_loss(Sightings(axes, np.array([1, 2, 3, 1, 2, 3]), frame)) < 1e-3
    assert identity_loss(Sightings(axes, np.array([1, 2, 3, 2, 1, 3]), frame)) > 5


@pytest.mark.parametrize("ids", [[[1, 2], [1, 2]], [[1], [2]], [[], []]])
def test_always_has_a_finite_gradient(ids):
    clip = seen(*ids)
    leaf = clip.embed.requires_grad_()
    identity_loss(clip).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_sightings_are_box_centres_and_matched_queries_that_overlap():
    ramp = torch.arange(4.0).expand(1, 64, 2, 4)  # 64 channels of 2 by 4, the last quarter of which is padding
    output = replace(layered_output(6, 2, layers=3), encoded=FeatureMap(ramp, torch.tensor([[0.75, 1.0]])))
    targets = np.full((3, 8), -1)
    targets[0, [0, 3]] = [0, 1]  # the layer that only detects
    targets[1, 5] = 0  # in between: not looked at
    targets[2, [4, 7]] = [1, 0]
    boxes = torch.stack((output.layers.boxes[0, 0, 0], output.boxes[0, 4]))
    truth = FrameTargets(torch.tensor([70, 80]), torch.zeros(2, dtype=torch.int64), boxes)
    matching, predictions = Matching(targets, np.zeros(8, np.float32)), predictions_of(output, truth)
    empty = SeenFrame(output, [predictions], [Matching(np.full((3, 8), -1), matching.iou)], *padded(targets_of([])))
    (found,) = find_sightings([empty, SeenFrame(output, [predictions], [matching], *padded(truth))], merge_layer=1)
    assert found.ids.tolist() == [70, 80, 70, 80]
    assert found.frame.tolist() == [1] * 4
    torch.testing.assert_close(found.embed[:2], (4 * 0.75 * boxes[:, :1] - 0.5).clamp(min=0).expand(2, 64))
    layers = output.layers.output_embed[:, 0]
    assert torch.equal(found.embed[2:], torch.stack((layers[0, 0], layers[2, 4])))


def padded(truth):
    return pad_targets([[truth]], torch.device("cpu"))


def test_the_weighted_identity_loss_is_added_to_the_total():
    model = tiny_model("dab").train()
    clip = random_clip([[2, 2]])
    with torch.no_grad():  # objects where the first layer sees some, so that it finds them in every frame
        boxes = model(clip.frames[0], [model.no_tracks()] * 2, aux=True).layers.boxes[0][:, [3, 9]]
    truth = [FrameTargets(t.ids, t.labels, b) for t, b in zip(clip.targets[0], boxes, strict=True)]
    clip = ClipBatch(clip.frames * 3, [truth] * 3)
    plain, weighted = ClipRunner(model)(clip), ClipRunner(model, LossConfig(identity=0.5))(clip)
    assert plain.named()["identity_loss"] == 0
    identity = weighted.named()["identity_loss"]
    assert identity > 0
    assert float(weighted.total.detach()) == pytest.approx(float(plain.total.detach()) + 0.5 * identity, rel=1e-5)
