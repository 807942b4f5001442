"""Finding and reading ground truth: layouts, splits, seqmaps, and what is said where something is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from memotr.data.truth import second_half
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from tests.data import layouts
from tests.evaluation.generated import write_rows, write_sequence

ROW = (1, 1, 10, 10, 20, 40, 1, 1, 1)


def sequence(folder: Path, length: int = 4, rows: list[tuple[float, ...]] | None = None) -> Path:
    return write_sequence(folder, [ROW] if rows is None else rows, length)


@pytest.fixture
def dancetrack(tmp_path: Path) -> Path:
    """Two splits with ground truth and one without; the seqmap of val leaves one of its three sequences out."""
    root = tmp_path / "DanceTrack"
    for split, names in {"train": ["d1"], "val": ["d4", "d5", "d6"]}.items():
        for name in names:
            sequence(root / split / name)
    shutil.copytree(root / "train" / "d1", root / "test" / "d3")
    shutil.rmtree(root / "test" / "d3" / "gt")
    (root / "val_seqmap.txt").write_text("name\nd6\nd4\n\n")
    return root


def test_a_split_and_its_seqmap(dancetrack: Path) -> None:
    assert load_ground_truth(dancetrack, split="val").names == ("d4", "d6")
    assert load_ground_truth(dancetrack, split="train").names == ("d1",)
    assert load_ground_truth(dancetrack / "val").names == ("d4", "d6")
    assert load_ground_truth(dancetrack / "val", split="val").names == ("d4", "d5", "d6")
    assert load_ground_truth(dancetrack / "val" / "d5").names == ("d5",)
    assert load_ground_truth(dancetrack / "val" / "d5" / "gt" / "gt.txt").names == ("d5",)


def test_the_folder_one_is_in(dancetrack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dancetrack / "val" / "d5")
    assert load_ground_truth(Path()).names == ("d5",)


def test_mot17_keeps_its_splits_under_images(tmp_path: Path) -> None:
    for name in ("MOT17-02-SDP", "MOT17-02-DPM"):
        sequence(tmp_path / "images" / "train" / name)
    assert load_ground_truth(tmp_path, split="train").names == ("MOT17-02-DPM", "MOT17-02-SDP")
    assert load_ground_truth(tmp_path, split="train", only=["*-SDP"]).names == ("MOT17-02-SDP",)


def test_the_half_as_a_split(dancetrack: Path) -> None:
    """Named as where training data is chosen."""
    for path in (dancetrack, dancetrack / "train"):
        (truth,) = load_ground_truth(path, split="val_half").sequences
        assert (truth.name, list(truth.frames), truth.length) == ("d1", [4], 4)


def test_flat_layouts(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_rows(tmp_path / "one folder" / f"{name}.txt", [ROW])
        write_rows(tmp_path / "folders" / name / "gt.txt", [ROW])
    (tmp_path / "one folder" / "val_seqmap.txt").write_text("name\na\n")
    for folder in ("one folder", "folders"):
        truth = load_ground_truth(tmp_path / folder)
        assert truth.names == ("a", "b")
        assert [len(each.objects) for each in truth.sequences] == [1, 1]


def test_a_seqmap_chooses(dancetrack: Path, tmp_path: Path) -> None:
    seqmap = tmp_path / "mine.txt"
    for text in ("name\nd5\n", "d5\n", "name\nd5,0,100\n\n"):
        seqmap.write_text(text)
        assert load_ground_truth(dancetrack / "val", seqmap=seqmap).names == ("d5",)


def test_the_length_of_a_sequence(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", length=9)
    assert load_ground_truth(folder).sequences[0].length == 9
    (folder / "seqinfo.ini").unlink()
    assert load_ground_truth(folder).sequences[0].length == 1  # the last frame of the ground truth
    (folder / "img1").mkdir()
    for number in range(1, 4):
        (folder / "img1" / f"{number:06d}.jpg").touch()
    assert load_ground_truth(folder).sequences[0].length == 3
    for text, length in (("seqLength=4.0", 4), ("name=a", 3), ("seqLength=", 3), ("imDir=elsewhere", 1)):
        (folder / "seqinfo.ini").write_text(f"[Sequence]\n{text}\n")
        assert load_ground_truth(folder).sequences[0].length == length, text


def test_the_second_half_is_centertracks() -> None:
    assert [len(second_half(length)) for length in (600, 1050, 837, 525, 654, 900, 750)] == [
        299, 524, 418, 262, 326, 449, 374,
    ]  # fmt: skip
    assert list(second_half(6)) == [5, 6]


def test_marks_classes_and_distractors(tmp_path: Path) -> None:
    rows = [
        (1, k, 0, 0, 9, 9, mark, kind, 1) for k, (mark, kind) in enumerate([(1, 1), (0, 1), (1, 3), (1, 7), (1, 6)])
    ]
    sequence(tmp_path / "MOT17-02", rows=rows)
    (truth,) = load_ground_truth(tmp_path).sequences
    assert truth.objects.ignore.tolist() == [False, True, True, True, True]
    assert truth.distractors.tolist() == [False, False, False, True, False]
    (truth,) = load_ground_truth(tmp_path, format="mot20").sequences
    assert truth.distractors.tolist() == [False, False, False, True, True]
    (truth,) = load_ground_truth(tmp_path, format="mot15").sequences
    assert truth.objects.ignore.tolist() == [False, True, False, False, False]
    assert not truth.distractors.any()


def test_a_split_that_counts_from_0(tmp_path: Path) -> None:
    """One row of frame 0 in it says so for all its sequences, whichever of them are scored."""
    sequence(tmp_path / "a", rows=[(frame, 1, frame, 0, 9, 9, 1, 1, 1) for frame in (0, 3)])
    sequence(tmp_path / "b", rows=[(frame, 1, frame, 0, 9, 9, 1, 1, 1) for frame in (1, 2)])
    for truth in (*load_ground_truth(tmp_path).sequences, *load_ground_truth(tmp_path, only=["b"]).sequences):
        assert list(truth.frames) == [1, 2, 3, 4]
        assert truth.objects.frames.tolist() == truth.objects.boxes[:, 0].tolist()
    note = f"{tmp_path}/a/gt/gt.txt: has frame 0: frames are numbered from 0 in the whole split, and from 1 in results"
    assert load_ground_truth(tmp_path, only=["b"]).notes == (note,)
    (tmp_path / "a" / "seqinfo.ini").unlink()
    assert load_ground_truth(tmp_path).sequences[0].length == 4  # the last annotated frame is 3


def test_classes_are_named_by_dataset_yaml(tmp_path: Path) -> None:
    """Others are not scored where numbers are named one by one, and an error where a list names them all."""
    sequence(tmp_path / "a", rows=[(1, k, 0, 0, 9, 9, 1, kind, 1) for k, kind in enumerate([1, 2, 3])])
    assert load_ground_truth(tmp_path).classes == ("class 1", "class 2", "class 3")
    (tmp_path / "dataset.yaml").write_text("classes: [cat, dog]")
    refused("gt.txt:3: class 3 has no name; the classes are cat, dog", tmp_path)
    (tmp_path / "dataset.yaml").write_text("classes: {1: cat, 2: dog}")
    truth = load_ground_truth(tmp_path)
    assert truth.classes == ("cat", "dog")
    assert truth.sequences[0].objects.ignore.tolist() == [False, False, True]


def refused(message: str, path: Path, **options: object) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_ground_truth(path, **options)
    assert "\n" not in str(error.value)


def test_classes_of_dataset_yaml_that_mot_text_cannot_have_are_named(tmp_path: Path) -> None:
    sequence(tmp_path / "a", rows=[(1, 1, 0, 0, 9, 9, 1, 1, 1)])
    (tmp_path / "dataset.yaml").write_text("classes: {person: person}")
    refused("dataset.yaml: classes: 'person' is not a number", tmp_path)
    (tmp_path / "dataset.yaml").write_text('classes: {"1": person, 2: car}')
    assert load_ground_truth(tmp_path).numbers == {1: 0, 2: 1}


def test_missing_splits_sequences_and_files_are_refused(dancetrack: Path, tmp_path: Path) -> None:
    refused("nothing: no such file or folder", tmp_path / "nothing")
    refused("has the splits test, train, val; choose one with --split", dancetrack)
    refused(
        "no split 'valid'; use one of test, train, val, or train_half or val_half of train", dancetrack, split="valid"
    )
    refused("no split 'val'; use one of all, or train_half or val_half of train", dancetrack / "train", split="val")
    refused("no sequence is named x\\*; available are d4, d6", dancetrack / "val", only=["x*"])
    refused(r"test: no ground truth for this split", dancetrack, split="test")
    shutil.rmtree(dancetrack / "val" / "d4" / "gt")
    (dancetrack / "val_seqmap.txt").unlink()
    refused(r"no gt/gt.txt for 1 of 3 sequences \(d4\); copy these files", dancetrack / "val")
    assert load_ground_truth(dancetrack / "val", only=["d5", "d6"]).names == ("d5", "d6")


def test_bad_seqmaps(dancetrack: Path, tmp_path: Path) -> None:
    seqmap = tmp_path / "mine.txt"
    refused("cannot read .*mine.txt", dancetrack / "val", seqmap=seqmap)
    seqmap.write_text("name\n")
    refused("no sequence names", dancetrack / "val", seqmap=seqmap)
    seqmap.write_text("videos\nd4\n")  # a heading only if it says so: it might be a name that is mistyped
    refused(
        "mine.txt:1: sequence videos is not in .*/val: copy it there, or remove this line",
        dancetrack / "val",
        seqmap=seqmap,
    )
    seqmap.write_text("name\nd4\nd9\n")
    refused("mine.txt:3: sequence d9 is not in", dancetrack / "val", seqmap=seqmap)


def test_bad_ground_truth(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "MOT17-02", rows=[ROW, (5, 1, 0, 0, 9, 9, 1, 1, 1)])
    refused("gt.txt:2: frame 5 is beyond the sequence of 4 frames", folder)
    sequence(folder, rows=[(-1, 1, 0, 0, 9, 9, 1, 1, 1)])
    refused("gt.txt:1: frame -1: frames are numbered from 1", folder)
    sequence(folder, rows=[(0, 1, 0, 0, 9, 9, 1, 1, 1), (4, 1, 0, 0, 9, 9, 1, 1, 1)])
    refused("gt.txt:2: frame 4 is beyond the sequence of 4 frames, numbered from 0", folder)
    sequence(folder, rows=[(frame, 1, 0, 0, 9, 9, 1, 1, 1) for frame in (60, 63)])
    shifted = "the file numbers frames from 60: number them from 1"
    refused(f"gt.txt:1: frame 60 is beyond the sequence of 4 frames; {shifted}", folder)
    sequence(folder, rows=[ROW, (2, 1, 0, 0, 9, 9, 1, 14, 1)])
    refused(
        r"gt.txt:2: class 14 is not a class of the benchmark \(1 to 13\); for other data, name the classes in", folder
    )
    for number in (1.5, float("inf"), 1e300):
        sequence(folder, rows=[(2, 1, 0, 0, 9, 9, 1, number, 1)])
        refused(f"gt.txt:1: class {re.escape(f'{number:.15g}')} .column 8. is not a whole number", folder)
    sequence(folder, rows=[(2, 1, 0, 0, 9, 9, float("nan"), 1, 1)])
    refused("gt.txt:1: mark nan .column 7. is not a number", folder)
    sequence(folder)
    for text in ("seqLength=3", ""):
        (folder / "seqinfo.ini").write_text(text)
        refused(r"seqinfo.ini: cannot be parsed \(.*\); correct it, or remove it", folder)
    for text in ("many", "0", "4.5"):
        (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={text}\n")
        refused(f"seqinfo.ini: seqLength={text} is not a number of frames; correct it", folder)


def test_halves_that_cannot_be(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "a", length=1)
    refused("a sequence of 1 frames has no second half", folder, half=True)
    (folder / "seqinfo.ini").unlink()
    refused("--half needs the number of frames", folder, half=True)
    sequence(folder, rows=[])
    (folder / "seqinfo.ini").unlink()
    refused("gt.txt: --half needs the number of frames", folder, half=True)
    refused("gt.txt: has no rows, so the number of frames is unknown; add a seqinfo.ini with seqLength", folder)


def test_a_seqmap_is_ignored_in_formats_without_seqmaps(tmp_path: Path) -> None:
    """One that is asked for is."""
    layouts.write_coco_video(tmp_path)
    seqmap = tmp_path / "val_seqmap.txt"
    seqmap.write_text("name\nclip0001\n")
    assert load_ground_truth(tmp_path, split="val").names == ("clip0001", "clip0002")
    with pytest.raises(UserError, match="the format coco-video does not support 'seqmap'"):
        load_ground_truth(tmp_path, split="val", seqmap=seqmap)
