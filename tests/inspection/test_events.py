"""Events made of boxes, on cases small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.inspection.box_errors import match_boxes
from memotr.inspection.events import SequenceErrors, find_errors

Box = tuple[float, float, float, float]
LEFT, RIGHT, FAR = (0.0, 0.0, 40.0, 80.0), (100.0, 0.0, 140.0, 80.0), (300.0, 300.0, 340.0, 380.0)


def table(rows: list[tuple[int, int, Box]], labels: list[int] | None = None) -> VideoBoxes:
    """Rows of frame, id, box."""
    rows = sorted(rows, key=lambda row: row[0])
    return VideoBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array(labels or [0] * len(rows), np.int64),
        np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        np.zeros(len(rows), np.bool_),
    )


def errors(objects: VideoBoxes, found: VideoBoxes, num_classes: int = 1, frames: int = 10) -> SequenceErrors:
    nothing = np.zeros(len(objects), np.bool_)
    truth = SequenceTruth("a", range(1, frames + 1), objects, nothing, VideoBoxes.empty(), frames)
    return find_errors(match_boxes(truth, found, num_classes))


def standing(box: Box, ids: Mapping[int, int]) -> list[tuple[int, int, Box]]:
    """A box in the same place, of some id in each frame."""
    return [(frame, number, box) for frame, number in ids.items()]


def one_object() -> list[tuple[int, int, Box]]:
    return standing(LEFT, dict.fromkeys(range(10), 1))


def test_a_new_id_after_a_gap() -> None:
    found = errors(table(one_object()), table(standing(LEFT, {0: 7, 1: 7, 2: 7, 5: 8, 6: 8, 7: 8, 8: 8, 9: 8})))
    (switch,) = found.switches
    assert (switch.id, switch.old, switch.new, switch.other) == (1, 7, 8, None)
    assert (switch.first, switch.last, switch.gap) == (2, 5, 2)
    assert (switch.before, switch.after, switch.cost) == (3, 5, 3)
    assert switch.reason == "new id"
    (miss,) = found.misses
    assert (miss.id, miss.first, miss.last, miss.cost) == (1, 3, 4, 2)
    assert not found.false_runs
    assert (found.missed, found.false, found.wrong_id, found.lost) == (2, 0, 3, 5)


def test_back_to_an_id_and_costs_between_switches() -> None:
    found = errors(table(one_object()), table(standing(LEFT, dict(enumerate([7] * 4 + [8] * 2 + [7] * 4)))))
    first, second = found.switches
    assert (first.last, first.reason, first.before, first.after) == (4, "new id", 4, 2)
    assert (second.last, second.reason, second.before, second.after) == (6, "returned to an earlier id", 2, 4)
    assert found.wrong_id == 2


def test_two_objects_swap_ids() -> None:
    objects = one_object() + standing(RIGHT, dict.fromkeys(range(10), 2))
    halves = dict(enumerate([7] * 5 + [8] * 5)), dict(enumerate([8] * 5 + [7] * 5))
    found = errors(table(objects), table(standing(LEFT, halves[0]) + standing(RIGHT, halves[1])))
    assert [(s.id, s.old, s.new, s.other) for s in found.switches] == [(1, 7, 8, 2), (2, 8, 7, 1)]
    assert {s.reason for s in found.switches} == {"two objects swapped ids"}


def test_an_id_taken_from_an_object_that_left() -> None:
    objects = one_object() + standing(RIGHT, dict.fromkeys(range(3), 2))
    found = errors(
        table(objects),
        table(standing(LEFT, dict(enumerate([7] * 5 + [8] * 5))) + standing(RIGHT, dict.fromkeys(range(3), 8))),
    )
    (switch,) = found.switches
    assert (switch.reason, switch.other) == ("took over another object's id", 2)


def test_false_runs_end_where_the_track_finds_something() -> None:
    found = errors(
        table(one_object()), table(standing(FAR, {0: 7, 1: 7}) + standing(LEFT, {2: 7, 3: 7}) + [(7, 7, FAR)])
    )
    assert [(run.first, run.last, run.cost, run.id) for run in found.false_runs] == [(0, 1, 2, 7), (7, 7, 1, 7)]
    assert {run.reason for run in found.false_runs} == {"nothing annotated there"}
    assert [(miss.first, miss.last, miss.cost) for miss in found.misses] == [(4, 9, 6), (0, 1, 2)]


def test_causes_of_misses() -> None:
    in_front = (10.0, 0.0, 50.0, 90.0)  # covers three quarters of LEFT, IoU below a half with a box at OFF
    off = (0.0, 40.0, 40.0, 120.0)  # a third of an overlap with LEFT
    small = (0.0, 0.0, 10.0, 20.0)
    cases = {
        "not found": ([(0, 1, LEFT)], []),
        "small": ([(0, 1, small)], []),
        "at least half occluded": ([(0, 1, LEFT), (0, 2, in_front)], [(0, 5, (40.0, 0.0, 60.0, 90.0))]),
        "inaccurate box": ([(0, 1, LEFT)], [(0, 5, off)]),
        "one box for two objects": ([(0, 1, LEFT), (0, 2, (2.0, 0.0, 42.0, 80.0))], [(0, 5, (2.0, 0.0, 42.0, 80.0))]),
    }
    for reason, (objects, predictions) in cases.items():
        found = errors(table(objects), table(predictions), frames=1)
        assert found.misses[0].id == 1
        assert found.misses[0].reason == reason


def test_causes_of_false_positives() -> None:
    found = errors(table([(0, 1, LEFT)]), table([(0, 5, LEFT), (0, 6, (1.0, 0.0, 41.0, 80.0))]), frames=1)
    assert [(run.id, run.reason) for run in found.false_runs] == [(6, "second box on an object")]
    found = errors(table([(0, 1, LEFT)]), table([(0, 5, LEFT)], labels=[1]), num_classes=2, frames=1)
    assert [(run.label, run.reason) for run in found.false_runs] == [(1, "object of another class")]
    assert [(miss.label, miss.reason) for miss in found.misses] == [(0, "predicted as another class")]


def test_the_costliest_come_first() -> None:
    found = errors(table(one_object()), table(standing(FAR, {4: 7}) + standing(RIGHT, {1: 9, 2: 9, 3: 9})))
    assert [run.cost for run in found.false_runs] == [3, 1]
    assert [(miss.first, miss.cost) for miss in found.misses] == [(0, 10)]


def test_timeline_of_an_object_lists_its_matched_ids() -> None:
    found = errors(table(one_object()), table(standing(LEFT, {1: 7, 2: 7, 3: 8})))
    (track,) = found.tracks
    assert track.matched_ids.tolist() == [-1, 7, 7, 8, -1, -1, -1, -1, -1, -1]
    assert np.flatnonzero(track.switched).tolist() == [3]
    assert (track.missed, track.wrong_id) == (7, 1)
