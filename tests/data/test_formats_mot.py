"""Sequences in the MOTChallenge layout: what is found, and that everything wrong is told with file and line."""

from pathlib import Path

import numpy as np
import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.formats.mot_layout import choose_copies
from memotr.data.formats.mot_text import read_truth
from memotr.data.problems import Problems
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from tests.data.layouts import (
    Scene,
    expected_of,
    found_in,
    read_dataset,
    write_dancetrack,
    write_image,
    write_mot17,
    write_motsynth,
    write_sequence,
    write_text,
)
from tests.data.real_data import real


def read(root: Path, split: str | None = None, **options) -> tuple[list[Sequence], Problems]:
    problems = Problems()
    return load_split(DatasetSpec(root, split, **options), problems=problems), problems


def one(root: Path, **options) -> tuple[Sequence, Problems]:
    (sequence,), problems = read(root, **options)
    return sequence, problems


def tall_orders(root: Path, *lines: str) -> Path:
    """A sequence of three frames with this gt.txt."""
    write_sequence(root / "seq", Scene(length=3), ground_truth=False)
    write_text(root / "seq" / "gt" / "gt.txt", list(lines))
    return root / "seq" / "gt" / "gt.txt"


def images_from_0(folder: Path) -> None:
    """Names the images of a sequence that were written with numbers from 1."""
    for file in sorted((folder / "img1").iterdir()):
        file.rename(file.with_stem(f"{int(file.stem) - 1:06d}"))


def test_dancetrack_as_written(tmp_path: Path) -> None:
    scenes = write_dancetrack(tmp_path)
    for split in ("train", "val"):
        sequences = read_dataset(tmp_path / "DanceTrack", split)
        assert [sequence.name for sequence in sequences] == list(scenes[split])
        for sequence in sequences:
            scene = scenes[split][sequence.name]
            assert found_in(sequence) == expected_of(scene)
            folder = tmp_path / "DanceTrack" / split / sequence.name / "img1"
            assert sequence.frames == tuple(folder / f"{k + 1:08d}.jpg" for k in range(scene.length))
            assert (sequence.classes, sequence.fps, sequence.size) == (("person",), 20, (96, 160))
            assert (sequence.first_frame, sequence.still) == (1, False)


def test_test_split_has_no_ground_truth(tmp_path: Path) -> None:
    write_dancetrack(tmp_path)
    sequences = read_dataset(tmp_path / "DanceTrack", "test", ground_truth=False)
    assert [sequence.boxes for sequence in sequences] == [None, None]
    with pytest.raises(UserError, match=r"no ground truth in 2 of its sequences"):
        read_dataset(tmp_path / "DanceTrack", "test")


def test_mot17_one_copy_marked_pedestrians_only(tmp_path: Path) -> None:
    scenes = write_mot17(tmp_path)["train"]
    sequences = read_dataset(tmp_path / "MOT17")
    assert [sequence.name for sequence in sequences] == ["MOT17-0001-SDP", "MOT17-0002-SDP"]
    for sequence in sequences:
        assert found_in(sequence) == expected_of(scenes[sequence.name])
    root = tmp_path / "MOT17"
    assert [s.name[-5:] for s in read(root, detector="FRCNN")[0]] == ["FRCNN"] * 2
    assert len(read(root, detector="all")[0]) == 6


def test_copies_of_a_video() -> None:
    names = ["MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-04-DPM", "other"]
    assert choose_copies(names) == ["MOT17-02-FRCNN", "MOT17-04-DPM", "other"]
    assert choose_copies(names, "DPM") == ["MOT17-02-DPM", "MOT17-04-DPM", "other"]


def test_mot17_cuts_to_whole_pixels(tmp_path: Path) -> None:
    row = "1,1,-3.7,10.9,20.8,30.2,1,1,1"
    for name in ("MOT17-02-SDP", "own"):
        tall_orders(tmp_path / name, row)
        (tmp_path / name / "seq").rename(tmp_path / name / "MOT17-02-SDP" if name != "own" else tmp_path / name / "s")
    whole = one(tmp_path / "MOT17-02-SDP")[0].boxes[0].boxes
    np.testing.assert_array_equal(whole, [[-3, 10, 17, 40]])
    np.testing.assert_allclose(one(tmp_path / "own")[0].boxes[0].boxes, [[-3.7, 10.9, 17.1, 41.1]], rtol=1e-6)


