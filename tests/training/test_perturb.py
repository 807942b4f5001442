from dataclasses import replace

import pytest
import torch

from memotr.boxes import box_iou, cxcywh_to_xyxy
from memotr.structures import Assignment
from memotr.training.perturb import perturb
from tests.training.builders import layered_output


def a_choice():
    """Five tracks, three births (one of them unmatched) among twelve detection queries."""
    return Assignment(
        track_ids=torch.tensor([1, 2, -1, 4, 5]),
        track_keep=torch.ones(5, dtype=torch.bool),
        disappear_time=torch.zeros(5, dtype=torch.int64),
        track_iou=torch.tensor([0.9, 0.8, 0.0, 0.7, 0.45]),
        births=torch.tensor([3, 7, 9]),
        birth_ids=torch.tensor([6, 7, -1]),
        birth_labels=torch.zeros(3, dtype=torch.int64),
        birth_iou=torch.tensor([0.6, 0.2, 0.0]),
        birth_from_initial=torch.tensor([False, False, True]),
    )


def run(drop, insert, seed=0):
    return perturb(a_choice(), layered_output(12, 5), drop, insert, torch.Generator().manual_seed(seed))


def test_only_what_carries_an_object_goes_on():
    choice = run(drop=0.0, insert=0.0)
    assert choice.track_keep.tolist() == [True, True, False, True, False]
    assert choice.births.tolist() == [3]


def test_everything_can_be_dropped():
    choice = run(drop=1.0, insert=1.0)
    assert not choice.track_keep.any()
    assert len(choice.births) == 0


def test_drop_rate():
    kept = torch.stack([run(drop=0.3, insert=0.0, seed=s).track_keep for s in range(500)]).float().mean(dim=0)
    assert (kept[[0, 1, 3]] - 0.7).abs().max() < 0.07


def test_each_brings_in_the_unmatched_detection_that_overlaps_it_most():
    output, choice = layered_output(12, 5), run(drop=0.0, insert=1.0)
    boxes = cxcywh_to_xyxy(output.boxes)
    unmatched = [q for q in range(12) if q not in (3, 7)]
    hosts = [12, 13, 15, 3]  # the tracks and the birth that go on
    overlaps = {h: [box_iou(boxes[q : q + 1], boxes[h : h + 1])[0].item() for q in unmatched] for h in hosts}
    expected = sorted({unmatched[values.index(max(values))] for values in overlaps.values()})
    assert choice.births.tolist() == [3, *expected]
    assert choice.birth_ids.tolist() == [6] + [-1] * len(expected)
    assert choice.birth_from_initial.tolist() == [False] + [True] * len(expected)


def test_all_detections_where_there_are_not_more():
    choice = Assignment(**{**vars(a_choice()), "births": torch.tensor([0, 1, 3])})
    output = layered_output(5, 5)
    perturbed = perturb(choice, output, 0.0, 1.0, torch.Generator().manual_seed(0))
    assert perturbed.births.tolist() == [0, 2, 3, 4]


def test_strays_may_go_on_and_are_never_inserted_twice():
    choice = perturb(a_choice(), layered_output(12, 5), 1.0, 0.0, torch.Generator().manual_seed(0), keep_strays=True)
    assert choice.track_keep.tolist() == [False, False, True, False, False], "dropped are those that carry an object"
    assert choice.births.tolist() == [9]
    assert choice.birth_ids.tolist() == [-1]
    choice = perturb(a_choice(), layered_output(12, 5), 0.0, 1.0, torch.Generator().manual_seed(0), keep_strays=True)
    births = choice.births.tolist()
    assert births[:2] == [3, 9]
    assert len(set(births)) == len(births) > 2


def test_an_overlap_of_one_half_carries_no_object():
    choice = replace(
        a_choice(), track_iou=torch.tensor([0.5, 0.51, 0.0, 0.7, 0.45]), birth_iou=torch.tensor([0.5, 0.2, 0])
    )
    choice = perturb(choice, layered_output(12, 5), 0.0, 0.0, torch.Generator())
    assert choice.track_keep.tolist() == [False, True, False, True, False]
    assert len(choice.births) == 0


def test_false_positives_have_the_class_of_their_highest_score():
    output = layered_output(12, 5, num_classes=4)
    choice = perturb(a_choice(), output, 0.0, 1.0, torch.Generator().manual_seed(0))
    inserted = choice.births[choice.birth_from_initial]
    assert choice.birth_labels[choice.birth_from_initial].tolist() == output.logits[inserted].argmax(dim=1).tolist()
    assert len(set(choice.birth_labels.tolist())) > 1


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-24])  # the smallest and the largest number that can be drawn
def test_rates_of_0_and_1_are_certain(monkeypatch, drawn):
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), drawn))
    assert run(drop=0.0, insert=0.0).track_keep.tolist() == [True, True, False, True, False]
    assert run(drop=0.0, insert=0.0).births.tolist() == [3]
    assert len(run(drop=0.0, insert=1.0).births) > 1
    assert not run(drop=1.0, insert=1.0).track_keep.any()
