"""VisDrone as it is downloaded: what is trained on, what is scored, and what lies in an ignored region."""

from __future__ import annotations

from pathlib import Path

import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.layouts import recognise
from memotr.data.problems import Problems
from memotr.errors import UserError
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from tests.data.layouts import Scene, write_image, write_text

# frame, id, left, top, width, height, score, category, truncation, occlusion
ROWS = [
    "1,0,0,0,40,96,0,0,0,0",  # an ignored region; several of them have one id
    "1,0,140,0,20,20,0,0,0,0",
    "1,1,50,10,20,30,1,1,0,0",  # a pedestrian
    "2,1,52,10,20,30,1,1,0,1",
    "1,2,90,40,30,20,1,4,0,0",  # a car
    "2,2,92,40,30,20,1,4,0,0",
    "1,3,100,70,10,10,1,3,0,0",  # a bicycle, which the challenge does not score
    "2,4,60,60,10,10,1,11,0,0",  # of no category
    "2,5,20,60,10,10,0,1,0,0",  # a pedestrian that does not count
]


def write(root: Path, rows: list[str] = ROWS) -> Path:
    folder = root / "VisDrone2019-MOT-val"
    for frame in range(2):
        write_image(folder / "sequences" / "uav01" / f"{frame + 1:07d}.jpg", Scene().image(frame))
    write_text(folder / "annotations" / "uav01.txt", rows)
    return folder


def test_boxes_for_training(tmp_path: Path) -> None:
    write(tmp_path)
    assert (recognise(tmp_path).format, list(recognise(tmp_path).splits)) == ("visdrone", ["val"])
    problems = Problems()
    (sequence,) = load_split(DatasetSpec(tmp_path, "val"), problems=problems)
    assert not list(problems)
    assert sequence.classes == ("pedestrian", "car", "van", "truck", "bus")
    assert [frame.ids.tolist() for frame in sequence.boxes or ()] == [[1, 2], [1, 2]]
    assert [frame.labels.tolist() for frame in sequence.boxes or ()] == [[0, 1], [0, 1]]
    (own,) = load_split(DatasetSpec(tmp_path, "val", classes={3: "bicycle"}))
    assert [frame.ids.tolist() for frame in own.boxes or ()] == [[3], []]


def test_boxes_for_scoring(tmp_path: Path) -> None:
    folder = write(tmp_path)
    truth = load_ground_truth(tmp_path, split="val")
    (sequence,) = truth.sequences
    assert truth.classes == ("pedestrian", "car", "van", "truck", "bus")
    assert truth.numbers == {1: 0, 4: 1, 5: 2, 6: 3, 9: 4}
    scored = sequence.objects[~sequence.objects.ignore]
    assert list(zip(scored.frames.tolist(), scored.ids.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert sequence.regions.frames.tolist() == [0, 0, 1]
    found = [row for row in ROWS if row.split(",")[1] in "12"]
    in_region, beside = "1,7,5,5,20,30,0.9,1,-1,-1", "1,8,60,60,20,30,0.9,1,-1,-1"
    for image in (folder / "sequences" / "uav01").iterdir():  # scores need none
        image.unlink()
    bicycle = "1,9,60,60,20,30,0.9,3,-1,-1"  # as the challenge leaves it out
    for extra, false in (([], 0), ([in_region], 0), ([in_region, beside], 1), ([bicycle], 0)):
        write_text(tmp_path / "results" / "uav01.txt", found + extra)
        scores = evaluate(load_ground_truth(folder), tmp_path / "results")
        counts = [scores.combined[name] for name in ("CLR_TP", "CLR_FN", "CLR_FP")]
        assert counts == [4, 0, false]
        left_out = "1 boxes of classes that the benchmark does not score: left out"
        assert scores.notes == ((left_out,) if bicycle in extra else ())
    write_text(tmp_path / "results" / "uav01.txt", ["1,9,60,60,20,30,0.9,0,-1,-1"])  # classes counted from 0
    with pytest.raises(UserError, match=r"uav01.txt:1: class 0 \(column 8\) is not a class of the ground truth"):
        evaluate(load_ground_truth(folder), tmp_path / "results")


def test_a_missing_annotation_file_is_an_error(tmp_path: Path) -> None:
    """Sequences without ground truth were once left out of the scores, without a word."""
    folder = write(tmp_path)
    write_image(folder / "sequences" / "uav02" / "0000001.jpg", Scene().image(0))
    message = r"no ground truth for 1 of 2 sequences \(uav02\); copy these files, or select the other sequences"
    with pytest.raises(UserError, match=message):
        load_ground_truth(tmp_path, split="val")
    with pytest.raises(UserError, match=message):
        load_benchmark(tmp_path, split="val")
    assert load_ground_truth(tmp_path, split="val", only=["uav01"]).names == ("uav01",)


def test_the_same_rows_in_a_gt_txt(tmp_path: Path) -> None:
    """They are recognised by their columns, and scored alike: here with cars that are called pedestrians."""
    write_text(tmp_path / "mot" / "uav01" / "gt" / "gt.txt", ROWS)
    found = [row.replace(",4,0,0", ",1,0,0") for row in ROWS if row.split(",")[1] in "12"]
    write_text(tmp_path / "results" / "uav01.txt", found)
    theirs = evaluate(load_ground_truth(write(tmp_path)), tmp_path / "results")
    scores = evaluate(load_ground_truth(tmp_path / "mot"), tmp_path / "results")
    ours = {
        name: (of.combined["CLR_TP"], of.combined["CLR_FP"], of.combined["HOTA"]) for name, of in scores.classes.items()
    }
    assert ours["pedestrian"] == (2, 2, pytest.approx(0.5**0.5))
    assert ours["car"] == (0, 0, 0)
    assert scores.combined == theirs.combined
    assert len(scores.notes) == 1
    assert "columns 7 to 10 are those of VisDrone" in scores.notes[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,1,0,0,9,9,1,12,0,0", r"uav01\.txt:1: class 12 is not a class of the benchmark \(0 to 11\)"),
        ("1,1,0,0,9,9,1,1.5,0,0", r"uav01\.txt:1: category 1\.5 \(column 8\) is not a whole number"),
        ("1,1,0,0,9,9,1", r"uav01\.txt:1: found 7 columns; VisDrone annotations have 10"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, row: str, message: str) -> None:
    write(tmp_path, [row])
    with pytest.raises(UserError, match=message):
        load_split(DatasetSpec(tmp_path, "val"))
    with pytest.raises(UserError, match=message):
        load_ground_truth(tmp_path, split="val")
