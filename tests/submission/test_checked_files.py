"""Single result files on their way into an archive: the form they get, and the one line about what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memotr.data.sequences import Sequence
from memotr.errors import UserError
from memotr.submission.checked_files import check_bdd, check_mot
from tests.data.real_data import real

VIDEO = Sequence("b1c6", tuple(Path(f"b1c6-{k:07d}.jpg") for k in (1, 2)), None, ("person",))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "b1c6.txt"
    path.write_bytes(text.encode())
    return path


def test_lines_come_out_in_order_and_in_plain_decimals(tmp_path: Path) -> None:
    text = "2 7 1e-7 -2.50 1e2 20.25 0.5 -1 -1 -1\n\n1 0 -0.0 0.1 1.0 33.33333333333333 1 -1 -1 -1\n"
    checked = check_mot(write(tmp_path, text), VIDEO)
    assert checked.text == (
        "1,1,0,0.1,1,33.33333333333333,1,-1,-1,-1\n2,8,0.0000001,-2.5,100,20.25,0.5,-1,-1,-1\n"  # ids 0 and 7 before
    )
    assert (checked.boxes, checked.outside, checked.shifted) == (2, 0, True)
    again = check_mot(write(tmp_path, checked.text), VIDEO)
    assert again.text == checked.text
    assert not again.shifted


def test_an_empty_text_stays_empty(tmp_path: Path) -> None:
    checked = check_mot(write(tmp_path, "\n"), VIDEO)
    assert (checked.text, checked.boxes) == ("", 0)


BAD_LINES = {
    "1,1,5,5,9,9,1": "1: 7 columns; servers take 10",
    "1,1,5,5,9,9,1,-1,-1,-1,-1": "1: 11 columns; servers take 10",
    "1,1,5,5,9,9,1,-1,-1,-1\n2,1,5,5,9,9": "2: found 6 values, but line 1 has 10",
    "0,1,5,5,9,9,1,-1,-1,-1": "1: frame 0: frames are numbered from 1",
    "1,1,5,5,9,9,1,-1,-1,-1\n3,1,5,5,9,9,1,-1,-1,-1": "2: frame 3 is beyond the sequence of 2 frames",
    "1.5,1,5,5,9,9,1,-1,-1,-1": "1: frame 1.5 is not a whole number",
    "1,1.5,5,5,9,9,1,-1,-1,-1": "1: id 1.5 is not a whole number",
    "1,-1,5,5,9,9,1,-1,-1,-1": "1: id -1",
    "1,2147483647,5,5,9,9,1,-1,-1,-1": "1: id 2147483647 is too large",
    "1,1,5,5,9,9,1,-1,-1,-1\n1,1,6,6,9,9,1,-1,-1,-1": "2: id 1 is repeated in frame 1",
    "1,1,5,5,0,9,1,-1,-1,-1": "1: width is not above 0",
    "1,1,5,5,9,-9,1,-1,-1,-1": "1: height is not above 0",
    "1,1,nan,5,9,9,1,-1,-1,-1": "1: a coordinate is NaN",
    "1,1,5,5,9,9,inf,-1,-1,-1": "1: column 7 is not a number to be submitted",
    "1,1,5,5,9,9,1,-1,-1,nan": "1: column 10 is not a number to be submitted",
    "1,1,5,5,9,9,1,2,-1,-1": "1: column 8 has another class than 1",
    "1,1,5,5,9,9,x,-1,-1,-1": "1: 'x' is not a number",
}


@pytest.mark.parametrize("text", BAD_LINES)
def test_bad_lines(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text + "\n")
    with pytest.raises(UserError) as error:
        check_mot(path, VIDEO)
    assert str(error.value).startswith(f"{path}:{BAD_LINES[text]}")
    assert "\n" not in str(error.value)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b1c6.txt").write_bytes(b"\xff\xfe1\x00")
    for check in (check_mot, check_bdd):
        with pytest.raises(UserError, match=r"not .*text"):
            check(tmp_path / "b1c6.txt", VIDEO)


def label(track: Any = "1", category: str = "car", box: tuple[Any, ...] = (0, 0, 9.5, 9), **more: Any) -> dict:
    return {"id": track, "category": category, "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)), **more}


def frame(index: int, *labels: dict, name: str | None = None, video: str = "b1c6") -> dict:
    name = name or f"b1c6-{index + 1:07d}.jpg"
    return {"name": name, "videoName": video, "frameIndex": index, "labels": list(labels)}


def write_json(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "b1c6.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    return path


def test_frames_come_out_in_order_and_with_the_documented_fields(tmp_path: Path) -> None:
    frames = [frame(1, name="b1c6/b1c6-0000002.jpg") | {"labels": None}, frame(0, label("003", "motor", attributes={}))]
    frames[0]["frameIndex"] = 1.0  # written as 1
    checked = check_bdd(write_json(tmp_path, {"frames": frames, "config": None}), VIDEO)
    first = frame(0, label("3", "motorcycle"))
    assert json.loads(checked.text) == [first, frame(1)]
    assert list(json.loads(checked.text)[0]) == ["name", "videoName", "frameIndex", "labels"]
    assert "1.0" not in checked.text
    assert checked.boxes == 1
    assert check_bdd(write(tmp_path, checked.text), VIDEO).text == checked.text


BAD_FRAMES: dict[str, list[dict]] = {
    "no frameIndex 0 (and 1 more); frames without objects must be listed as well": [],
    "no frameIndex 1; frames": [frame(0)],
    "frameIndex 2 is beyond the video, which has 2 frames counted from 0": [frame(0), frame(1), frame(2)],
    "frame 2 of the list: frameIndex 1 of video 'b1c6' is repeated": [frame(0), frame(1), frame(1)],
    "has frames of video 'c000'; it may have only those of 'b1c6'": [frame(0), frame(1), frame(0, video="c000")],
    "frameIndex 1: name is 'b1c6-0000001.jpg', but the image of this frame is b1c6-0000002.jpg": [
        frame(0),
        frame(1, name="b1c6-0000001.jpg"),
    ],
    "frameIndex 0: name is None": [frame(0) | {"name": None}, frame(1)],
}

BAD_LABELS = {
    "id is 'a-1'; BDD100K's evaluation reads whole numbers from 0 to 2147483647": label("a-1"),
    "id is '-1'": label(-1),
    "id is '2147483648'": label(2**31),
    "category 'trailer' is not evaluated": label(category="trailer"),
    "box2d is empty": label(box=(5, 5, 5, 9)),
    "score is nan": label(score=float("nan")),
    "score is True": label(score=True),
}


@pytest.mark.parametrize("message", BAD_FRAMES)
def test_bad_frames(tmp_path: Path, message: str) -> None:
    path = write_json(tmp_path, BAD_FRAMES[message])
    with pytest.raises(UserError) as error:
        check_bdd(path, VIDEO)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("message", BAD_LABELS)
def test_bad_labels(tmp_path: Path, message: str) -> None:
    path = write_json(tmp_path, [frame(1, label("0"), BAD_LABELS[message]), frame(0)])
    with pytest.raises(UserError) as error:
        check_bdd(path, VIDEO)
    assert str(error.value).startswith(f"{path}: frameIndex 1, label 1: {message}")
    assert "\n" not in str(error.value)


def test_errors_of_the_results_reader_are_errors(tmp_path: Path) -> None:
    for wrong, message in (
        ([frame(0, label("1"), label("01")), frame(1)], "two of its ids are the same number"),
        ([frame(0, label("1"), label("1")), frame(1)], "label 1: id '1' is repeated in frame 0"),
        ([frame(0, label(box=(9, 0, 5, 5))), frame(1)], "box2d has x2 < x1 or y2 < y1"),
        ([frame(0, label(box=(0, 0, float("nan"), 5))), frame(1)], "x2 of box2d is nan"),
        ([frame(0, label(category="tram")), frame(1)], "category 'tram' is not evaluated"),
    ):
        with pytest.raises(UserError, match=message):
            check_bdd(write_json(tmp_path, wrong), VIDEO)


@pytest.mark.parametrize(
    ("left", "top", "outside"), [(150, 50, 0), (199, 99, 0), (200, 50, 1), (50, 100, 1), (-10, 50, 1), (-9.5, -9.5, 0)]
)
def test_outside_is_beyond_the_width_or_the_height(tmp_path: Path, left: float, top: float, outside: int) -> None:
    wide = replace(VIDEO, size=(100, 200))
    row = f"1,1,{left},{top},10,10,1,-1,-1,-1\n"
    assert check_mot(write(tmp_path, row), wide).outside == outside


def test_boxes_outside_the_image_are_counted(tmp_path: Path) -> None:
    small = Sequence("b1c6", VIDEO.frames, None, ("person",), size=(40, 60))
    boxes = [(0, 0, 9, 9), (60, 0, 70, 9), (0, 40, 9, 50), (-9, 0, 0, 9), (0, -9, 9, 0), (59, 39, 70, 50)]
    path = write_json(tmp_path, [frame(0, *(label(k, box=box) for k, box in enumerate(boxes))), frame(1)])
    assert check_bdd(path, small).outside == 4
    rows = "".join(f"1,{k},{x1},{y1},{x2 - x1},{y2 - y1},1,-1,-1,-1\n" for k, (x1, y1, x2, y2) in enumerate(boxes))
    assert check_mot(write(tmp_path, rows), small).outside == 4


def test_published_results_of_mot17() -> None:
    path = real("mot17_mpntrack") / "MPNTrack_FRCNN" / "MOT17-02-FRCNN.txt"
    video = Sequence("MOT17-02-FRCNN", tuple(Path(f"{k:06d}.jpg") for k in range(1, 601)), None, ("person",))
    checked = check_mot(path, video)
    assert checked.boxes == checked.text.count("\n") == sum(1 for line in path.read_text().splitlines() if line)


def test_real_results_of_bdd100k() -> None:
    path = real("bdd100k_sequence") / "track_predictions.json"
    name = "b1c66a42-6f7d68ca"
    video = Sequence(name, tuple(Path(f"{name}-{k:07d}.jpg") for k in range(1, 203)), None, ("car",), size=(720, 1280))
    checked = check_bdd(path, video)
    assert (checked.boxes, checked.outside) == (2301, 0)
    assert len(json.loads(checked.text)) == 202