def test_motsynth(tmp_path: Path) -> None:
    scenes = write_motsynth(tmp_path)
    sequences = read_dataset(tmp_path / "MOTSynth")
    assert {sequence.name: found_in(sequence) for sequence in sequences} == {
        name: expected_of(scene) for name, scene in scenes.items()
    }


ANY_NAMES = ["{:06d}.jpg", "{:08d}.png", "{}.jpg", "frame_{}.JPG", "cam2-{:03d}.jpeg", "cam2_f{}.bmp"]


@pytest.mark.parametrize("name", ANY_NAMES)
def test_any_file_names(tmp_path: Path, name: str) -> None:
    scene = Scene(length=11)
    write_sequence(tmp_path / "seq", scene)
    for k, file in enumerate(sorted((tmp_path / "seq" / "img1").iterdir()), 1):
        image = scene.image(k - 1)
        file.unlink()
        write_image(tmp_path / "seq" / "img1" / name.format(k), image)
    (tmp_path / "seq" / "img1" / "._000001.jpg").write_bytes(b"macOS")
    (tmp_path / "seq" / "img1" / "Thumbs.db").write_bytes(b"Windows")
    sequence, problems = one(tmp_path)
    assert found_in(sequence) == expected_of(scene)
    assert [file.name for file in sequence.frames] == [name.format(k) for k in range(1, 12)]
    assert not list(problems)


def test_images_from_0_ground_truth_from_1(tmp_path: Path) -> None:
    scene = Scene(length=4)
    write_sequence(tmp_path / "seq", scene)
    images_from_0(tmp_path / "seq")
    sequence, problems = one(tmp_path)
    assert found_in(sequence) == expected_of(scene)
    assert sequence.first_frame == 0
    assert "from 1 and images from 0: frame 1 is image 0" in str(problems.notes[0])


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("images", [0, 1])
def test_a_split_counts_in_one_way(tmp_path: Path, truth: int, images: int) -> None:
    """Sequences whose first, or last, frame is without objects, or without its image, cannot tell by themselves."""
    for name, frames in {"all": (0, 1, 2), "no first": (1, 2), "no last": (0, 1)}.items():
        write_sequence(tmp_path / name, Scene(length=3), ground_truth=False)
        if not images:
            images_from_0(tmp_path / name)
        write_text(tmp_path / name / "gt" / "gt.txt", [f"{truth + k},{k},1,1,20,20" for k in frames])
    sequences, problems = read(tmp_path)
    ids = {s.name: [[i for i, *_ in boxes] for boxes in found_in(s)] for s in sequences}
    assert ids == {"all": [[0], [1], [2]], "no first": [[], [1], [2]], "no last": [[0], [1], []]}
    assert len(problems.notes) == (truth != images)
    (tmp_path / "no first" / "img1" / f"{images:06d}.jpg").unlink()
    sequences, _ = read(tmp_path)
    assert {s.name: s.gapless for s in sequences} == {"all": True, "no first": False, "no last": True}
    assert [[i for i, *_ in boxes] for boxes in found_in(sequences[1])] == [[1], [2]]
    ((alone, *_), _) = read(tmp_path, only=("no first",))
    assert found_in(alone) == found_in(sequences[1])  # the others of its split still say how to count


def test_images_without_numbers_are_numbered_from_1(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=2))
    images_from_0(tmp_path / "a")
    scene = Scene(length=2)
    write_sequence(tmp_path / "b", scene)
    for k, name in ((1, "left.jpg"), (2, "right.jpg")):
        (tmp_path / "b" / "img1" / f"{k:06d}.jpg").rename(tmp_path / "b" / "img1" / name)
    assert [found_in(sequence) for sequence in read(tmp_path)[0]] == [expected_of(scene)] * 2


def test_fewer_images_than_ground_truth(tmp_path: Path) -> None:
    """The trap of shortened copies: seqinfo.ini and gt.txt are of the whole sequence."""
    scene = Scene(length=9)
    write_sequence(tmp_path / "seq", scene)
    for k in (4, 8, 9):
        (tmp_path / "seq" / "img1" / f"{k:06d}.jpg").unlink()
    sequence, problems = one(tmp_path)
    left = [0, 1, 2, 4, 5, 6]
    assert found_in(sequence) == [scene.boxes(k) for k in left]
    notes = " ".join(map(str, problems.notes))
    lost = sum(len(scene.boxes(k)) for k in (3, 7, 8))
    assert f"{lost} boxes are in frames without an image (frames 4 to 9)" in notes
    assert "seqLength=9, but there are 6 images" in notes
    assert "images missing between others: 1;" in notes


