from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.boxes import paired_iou
from memotr.training.clip_runner import join_videos
from memotr.training.matching import Choice
from memotr.training.perturb import perturb
from memotr.training.targets import pad_targets
from tests.training.builders import layered_output, predictions_of, targets_of


def a_choice(births=(3, 7, 9)):
    """Five tracks, three births (one of them unmatched) among twelve detection queries."""
    return Choice(
        track_ids=np.array([1, 2, -1, 4, 5]),
        track_iou=np.array([0.9, 0.8, 0.0, 0.7, 0.45], np.float32),
        track_keep=np.ones(5, bool),
        births=np.array(births),
        birth_ids=np.array([6, 7, -1]),
        birth_iou=np.array([0.6, 0.2, 0.0], np.float32),
        birth_targets=np.array([0, 1, -1]),
    )


def run(drop, insert, seed=0, num_detections=12, births=(3, 7, 9), **more):
    predictions = predictions_of(layered_output(num_detections, 5), targets_of([6, 7]))
    return perturb(a_choice(births), predictions, drop, insert, torch.Generator().manual_seed(seed), **more)


def test_only_tracks_with_an_object_continue():
    choice = run(drop=0.0, insert=0.0)
    assert choice.track_keep.tolist() == [True, True, False, True, False]
    assert choice.births.tolist() == [3]


def test_everything_can_be_dropped():
    choice = run(drop=1.0, insert=1.0)
    assert not choice.track_keep.any()
    assert len(choice.births) == 0


def test_drop_rate():
    kept = np.mean([run(drop=0.3, insert=0.0, seed=s).track_keep for s in range(500)], axis=0)
    assert np.abs(kept[[0, 1, 3]] - 0.7).max() < 0.07


def test_false_positives_are_the_unmatched_detections_with_the_highest_overlap():
    boxes, choice = layered_output(12, 5).boxes[0], run(drop=0.0, insert=1.0)
    unmatched = [q for q in range(12) if q not in (3, 7)]
    hosts = [12, 13, 15, 3]  # the tracks and the birth that go on
    overlaps = {h: [paired_iou(boxes[q], boxes[h])[0].item() for q in unmatched] for h in hosts}
    expected = sorted({unmatched[values.index(max(values))] for values in overlaps.values()})
    assert choice.births.tolist() == [3, *expected]
    assert choice.birth_ids.tolist() == [6] + [-1] * len(expected)
    assert choice.birth_targets.tolist() == [0] + [-1] * len(expected)


def test_all_unmatched_detections_are_inserted_if_there_are_too_few():
    assert run(0.0, 1.0, num_detections=5, births=(0, 1, 3)).births.tolist() == [0, 2, 3, 4]


def test_strays_continue_if_configured_and_are_not_inserted_twice():
    choice = run(1.0, 0.0, keep_strays=True)
    assert choice.track_keep.tolist() == [False, False, True, False, False], "dropped are those that carry an object"
    assert choice.births.tolist() == [9]
    assert choice.birth_ids.tolist() == [-1]
    births = run(0.0, 1.0, keep_strays=True).births.tolist()
    assert births[:2] == [3, 9]
    assert len(set(births)) == len(births) > 2


def test_an_overlap_of_one_half_carries_no_object():
    iou = np.array([0.5, 0.51, 0.0, 0.7, 0.45, 0.5, 0.2, 0.0], np.float32)
    choice = replace(a_choice(), track_iou=iou[:5], birth_iou=iou[5:])
    predictions = predictions_of(layered_output(12, 5), targets_of([6, 7]))
    choice = perturb(choice, predictions, 0.0, 0.0, torch.Generator())
    assert choice.track_keep.tolist() == [False, True, False, True, False]
    assert len(choice.births) == 0


def test_false_positives_have_the_class_of_their_highest_score():
    output, targets = layered_output(12, 5, num_classes=4), targets_of([6, 7], num_classes=4)
    choice = perturb(a_choice(), predictions_of(output, targets), 0.0, 1.0, torch.Generator().manual_seed(0))
    truth = pad_targets([[targets]], torch.device("cpu"))[0]
    _, assignment, _, _ = join_videos(output, [choice], truth)
    inserted = choice.births[choice.birth_targets < 0]
    labels = assignment.birth_labels[assignment.birth_from_initial].tolist()
    assert labels == output.logits[0, inserted].argmax(dim=1).tolist()
    assert len(set(labels)) > 1


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-24])  # the smallest and the largest number that can be drawn
def test_rates_of_0_and_1_are_certain(monkeypatch, drawn):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, drawn))
    assert run(drop=0.0, insert=0.0).track_keep.tolist() == [True, True, False, True, False]
    assert run(drop=0.0, insert=0.0).births.tolist() == [3]
    assert len(run(drop=0.0, insert=1.0).births) > 1
    assert not run(drop=1.0, insert=1.0).track_keep.any()
