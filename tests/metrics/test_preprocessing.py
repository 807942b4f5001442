"""Which predictions are taken out of the game, on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np

from memotr.data.truth import SequenceTruth, VideoBoxes
from memotr.metrics.preprocessing import MetricInput, metric_inputs

Box = tuple[int, int, tuple[float, float, float, float]]  # frame, id, xyxy


def boxes(rows: list[Box], ignore: list[bool] | None = None) -> VideoBoxes:
    n = len(rows)
    return VideoBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.zeros(n, np.int64),
        np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        np.zeros(n, np.bool_) if ignore is None else np.array(ignore, np.bool_),
    )


def single(
    objects: list[Box], found: list[Box], distractors: list[bool], regions: list[Box] | None = None, frames: int = 1
) -> MetricInput:
    """Distractors are not scored; everything else is."""
    areas = boxes(regions or [], [True] * len(regions or []))
    truth = SequenceTruth(
        "a", range(1, frames + 1), boxes(objects, distractors), np.array(distractors, np.bool_), areas, frames
    )
    (data,) = metric_inputs(truth, boxes(found), 1)
    return data


PERSON = (0.0, 0.0, 10.0, 20.0)
HALF_OFF = (0.0, 10.0, 10.0, 30.0)  # overlaps PERSON by a third
AT_STATUE = (100.0, 0.0, 110.0, 20.0)


def test_a_prediction_at_a_distractor_is_gone() -> None:
    data = single([(0, 1, PERSON), (0, 2, AT_STATUE)], [(0, 7, PERSON), (0, 8, AT_STATUE)], [False, True])
    assert (data["num_gt_dets"], data["num_tracker_dets"], data["num_tracker_ids"]) == (1, 1, 1)
    np.testing.assert_array_equal(data["similarity_scores"][0], [[1.0]])


def test_less_than_half_an_overlap_is_no_match_with_a_distractor() -> None:
    assert single([(0, 2, HALF_OFF)], [(0, 7, PERSON)], [True])["num_tracker_dets"] == 1
    exactly_half = (0.0, 0.0, 10.0, 10.0)
    assert single([(0, 2, exactly_half)], [(0, 7, PERSON)], [True])["num_tracker_dets"] == 0


def test_objects_and_distractors_compete_for_predictions() -> None:
    """The prediction overlaps both by half or more; the Hungarian method gives it to the better one."""
    nearer, farther = (0.0, 1.0, 10.0, 21.0), (0.0, 5.0, 10.0, 25.0)
    assert single([(0, 1, nearer), (0, 2, farther)], [(0, 7, PERSON)], [False, True])["num_tracker_dets"] == 1
    assert single([(0, 1, farther), (0, 2, nearer)], [(0, 7, PERSON)], [False, True])["num_tracker_dets"] == 0
    # With a second prediction that only the object can have, the first is left to the distractor.
    rival = (0.0, 0.5, 10.0, 20.5)
    data = single([(0, 1, nearer), (0, 2, farther)], [(0, 7, PERSON), (0, 8, rival)], [False, True])
    assert data["num_tracker_dets"] == 1


def test_unscored_objects_are_removed_but_their_predictions_stay() -> None:
    truth = SequenceTruth(
        "a",
        range(1, 2),
        boxes([(0, 1, PERSON), (0, 2, AT_STATUE)], [False, True]),
        np.zeros(2, np.bool_),
        VideoBoxes.empty(),
        1,
    )
    (data,) = metric_inputs(truth, boxes([(0, 7, AT_STATUE)]), 1)
    assert (data["num_gt_dets"], data["num_tracker_dets"]) == (1, 1)


def test_ids_are_numbered_without_gaps_over_all_frames() -> None:
    data = single(
        [(0, 30, PERSON), (2, 10, PERSON), (2, 30, AT_STATUE)],
        [(2, 500, PERSON), (2, 20, AT_STATUE)],
        [False] * 3,
        frames=4,
    )
    assert [ids.tolist() for ids in data["gt_ids"]] == [[1], [0, 1]]
    assert [ids.tolist() for ids in data["tracker_ids"]] == [[], [1, 0]]
    assert [matrix.shape for matrix in data["similarity_scores"]] == [(1, 0), (2, 2)]
    assert data["num_timesteps"] == 4


def test_predictions_in_ignore_regions_are_gone_unless_they_match() -> None:
    crowd = [(0, 90, (0.0, 0.0, 50.0, 50.0))]
    inside, at_edge, over_edge = (20.0, 20.0, 30.0, 30.0), (45.0, 0.0, 55.0, 10.0), (44.0, 0.0, 54.0, 10.0)
    found = [(0, 1, PERSON), (0, 2, inside), (0, 3, at_edge), (0, 4, over_edge), (0, 5, AT_STATUE)]
    data = single([(0, 1, PERSON)], found, [False], crowd)
    # Kept: the one that matches, the one with exactly half of its area inside, the one outside.
    assert data["tracker_ids"][0].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data["similarity_scores"][0], [[1.0, 0.0, 0.0]])


def test_a_match_in_an_ignore_region_is_with_an_object_of_the_class() -> None:
    region = boxes([(0, 90, (0.0, 0.0, 50.0, 50.0))], [True])
    truth = SequenceTruth("a", range(1, 2), boxes([(0, 1, PERSON)]), np.zeros(1, np.bool_), region, 1)
    found = boxes([(0, 7, PERSON), (0, 8, PERSON)])
    found.labels[1] = 1
    person, car = metric_inputs(truth, found, 2)
    assert (person["num_tracker_dets"], car["num_tracker_dets"]) == (1, 0)