def test_no_image_of_any_frame(tmp_path: Path) -> None:
    file = tall_orders(tmp_path, "101,1,1,1,20,20")
    with pytest.raises(
        UserError, match=r"frames 101 to 101, none of which has an image \(000001.jpg to 000003.jpg\): number both"
    ):
        one(tmp_path)
    assert file.is_file()


def test_seqinfo_is_optional_and_corrected(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=2), seqinfo=False)
    assert one(tmp_path)[0].fps is None
    write_text(tmp_path / "a" / "seqinfo.ini", ["[Sequence]", "frameRate=x", "imWidth=1920", "imHeight=1080"])
    sequence, problems = one(tmp_path)
    assert sequence.size == (96, 160)
    assert "frameRate=x is not a number" in str(problems.notes[0])
    assert "has size 1920×1080, but images are 160×96" in str(problems.notes[1])
    write_text(tmp_path / "a" / "seqinfo.ini", ["frameRate=3"])
    assert "cannot be parsed" in str(one(tmp_path)[1].notes[0])


@pytest.mark.parametrize("columns", range(6, 11))
def test_numbers_of_columns(tmp_path: Path, columns: int) -> None:
    row = "2,7,10,20,30,40,1,1,0.5,-1" if columns < 10 else "2,7,10,20,30,40,1,4.48,-5.5,0"  # world coordinates
    tall_orders(tmp_path, ",".join(row.split(",")[:columns]))
    sequence, problems = one(tmp_path)
    assert found_in(sequence) == [[], [(7, 0, 10, 20, 30, 40)], []]
    assert not list(problems)


def test_blank_lines_and_other_line_ends(tmp_path: Path) -> None:
    file = tall_orders(tmp_path)
    file.write_bytes(b"\xef\xbb\xbf1,1,1,1,20,20\r\n\r\n  2, 1, 2, 1, 20, 20\r\n\r\nx\r\n")
    problems = Problems()
    assert read_truth(file, problems).origin.positions[:, 0].tolist() == [1, 3]
    assert problems.errors[0].places == (5,)


GOOD = "1,1,10,10,20,20,1,1,1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,10,10,20", r"found 5 values; expected frame, id, left, top, width, height\["),
        ("1;2;10;10;20;20", "'1;2;10;10;20;20' is not a number; columns are frame, id, left"),
        ("1 2 10 10 20 20", "found 6 values, but line 1 has 9"),
        ("1,2,10,10,20,20", "found 6 values, but line 1 has 9"),
        ("1,2,10,ten,20,20,1,1,1", "'ten' is not a number"),
        ("1,2,10,,20,20,1,1,1", "'' is not a number"),
        ("frame,id,left,top,width,height,mark,class,visibility", "'frame' is not a number"),
        ("1,2,nan,10,20,20,1,1,1", "NaN"),
        ("1,2,10,10,inf,20,1,1,1", "infinite"),
        ("1.5,2,10,10,20,20,1,1,1", "frame 1.5 is not a whole number"),
        ("1,2.5,10,10,20,20,1,1,1", "id 2.5 is not a whole number"),
        ("1,2,10,10,20,20,1,nan,1", r"class nan \(column 8\) is not a whole number"),
        ("1,2,10,10,20,20,1,inf,1", r"class inf \(column 8\) is not a whole number"),
        ("1,2,10,10,20,20,nan,1,1", r"mark nan \(column 7\) is not a number"),
        ("1,-1,10,10,20,20,1,1,1", "id -1 is negative: is this a file of detections"),
        (GOOD, "id 1 is repeated in frame 1"),
    ],
)
def test_every_error_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    file = tall_orders(tmp_path, GOOD, "2,1,10,10,20,20,1,1,1", line, "3,1,10,10,20,20,1,1,1")
    with pytest.raises(UserError, match=f"{file}:3: .*{message}"):
        read(tmp_path)


def test_errors_are_counted_and_merged(tmp_path: Path) -> None:
    file = tall_orders(tmp_path, GOOD, GOOD, GOOD, "3,3,nan,0,5,5,1,1,1")
    with pytest.raises(UserError, match=rf"{file}:4: .*\(and 2 more; memotr data check {tmp_path} lists all\)"):
        read(tmp_path)
    problems = Problems()
    for line in (3, 4, 5, 9):
        problems.error(file, "wrong", line)
    assert str(problems.errors[0]) == f"{file}:3: wrong (also 4–5, 9; 4 in all)"


