"""Every metric equals TrackEval's own run of the same files, on generated data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from memotr.metrics.fields import SUMS, combine, summary
from tests.evaluation.generated import Row, scene, write_rows, write_sequence, write_split
from tests.evaluation.trackeval_run import assert_equal, run_mot

LENGTHS = (40, 43, 46)


@pytest.mark.parametrize("benchmark", ["MOT16", "MOT17", "MOT20"])
def test_equal_to_trackeval(tmp_path: Path, benchmark: str) -> None:
    names = [f"{benchmark}-{number:02d}" for number in (2, 4, 5)]
    gt, results = write_split(tmp_path, names)
    theirs = run_mot(gt, results, dict(zip(names, LENGTHS, strict=True)), benchmark)
    scores = evaluate(gt, results)
    assert_equal(scores.classes["pedestrian"], theirs)
    assert scores.combined["HOTA"] == pytest.approx(np.mean(theirs["COMBINED_SEQ"]["HOTA"]["HOTA"]), abs=1e-12)
    assert 0.2 < scores.combined["HOTA"] < 0.8  # neither trivial nor hopeless
    assert scores.combined["IDSW"] > 10


def test_the_distractors_of_mot20_are_others_than_those_of_mot17(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ["a"])
    counts = {
        rules: evaluate(load_ground_truth(gt, format=rules), results).combined["Dets"] for rules in ("mot17", "mot20")
    }
    assert counts["mot20"] < counts["mot17"]


def test_mot15_has_no_classes_and_no_distractors(tmp_path: Path) -> None:
    names = ["TUD-Campus", "Venice-2", "KITTI-13"]
    gt, results = write_split(tmp_path, names)
    theirs = run_mot(gt, results, dict(zip(names, LENGTHS, strict=True)), "MOT15")
    assert_equal(evaluate(load_ground_truth(gt, format="mot15"), results).mean, theirs)


def test_ten_columns_are_mot15(tmp_path: Path) -> None:
    truth, found = scene(1)
    write_sequence(tmp_path / "gt" / "PETS09-S2L1", [[*row[:7], 3.5, -1.25, 0] for row in truth], 40)
    write_rows(tmp_path / "results" / "PETS09-S2L1.txt", found)
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", {"PETS09-S2L1": 40}, "MOT15")
    assert_equal(evaluate(tmp_path / "gt", tmp_path / "results").classes["object"], theirs)


def test_data_of_one_class_is_scored_as_dancetrack_is(tmp_path: Path) -> None:
    """DanceTrack and SportsMOT are scored with TrackEval's rules for MOT17; all their rows are of class 1."""
    names = ["dancetrack0004", "v_abc_c001"]
    for seed, name in enumerate(names):
        truth, found = scene(seed)
        write_sequence(tmp_path / "gt" / name, [[*row[:6], 1, 1, 1] for row in truth], 40)
        write_rows(tmp_path / "results" / f"{name}.txt", found)
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", dict.fromkeys(names, 40), "MOT17")
    assert_equal(evaluate(tmp_path / "gt", tmp_path / "results").mean, theirs)


def test_sequences_in_which_one_side_is_empty(tmp_path: Path) -> None:
    truth, found = scene(3)
    names = {"MOT17-02": (truth, found), "MOT17-04": (truth, []), "MOT17-05": ([], found), "MOT17-09": ([], [])}
    for name, (there, seen) in names.items():
        write_sequence(tmp_path / "gt" / name, there, 40)
        write_rows(tmp_path / "results" / f"{name}.txt", seen)
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", dict.fromkeys(names, 40), "MOT17")
    scores = evaluate(tmp_path / "gt", tmp_path / "results")
    assert_equal(scores.mean, theirs)
    no_rows = "no rows: no frame has an object"
    assert scores.notes == (
        *(f"{tmp_path}/gt/{name}/gt/gt.txt: {no_rows}" for name in ("MOT17-05", "MOT17-09")),
        "empty result files: MOT17-04, MOT17-09",
    )


@pytest.mark.parametrize("columns", [(-1, -1, -1), (1, 1)])
def test_the_integer_part_of_a_mark_counts(tmp_path: Path, columns: tuple[int, ...]) -> None:
    truth, found = scene(9)
    marks = (0.6082, 1.7, -0.3, 2, -1, 0)
    truth = [[*row[:6], marks[k % len(marks)], *columns] for k, row in enumerate(truth)]
    write_sequence(tmp_path / "gt" / "a", truth, 40)
    write_rows(tmp_path / "results" / "a.txt", found)
    scores = evaluate(tmp_path / "gt", tmp_path / "results")
    assert_equal(scores.mean, run_mot(tmp_path / "gt", tmp_path / "results", {"a": 40}, "MOT15"))
    lost = sum(row[6] in (0.6082, -0.3, 0) for row in truth)
    assert scores.combined["GT_Dets"] == len(truth) - lost
    note = f"{lost} of {len(truth)} rows do not count: the integer part of their mark (column 7) is 0"
    assert scores.notes == (f"{tmp_path}/gt/a/gt/gt.txt: {note}",)


