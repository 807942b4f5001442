"""BDD100K: Scalabel JSON, a file a video."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.problems import Problems
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from tests.data.layouts import (
    BDD100K_CATEGORIES,
    Scene,
    expected_of,
    found_in,
    read_dataset,
    write_bdd100k,
    write_json,
)
from tests.data.real_data import real


def numbered(frames: list[list[tuple[int, ...]]]) -> list[list[tuple[int, ...]]]:
    """Ids are text in the files, so numbers have no meaning: here objects get them in the order of their appearance."""
    known: dict[int, int] = {}
    return [[(known.setdefault(i, len(known)), label, *box) for i, label, *box in frame] for frame in frames]


def expected(scene: Scene) -> list[list[tuple[int, ...]]]:
    return numbered(expected_of(scene))


def edit(root: Path, change) -> Path:
    """Changes what the file of the first training video holds."""
    file = root / "BDD100K" / "labels" / "box_track_20" / "train" / "b1c66a42-0001.json"
    content = json.loads(file.read_text())
    write_json(file, change(content) or content)
    return file


def first_label(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Behind the crowd, which does not count."""
    return content[0]["labels"][1]


def test_as_written(tmp_path: Path) -> None:
    """The eight categories; no crowds and none of the three other categories."""
    scenes = write_bdd100k(tmp_path)
    for split in ("train", "val"):
        sequences = read_dataset(tmp_path / "BDD100K", split)
        assert [sequence.name for sequence in sequences] == list(scenes[split])
        for sequence in sequences:
            scene = scenes[split][sequence.name]
            assert numbered(found_in(sequence)) == expected(scene)
            assert sequence.classes == BDD100K_CATEGORIES
            folder = tmp_path / "BDD100K" / "images" / "track" / split / sequence.name
            assert sequence.frames[-1] == folder / f"{sequence.name}-{scene.length:07d}.jpg"
            assert (sequence.fps, sequence.size, sequence.first_frame) == (5, (96, 160), 0)


def test_other_categories_on_request(tmp_path: Path) -> None:
    write_bdd100k(tmp_path)
    sequence = load_split(DatasetSpec(tmp_path / "BDD100K", other_categories=True))[0]
    assert sequence.classes == BDD100K_CATEGORIES
    others = [label for i, label, *box in found_in(sequence)[0] if box == [50, 50, 9, 9]]
    assert others == [0, 2, 3]  # pedestrian, car, truck


def test_own_classes(tmp_path: Path) -> None:
    write_bdd100k(tmp_path)
    classes = {"truck": "vehicle", "car": "vehicle", "rider": "rider"}
    sequence = load_split(DatasetSpec(tmp_path / "BDD100K", classes=classes))[0]
    assert sequence.classes == ("vehicle", "rider")
    assert {label for frame in found_in(sequence) for _, label, *_ in frame} == {0, 1}


def test_other_spellings(tmp_path: Path) -> None:
    """A dict with frames, old category names, Crowd with a capital; no videoName, no labels."""
    scenes = write_bdd100k(tmp_path)

    def change(content):
        first_label(content)["category"] = "person"
        content[1]["labels"][0]["attributes"] = {"Crowd": True}
        del content[2]["labels"]
        content[3]["labels"] = None
        for frame in content:
            del frame["videoName"]
        return {"frames": content[::-1], "groups": None}

    edit(tmp_path, change)
    sequence = read_dataset(tmp_path / "BDD100K")[0]
    truth = expected(scenes["train"]["b1c66a42-0001"])
    truth[2] = truth[3] = []
    found = found_in(sequence)
    assert [[box[1:] for box in frame] for frame in found] == [[box[1:] for box in frame] for frame in truth]


def test_frames_in_any_order(tmp_path: Path) -> None:
    scenes = write_bdd100k(tmp_path)
    edit(tmp_path, lambda content: content[::-1])
    sequence = read_dataset(tmp_path / "BDD100K")[0]
    assert numbered(found_in(sequence)) == expected(scenes["train"]["b1c66a42-0001"])