def test_odd_but_legal(tmp_path: Path) -> None:
    """Ids that jump, come back and are large, boxes partly outside, frames without boxes, rows in any order."""
    tall_orders(tmp_path, "3,900000,-5,-5,20,20,1,1,1", "1,900000,150,80,50,50,1,1,1", "3,0,10,10,9,9,1,1,0")
    sequence, problems = one(tmp_path)
    assert found_in(sequence) == [
        [(900000, 0, 150, 80, 50, 50)],
        [],
        [(900000, 0, -5, -5, 20, 20), (0, 0, 10, 10, 9, 9)],
    ]
    assert not list(problems)


@pytest.mark.parametrize("box", ["160,10,9,9", "10,96,9,9", "-9,10,9,9", "10,-20,9,9"])
def test_boxes_wholly_outside_are_left_out(tmp_path: Path, box: str) -> None:
    file = tall_orders(tmp_path, GOOD, f"2,1,{box},1,1,1")
    sequence, problems = one(tmp_path)
    assert [len(boxes) for boxes in sequence.boxes] == [1, 0, 0]
    assert str(problems.notes[0]) == f"{file}:2: a box is entirely outside the image (160×96): left out"


@pytest.mark.parametrize("box", ["10,10,0,9", "10,10,9,0", "10,10,-3,9"])
def test_boxes_without_area_are_left_out(tmp_path: Path, box: str) -> None:
    file = tall_orders(tmp_path, f"2,1,{box},1,1,1", GOOD)
    sequence, problems = one(tmp_path)
    assert [len(boxes) for boxes in sequence.boxes] == [1, 0, 0]
    assert str(problems.notes[0]) == f"{file}:1: a box has no width or no height: left out"


def test_no_box_at_all(tmp_path: Path) -> None:
    tall_orders(tmp_path)
    with pytest.raises(UserError, match=r"no boxes in any of its 1 sequences"):
        read(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    write_sequence(tmp_path / "whole", Scene(length=2))
    write_sequence(tmp_path / "part", Scene(length=2), ground_truth=False)
    with pytest.raises(
        UserError, match=r"no gt/gt.txt for 1 of 2 sequences \(part\); copy these files, or select the other sequences"
    ):
        read(tmp_path)
    write_sequence(tmp_path / "part", Scene(length=2))
    for file in (tmp_path / "part" / "img1").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"part/img1: no images in this folder"):
        read(tmp_path)
    (tmp_path / "part" / "img1").rmdir()
    with pytest.raises(UserError, match=r"part/img1: no images in this folder"):
        read(tmp_path)


def test_folders_that_are_no_sequences(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=2))
    (tmp_path / "notes" / "more").mkdir(parents=True)
    _, problems = read(tmp_path)
    assert [problem.file.name for problem in problems.notes] == ["notes"]
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match=r"/b: the folder is empty"):
        read(tmp_path)
    write_image(tmp_path / "b" / "1.jpg", Scene().image(0))
    with pytest.raises(UserError, match=r"/b: has images outside img1"):
        read(tmp_path)


def test_damaged_first_image(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=3))
    first = tmp_path / "a" / "img1" / "000001.jpg"
    first.write_bytes(first.read_bytes()[:200])
    sequence, problems = one(tmp_path)
    assert sequence.size == (96, 160)  # of the next one
    assert [problem.file for problem in problems.notes] == [first]
    for file in first.parent.iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the first 3 images can be read"):
        one(tmp_path)