def test_rows_that_do_not_count_may_have_the_id_minus_one(tmp_path: Path) -> None:
    truth, found = scene(10)
    truth += [[frame, -1, 20, 20, 60, 80, 0, 1, 1] for frame in range(1, 41)]
    truth += [[frame, -2, 90, 20, 60, 80, 0, 12, 1] for frame in range(1, 41)]  # a distractor
    write_sequence(tmp_path / "gt" / "MOT17-02", truth, 40)
    write_rows(tmp_path / "results" / "MOT17-02.txt", found)
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", {"MOT17-02": 40}, "MOT17")
    assert_equal(evaluate(tmp_path / "gt", tmp_path / "results").mean, theirs)


def test_boxes_without_area(tmp_path: Path) -> None:
    truth, found = scene(4)
    flat = [
        [frame, 900 + frame % 3, 50, 50, *size, 1, -1, -1, -1] for frame, size in enumerate([(0, 9), (5, -4)] * 9, 1)
    ]
    points = [[frame, 70, 50, 50, 0, 0, 1, 1, 1] for frame in range(1, 19)]
    write_sequence(tmp_path / "gt" / "MOT17-02", [*truth, *points], 40)
    write_rows(tmp_path / "results" / "MOT17-02.txt", [*found, *flat])
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", {"MOT17-02": 40}, "MOT17")
    assert_equal(evaluate(tmp_path / "gt", tmp_path / "results").mean, theirs)


def test_ids_count_from_nought(tmp_path: Path) -> None:
    truth, found = scene(5)
    for rows in (truth, found):
        low = min(row[1] for row in rows)
        rows[:] = [[row[0], row[1] - low, *row[2:]] for row in rows]
    write_sequence(tmp_path / "gt" / "MOT17-02", truth, 40)
    write_rows(tmp_path / "results" / "MOT17-02.txt", found)
    theirs = run_mot(tmp_path / "gt", tmp_path / "results", {"MOT17-02": 40}, "MOT17")
    assert_equal(evaluate(tmp_path / "gt", tmp_path / "results").mean, theirs)


@pytest.mark.parametrize("renumbered", [False, True])
@pytest.mark.parametrize("length", [40, 41])
def test_the_second_half(tmp_path: Path, length: int, renumbered: bool) -> None:
    """Against TrackEval on files cut to the second half and numbered from 1, as CenterTrack and ByteTrack make them."""
    truth, found = scene(6, length)
    cut = length // 2 + 1
    later = {"truth": [], "found": []}
    for name, rows in (("truth", truth), ("found", found)):
        later[name] = [[row[0] - cut, *row[1:]] for row in rows if row[0] > cut]
    write_sequence(tmp_path / "cut" / "MOT17-02", later["truth"], length - cut)
    write_rows(tmp_path / "from1" / "MOT17-02.txt", later["found"])
    theirs = run_mot(tmp_path / "cut", tmp_path / "from1", {"MOT17-02": length - cut}, "MOT17")
    write_sequence(tmp_path / "whole" / "MOT17-02", truth, length)
    write_rows(tmp_path / "results" / "MOT17-02.txt", [row for row in found if row[0] > cut])
    half = load_ground_truth(tmp_path / "whole", half=True)
    scores = evaluate(half, tmp_path / ("from1" if renumbered else "results"))
    assert_equal(scores.mean, theirs)
    assert bool(scores.notes) == renumbered


def test_classes_of_ones_own(tmp_path: Path) -> None:
    """Each class as if it were alone; their mean and their pool as TrackEval takes them."""
    truth, found = scene(7)
    truth = [[*row[:7], row[1] % 3 + 4, 1] for row in truth]
    found = [[*row[:7], row[1] % 3 + 4] for row in found]
    write_sequence(tmp_path / "gt" / "a", truth, 40)
    write_rows(tmp_path / "results" / "a.txt", found)
    (tmp_path / "gt" / "dataset.yaml").write_text("classes: {4: cat, 5: dog, 6: cow}")
    scores = evaluate(tmp_path / "gt", tmp_path / "results")
    assert list(scores.classes) == ["cat", "dog", "cow"]
    for number, name in enumerate(scores.classes, start=4):
        alone = tmp_path / name
        write_sequence(alone / "gt" / "a", [[*row[:7], 1, 1] for row in truth if row[7] == number], 40)
        write_rows(alone / "results" / "a.txt", [row[:7] for row in found if row[7] == number])
        theirs = run_mot(alone / "gt", alone / "results", {"a": 40}, "MOT17")
        assert_equal(scores.classes[name], theirs)
    each = [one.combined for one in scores.classes.values()]
    assert scores.combined["HOTA"] == pytest.approx(np.mean([one["HOTA"] for one in each]))
    assert scores.combined["CLR_FP"] == sum(one["CLR_FP"] for one in each)
    found_true = sum(one["CLR_TP"] for one in each)
    assert scores.pooled.combined["CLR_Re"] == pytest.approx(found_true / scores.combined["GT_Dets"])


