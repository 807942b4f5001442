"""MOT text, JSON lines and BDD100K lists: what is written, and that it is whole whenever it stops."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memotr.errors import UserError
from memotr.io.bdd import BddSink
from memotr.io.frames import Frame
from memotr.io.jsonl import JsonLinesSink
from memotr.io.mot import MotSink
from memotr.io.sinks import Sink
from tests.io.results import make_frame, make_tracks, read_mot

SINKS: list[Callable[[Path], Sink]] = [MotSink, JsonLinesSink, lambda path: BddSink(path, video_name="b1c6")]


def test_mot_lines(tmp_path: Path) -> None:
    with MotSink(tmp_path / "a.txt") as sink:
        sink.write(make_frame(0), make_tracks([[1, 2, 11, 22], [-3.5, 0.1, 4, 4]], ids=[7, 0]))
        sink.write(make_frame(1), make_tracks([], frame=1))
        sink.write(make_frame(9), make_tracks([[0, 0, 5, 5]], frame=9, ids=[7]))
    assert (tmp_path / "a.txt").read_bytes() == (
        b"1,7,1.0,2.0,10.0,20.0,1,-1,-1,-1\n"
        b"1,0,-3.5,0.10000000149011612,7.5,3.899999998509884,1,-1,-1,-1\n"
        b"10,7,0.0,0.0,5.0,5.0,1,-1,-1,-1\n"
    )


def test_mot_lines_of_several_classes_name_the_class_as_ground_truth_does(tmp_path: Path) -> None:
    with MotSink(tmp_path / "a.txt") as sink:
        sink.write(make_frame(0), make_tracks([[0, 0, 5, 5], [1, 1, 5, 5]], names=("cat", "dog")))
    assert [line.split(",")[7] for line in (tmp_path / "a.txt").read_text().splitlines()] == ["1", "2"]


def test_mot_boxes_survive_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-100, 4000, (500, 2)) * 10.0 ** rng.integers(-4, 1, (500, 1))
    boxes = np.concatenate([corners, corners + rng.uniform(1e-3, 900, (500, 2))], axis=1).astype(np.float32)
    with MotSink(tmp_path / "a.txt") as sink:
        sink.write(make_frame(3), make_tracks(boxes.tolist(), frame=3))
    (number,) = read_mot(tmp_path / "a.txt")
    read = read_mot(tmp_path / "a.txt")[number]
    assert number == 4
    assert np.array_equal(read.boxes.astype(np.float32), boxes)
    assert np.array_equal(read.ids, np.arange(500))
    assert np.array_equal(read.scores, np.ones(500))


def test_json_lines(tmp_path: Path) -> None:
    with JsonLinesSink(tmp_path / "a.jsonl") as sink:
        sink.write(make_frame(0), make_tracks([[1, 2, 11, 22], [0, 0, 4, 4.5]], ids=[7, 0], names=("person", "bär")))
        image = make_frame(5).image
        sink.write(Frame(5, image, 0.2, "000006.jpg"), make_tracks([], frame=5))
    first, second = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
    assert first == {
        "frame": 0,
        "time": 0.0,
        "file": None,
        "width": 64,
        "height": 48,
        "tracks": [
            {"id": 7, "box": [1, 2, 11, 22], "score": pytest.approx(0.9), "label": 0, "class": "person"},
            {"id": 0, "box": [0, 0, 4, 4.5], "score": pytest.approx(0.6), "label": 1, "class": "bär"},
        ],
    }
    assert second == {"frame": 5, "time": 0.2, "file": "000006.jpg", "width": 64, "height": 48, "tracks": []}


def test_json_lines_are_lines_for_every_reader(tmp_path: Path) -> None:
    name = "a\x0b\x1c\x85\u2028\u2029b.jpg"
    with JsonLinesSink(tmp_path / "a.jsonl") as sink:
        sink.write(Frame(0, make_frame(0).image, 0.0, name), make_tracks([[1, 2, 3, 4]], frame=0, names=(name,)))
    (line,) = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert (record["file"], record["tracks"][0]["class"]) == (name, name)


def test_bdd_list(tmp_path: Path) -> None:
    with BddSink(tmp_path / "b1c6.json", video_name="b1c6") as sink:
        sink.write(make_frame(0), make_tracks([[1, 2, 11, 22]], ids=[7], names=("pedestrian",)))
        sink.write(Frame(1, make_frame().image, 0.2, "b1c6-0000002.jpg"), make_tracks([], frame=1))
    first, second = json.loads((tmp_path / "b1c6.json").read_text())
    box = {"x1": 1, "y1": 2, "x2": 11, "y2": 22}
    label = {"id": "7", "category": "pedestrian", "score": pytest.approx(0.9), "box2d": box}
    assert first == {"name": "b1c6-0000001.jpg", "videoName": "b1c6", "frameIndex": 0, "labels": [label]}
    assert second == {"name": "b1c6-0000002.jpg", "videoName": "b1c6", "frameIndex": 1, "labels": []}


@pytest.mark.parametrize("make", SINKS)
def test_the_file_appears_when_closed_and_replaces_an_older_one(tmp_path: Path, make: Callable[[Path], Sink]) -> None:
    path = tmp_path / "new folder" / "a.v2.txt"
    for run in range(2):
        sink = make(path)
        assert sink.replaces == bool(run)
        before = path.read_bytes() if run else None
        for i in range(run + 1):
            sink.write(make_frame(i), make_tracks([[1, 2, 3, 4]], frame=i))
        assert (path.read_bytes() if run else None) == before
        sink.close()
        sink.close()
        assert path.read_bytes() != before
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("make", SINKS)
def test_without_a_frame_nothing_is_replaced(tmp_path: Path, make: Callable[[Path], Sink]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("an older run")
    make(path).close()
    assert path.read_text() == "an older run"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", SINKS)
def test_places_that_cannot_be_written(tmp_path: Path, make: Callable[[Path], Sink]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*file.a\.txt: (Not a directory|File exists)"):
        make(tmp_path / "file" / "a.txt")
    with pytest.raises(UserError, match=r"cannot write .*folder\.txt: a folder has that name"):
        make(tmp_path / "folder.txt")


def test_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    sink = MotSink(tmp_path / "a.txt")
    sink.file.close()
    many = make_tracks([[1, 2, 3, 4]] * 10_000)  # more than a buffer holds
    with (
        Path("/dev/full").open("w") as sink.file,
        pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left"),
    ):
        sink.write(make_frame(), many)