def test_test_split_without_labels(tmp_path: Path) -> None:
    write_bdd100k(tmp_path)
    root = tmp_path / "BDD100K"
    (root / "images" / "track" / "val").rename(root / "images" / "track" / "test")
    sequences = read_dataset(tmp_path / "BDD100K", "test", ground_truth=False)
    assert [(len(sequence), sequence.boxes) for sequence in sequences] == [(8, None), (9, None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: first_label(c).update(category="tree"), "unknown category 'tree'; the classes are pedestrian, "),
        (lambda c: first_label(c).update(category=["car"]), r"category is \['car'\], not a text"),
        (lambda c: first_label(c).update(attributes=[1]), r"attributes is \[1\], not an object"),
        (lambda c: first_label(c).pop("id"), "id is missing: is this detection data"),
        (lambda c: first_label(c).pop("box2d"), "box2d is missing"),
        (lambda c: first_label(c)["box2d"].pop("y2"), "y2 of box2d is missing"),
        (lambda c: first_label(c)["box2d"].update(x1="4"), "x1 of box2d is '4', not a coordinate in pixels"),
        (lambda c: first_label(c)["box2d"].update(x1=float("nan")), "x1 of box2d is nan, not a coordinate"),
        (lambda c: c[0]["labels"].insert(0, first_label(c)), "id 'a-00001' is repeated in frame 0"),
    ],
)
def test_errors_name_frame_and_label(tmp_path: Path, change, message: str) -> None:
    write_bdd100k(tmp_path)
    file = edit(tmp_path, lambda content: change(content) and None)
    place = 2 if "repeated" in message else 1
    with pytest.raises(UserError, match=f"{file}: frame 0 of the list, label {place}: {message}"):
        read_dataset(tmp_path / "BDD100K")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"videos": []}, "expected a list of frames"),
        (lambda c: [1, 2], "frame 0 of the list: not an object with videoName, frameIndex and labels"),
        (lambda c: c[0].update(labels={"car": 1}), "frame 0 of the list: labels is not a list"),
        (lambda c: [frame | {"name": 7} for frame in c], 'frame 0: has no "name", the file name of its image'),
        (lambda c: [*c, c[0]], "frame 8 of the list: frameIndex 0 of video 'b1c66a42-0001' is repeated"),
        (lambda c: c[1].update(name=c[0]["name"]), "two frames have the image 'b1c66a42-0001-0000001.jpg'"),
        (lambda c: [frame | {"name": "x" + frame["name"]} for frame in c], "none of its 8 images exists .*; copy"),
    ],
)
def test_errors_of_a_file(tmp_path: Path, change, message: str) -> None:
    write_bdd100k(tmp_path)
    file = edit(tmp_path, change)
    with pytest.raises(UserError, match=f"{file}: .*{message}"):
        read_dataset(tmp_path / "BDD100K")


def test_broken_json_and_missing_files(tmp_path: Path) -> None:
    write_bdd100k(tmp_path)
    labels = tmp_path / "BDD100K" / "labels" / "box_track_20" / "train"
    file = labels / "b1c66a42-0001.json"
    file.write_text(file.read_text()[:1000])
    with pytest.raises(UserError, match=f"{file}:1: not valid JSON: .*is the file cut short?"):
        read_dataset(tmp_path / "BDD100K")
    file.unlink()
    with pytest.raises(UserError, match=f"b1c66a42-0001: this video has no label file {file}"):
        read_dataset(tmp_path / "BDD100K")
    (labels / "b1c66a42-0002.json").unlink()
    with pytest.raises(UserError, match=f"{labels}: no label files"):
        read_dataset(tmp_path / "BDD100K")


def test_missing_images_are_noted(tmp_path: Path) -> None:
    scenes = write_bdd100k(tmp_path)
    images = tmp_path / "BDD100K" / "images" / "track" / "train" / "b1c66a42-0001"
    for k in (1, 5):
        (images / f"b1c66a42-0001-{k:07d}.jpg").unlink()
    problems = Problems()
    sequence = load_split(DatasetSpec(tmp_path / "BDD100K"), problems=problems)[0]
    scene = scenes["train"]["b1c66a42-0001"]
    boxes = [[box for _, _, *box in frame] for frame in found_in(sequence)]
    assert boxes == [[box for _, _, *box in scene.boxes(k)] for k in range(scene.length) if k not in (0, 4)]
    assert sequence.first_frame == 1
    assert "2 of 8 images are not in " in str(problems.notes[0])


def write_images(root: Path, names: list[str]) -> None:
    """Grey frames of BDD100K's size."""
    _, data = cv2.imencode(".jpg", np.full((720, 1280, 3), 90, np.uint8))
    root.mkdir(parents=True)
    for name in names:
        (root / name).write_bytes(data.tobytes())


def sizes(sequence: Sequence) -> list[list[tuple[float, ...]]]:
    """Class and box of every object, frame by frame, whatever their order."""
    return [
        sorted((sequence.classes[k], *np.round(box, 2).tolist()) for k, box in zip(b.labels, b.boxes, strict=True))
        for b in sequence.boxes
    ]


def test_real_sequence_and_its_conversion_agree(tmp_path: Path) -> None:
    """Two readers, and a conversion by other hands: the same boxes, the same tracks."""
    source = real("bdd100k_sequence")
    frames = json.loads((source / "track_sample_anns.json").read_text())
    names, video = [frame["name"] for frame in frames], frames[0]["videoName"]
    write_images(tmp_path / "BDD100K" / "images" / "track" / "val" / video, names)
    write_json(tmp_path / "BDD100K" / "labels" / "box_track_20" / "val" / f"{video}.json", frames)
    write_images(tmp_path / "coco" / "images", names)
    write_json(
        tmp_path / "coco" / "annotations" / "val.json", json.loads((source / "coco" / "gt_coco_video.json").read_text())
    )

    (ours,) = read_dataset(tmp_path / "BDD100K", "val")
    (theirs,) = load_split(DatasetSpec(tmp_path / "coco", "val"))
    assert len(ours) == len(theirs) == 202
    assert sum(map(len, ours.boxes)) == 3109
    assert sizes(ours) == sizes(theirs)
    pairs = {
        (a, b)
        for mine, other in zip(ours.boxes, theirs.boxes, strict=True)
        for a, b in zip(
            mine.ids[np.lexsort(mine.boxes.T)].tolist(), other.ids[np.lexsort(other.boxes.T)].tolist(), strict=True
        )
    }
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 142