def test_classes_that_the_results_do_not_name(tmp_path: Path) -> None:
    truth, found = scene(8)
    write_sequence(tmp_path / "gt" / "a", truth, 40)
    write_rows(tmp_path / "results" / "a.txt", found)
    scores = evaluate(tmp_path / "gt", tmp_path / "results")
    assert list(scores.classes) == ["object"]
    assert scores.notes == ("results have no classes (column 8): the 6 classes are scored as one",)
    assert_equal(scores.mean, run_mot(tmp_path / "gt", tmp_path / "results", {"a": 40}, "MOT15"))


@pytest.mark.parametrize("first", [0, 1])
def test_results_of_the_first_class_only(tmp_path: Path, first: int) -> None:
    """A class 0 is a class where the ground truth has one."""
    truth = [
        [frame, k, 10 + 60 * k + frame, 20, 40, 60, 1, first + k % 2, 1] for frame in range(1, 5) for k in range(4)
    ]
    write_sequence(tmp_path / "gt" / "a", truth, 4)
    write_rows(tmp_path / "results" / "a.txt", [[*row[:7], first, -1, -1] for row in truth])
    scores = evaluate(tmp_path / "gt", tmp_path / "results")
    assert scores.notes == ()
    hota = {name: round(of.combined["HOTA"], 3) for name, of in scores.classes.items()}
    assert hota == {f"class {first}": 0.707, f"class {first + 1}": 0}
    assert scores.combined["HOTA"] == pytest.approx(np.sqrt(0.5) / 2)


def test_boxes_and_ids_that_seem_to_have_another_meaning_are_noted(tmp_path: Path) -> None:
    truth, found = scene(12)

    def corners(rows: list[Row]) -> list[Row]:
        return [[*row[:4], row[2] + row[4], row[3] + row[5], *row[6:]] for row in rows]

    fractions = [[*row[:2], *(value / 1000 for value in row[2:6]), *row[6:]] for row in found]
    numbers = [[row[0], k, *row[2:]] for k, row in enumerate(found)]
    pairs = {"a": (truth, corners(found)), "b": (truth, fractions), "c": (truth, found), "d": (truth, numbers)}
    for name, (there, seen) in (pairs | {"e": (corners(truth), found), "f": (truth, [])}).items():
        write_sequence(tmp_path / "gt" / name, there, 40)
        write_rows(tmp_path / "results" / f"{name}.txt", seen)
    assert evaluate(load_ground_truth(tmp_path / "gt", format="mot17"), tmp_path / "results").notes == (
        "empty result files: f",
        "results with boxes that are probably corners, not left, top, width, height: a",
        "results with boxes that are probably fractions of the image, not pixels: b",
        "results with ids that occur in one frame each, and probably number boxes, not tracks: d",
        "ground truth with boxes that are probably corners, not left, top, width, height: e",
    )


def test_processes_change_nothing(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ["MOT17-02", "MOT17-04", "MOT17-05"], frames=6)
    told: list[tuple[str, int]] = []
    one, two = evaluate(gt, results), evaluate(gt, results, workers=2, progress=lambda *each: told.append(each))
    assert list(two.sequences) == list(one.sequences) == ["MOT17-02", "MOT17-04", "MOT17-05"]
    assert two.sequences == one.sequences
    assert two.combined == one.combined
    assert sorted(told) == [(name, 3) for name in one.sequences]


def test_no_workers(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ["MOT17-02"], frames=3)
    with pytest.raises(UserError, match="0 workers"):
        evaluate(gt, results, workers=0)


def test_stored_sums_suffice_to_combine_sequences(tmp_path: Path) -> None:
    gt, results = write_split(tmp_path, ["MOT17-02", "MOT17-04"], frames=8)
    scores = evaluate(gt, results).mean
    stored = [{field: fields[field] for field in SUMS} for fields in scores.fields.values()]
    assert summary(combine(stored)) == scores.combined