def test_own_classes_by_number(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val")):
        scene = Scene(seed=k, length=3, classes=3)
        write_sequence(tmp_path / split / "a", scene, with_class=True)
    write_text(tmp_path / "val" / "a" / "gt" / "gt.txt", ["1,1,10,10,20,20,1,3,1"])
    (train,), problems = read(tmp_path, "train")
    assert train.classes == ("class 1", "class 2", "class 3")
    assert found_in(train) == expected_of(Scene(length=3, classes=3))
    assert "name them in dataset.yaml" in str(problems.notes[0])
    (val,), _ = read(tmp_path, "val")  # the classes of all splits: a label means the same in each
    assert (val.classes, val.boxes[0].labels.tolist()) == (train.classes, [2])


def test_own_classes_by_dataset_yaml(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=3, classes=3), with_class=True)
    write_text(tmp_path / "dataset.yaml", ["classes: [person, dog, cat]"])
    assert one(tmp_path)[0].classes == ("person", "dog", "cat")
    write_text(tmp_path / "dataset.yaml", ["classes: {3: pet, 2: pet, 7: horse}"])
    sequence, _ = one(tmp_path)
    assert sequence.classes == ("pet", "horse")
    assert {label for frame in found_in(sequence) for _, label, *_ in frame} == {0}
    assert {i for frame in found_in(sequence) for i, *_ in frame} == {2, 3}  # class 1 is left out
    write_text(tmp_path / "dataset.yaml", ['classes: {"1": person, 2: dog, "3": cat}'])
    assert found_in(one(tmp_path)[0]) == expected_of(Scene(length=3, classes=3))
    for text, message in (("{one: person}", "'one' is not a number"), ('{"1": a, 1: b}', r"1 is repeated \(a, b\)")):
        write_text(tmp_path / "dataset.yaml", [f"classes: {text}"])
        with pytest.raises(UserError, match=f"dataset.yaml: classes: {message}"):
            one(tmp_path)
    write_text(tmp_path / "dataset.yaml", ["classes: [person, dog]"])
    with pytest.raises(UserError, match=r"gt.txt:\d+: class 3 has no name; the classes are person, dog"):
        one(tmp_path)
    write_text(tmp_path / "a" / "gt" / "gt.txt", ["1,1,10,10,20,20"])
    with pytest.raises(UserError, match=r"gt.txt:1: the class \(column 8\) is missing; the classes are person, dog"):
        one(tmp_path)


def test_remedies_for_classes_that_are_not_in_the_benchmark(tmp_path: Path) -> None:
    """Training takes the names in dataset.yaml instead of the benchmark's, scoring the rules that are asked for."""
    tall_orders(tmp_path, "1,1,10,10,20,20,1,1,1", "1,2,10,10,20,20,1,14,1")
    (tmp_path / "seq").rename(tmp_path / "MOT20-01")
    message = r"gt.txt:2: class 14 is not a class of the benchmark \(1 to 13\); for other data, name the classes in .*"
    for refused in (lambda: one(tmp_path), lambda: load_ground_truth(tmp_path)):
        with pytest.raises(UserError, match=message):
            refused()
    assert load_ground_truth(tmp_path, format="mot").classes == ("class 1", "class 14")
    write_text(tmp_path / "dataset.yaml", ["classes: {1: person, 14: dog}"])
    assert found_in(one(tmp_path)[0])[0] == [(1, 0, 10, 10, 20, 20), (2, 1, 10, 10, 20, 20)]


def slowly(file: Path, frames: int) -> list[dict[int, tuple[float, ...]]]:
    """Ground truth of MOT17 by its documentation: of each frame the boxes of marked pedestrians, by id."""
    found: list[dict[int, tuple[float, ...]]] = [{} for _ in range(frames)]
    for line in file.read_text().splitlines():
        frame, number, left, top, width, height, mark, kind, _ = map(float, line.split(","))
        if mark != 0 and kind == 1 and frame <= frames:
            box = (int(left), int(top), int(left) + int(width), int(top) + int(height))
            found[int(frame) - 1][int(number)] = box
    return found


def test_real_mot17() -> None:
    root = real("mot17_mini")
    sequences, problems = read(root, "train")
    assert [len(sequence) for sequence in sequences] == [4, 8, 6, 4, 5, 7, 5]
    assert len(problems.notes) == 7  # seqLength is of the whole sequences
    for sequence in sequences:
        assert sequence.boxes is not None
        found = [dict(zip(b.ids.tolist(), map(tuple, b.boxes.tolist()), strict=True)) for b in sequence.boxes]
        expected = slowly(root / "train" / sequence.name / "gt" / "gt.txt", len(sequence))
        for frame, truth in zip(found, expected, strict=True):
            height, width = sequence.size
            inside = {i: b for i, b in truth.items() if b[2] > 0 and b[3] > 0 and b[0] < width and b[1] < height}
            assert frame == inside


def test_real_dancetrack_ground_truth() -> None:
    root = real("mot17_val_deep_oc_sort") / "gt" / "DANCE-val"
    problems = Problems()
    rows = [read_truth(folder / "gt" / "gt.txt", problems) for folder in sorted(root.iterdir())]
    assert not list(problems)
    assert sum(len(r) for r in rows) == 225_148
    assert sum(len(np.unique(r.ids)) for r in rows) == 273
