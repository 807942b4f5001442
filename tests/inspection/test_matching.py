"""The events on the page of errors are those that CLEAR counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from memotr.evaluation.ground_truth import GroundTruth, load_ground_truth
from memotr.evaluation.scoring import read_results
from memotr.inspection.box_errors import match_boxes
from memotr.inspection.events import SequenceErrors, find_errors
from memotr.metrics.fields import score
from memotr.metrics.preprocessing import metric_inputs
from tests.data.real_data import real
from tests.evaluation.generated import write_split


def assert_clears_counts(truth: GroundTruth, results: Path) -> list[SequenceErrors]:
    """The events of every sequence and class are as many as CLEAR counts."""
    found = read_results(results, truth)
    every = []
    for sequence in found.truth.sequences:
        boxes, classes = found.boxes[sequence.name], found.truth.classes
        errors = find_errors(match_boxes(sequence, boxes, len(classes)))
        missed, false, switches = Counter[int](), Counter[int](), Counter(event.label for event in errors.switches)
        for miss in errors.misses:
            missed[miss.label] += miss.cost
        for run in errors.false_runs:
            false[run.label] += run.cost
        for c, data in enumerate(metric_inputs(sequence, boxes, len(classes))):
            counted = score(data)
            assert (missed[c], false[c], switches[c]) == (counted["CLR_FN"], counted["CLR_FP"], counted["IDSW"])
        assert (errors.missed, errors.false) == (missed.total(), false.total())
        assert sum(len(track.frames) for track in errors.tracks) == len(errors.matched.objects)
        every.append(errors)
    return every


def test_random_scenes_with_distractors(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ("MOT17-02", "MOT17-04", "MOT20-01"))
    every = assert_clears_counts(load_ground_truth(gt), results)
    assert all(errors.switches and errors.misses and errors.false_runs for errors in every)


def test_nothing_found_and_nothing_there(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ("a",), frames=10)
    truth = load_ground_truth(gt)
    (results / "a.txt").write_text("")
    (errors,) = assert_clears_counts(truth, results)
    assert errors.missed == len(errors.matched.objects) > 0
    (gt / "a" / "gt" / "gt.txt").write_text("")
    write_split(tmp_path / "again", ("a",), frames=10)
    (errors,) = assert_clears_counts(load_ground_truth(gt), tmp_path / "again" / "results")
    assert errors.false == errors.lost == len(errors.matched.predictions) > 0


def test_mot17_validation_half() -> None:
    folder = real("mot17_val_deep_oc_sort")
    results = folder / "trackers_06f3054" / "MOT17-val" / "exp1"
    every = assert_clears_counts(load_ground_truth(folder / "gt" / "MOT17-val"), results)
    assert sum(len(errors.switches) for errors in every) == 190


def test_mot17_whole_sequences() -> None:
    folder = real("mot17_mpntrack")
    gt = folder / "gt" / "mot_challenge" / "MOT17" / "MOT17-09-DPM"
    assert_clears_counts(load_ground_truth(gt), folder / "MPNTrack_FRCNN" / "MOT17-09-FRCNN.txt")


@pytest.mark.parametrize("name", ["TUD-Campus", "TUD-Stadtmitte"])
def test_mot15(name: str) -> None:
    folder = real("mot15_tud") / name
    assert_clears_counts(load_ground_truth(folder), folder / "test.txt")


def test_classes_of_bdd100k() -> None:
    folder = real("bdd100k_sequence")
    (errors,) = assert_clears_counts(
        load_ground_truth(folder / "track_sample_anns.json"), folder / "track_predictions.json"
    )
    assert len({event.label for event in errors.misses}) > 3
    assert errors.reasons()[2]["object of another class"] > 0
