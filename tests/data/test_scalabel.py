"""Scalabel labels and results: what is read from them, and what is said of bad ones."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memotr.data.formats.scalabel import ScalabelVideo, read_videos
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.data.truth import VideoBoxes
from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth, load_ground_truth
from memotr.evaluation.results import read_results
from memotr.io.bdd import BddSink
from memotr.metrics.teta import with_last_pixels, with_regions
from memotr.published import BDD100K_CLASSES
from tests.io.results import make_frame, make_tracks
from tests.metrics.teta_files import evaluate_teta, teta_by_video

REAL = Path(os.environ.get("MEMOTR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "bdd100k_sequence"


def label(track: Any = "1", category: str = "car", box: tuple[float, ...] = (0, 0, 9, 9), **attributes: bool) -> dict:
    corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": track, "category": category, "box2d": corners, "attributes": attributes}


def frame(index: int, *labels: dict, video: str = "b1c6") -> dict:
    name = f"{video}-{index + 1:07d}.jpg"
    return {"name": name, "videoName": video, "frameIndex": index, "labels": list(labels)}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(file: Path, *, results: bool = False) -> dict[str, ScalabelVideo]:
    return read_videos(file, Problems(stop=True), results=results)


def truth_of(path: Path) -> GroundTruth:
    return load_ground_truth(path, format="bdd100k")


def results_of(path: Path, truth: Path) -> dict[str, VideoBoxes]:
    """Results as they are scored against these labels."""
    return dict(read_results(path, truth_of(truth)).boxes)


def class_names(boxes: VideoBoxes) -> list[str]:
    return [BDD100K_CATEGORIES[c] if c >= 0 else "-" for c in boxes.labels]


def test_the_categories_are_the_models_classes() -> None:
    assert sorted(BDD100K_CATEGORIES) == sorted(BDD100K_CLASSES)


def test_frames_and_labels_are_read(tmp_path: Path) -> None:
    frames = [
        frame(2, label("b", "truck", (5.5, 6, 10, 20))),
        frame(0, label("a", "motor"), label("b", "truck", (1, 2, 3, 4), occluded=True)),
        frame(1),
    ]
    file = write(tmp_path / "a.json", frames)
    (video,) = read(file).values()
    assert video.frames == (0, 1, 2)
    assert video.image_names == ("b1c6-0000001.jpg", "b1c6-0000002.jpg", "b1c6-0000003.jpg")
    assert video.table.frames.tolist() == [2, 0, 0]  # in the order of the file
    assert [video.categories[c] for c in video.table.categories.tolist()] == ["truck", "motorcycle", "truck"]
    assert [video.table.origin.locate(row) for row in range(3)] == [
        (file, f"frame {number} of the list, label {k}") for number, k in ((0, 0), (1, 0), (1, 1))
    ]
    (sequence,) = truth_of(file).sequences
    assert (sequence.name, sequence.frames, sequence.length) == ("b1c6", (0, 1, 2), 3)
    boxes = sequence.objects
    assert boxes.frames.tolist() == [0, 0, 2]
    assert boxes.ids[1] == boxes.ids[2] != boxes.ids[0]
    assert class_names(boxes) == ["motorcycle", "truck", "truck"]
    assert not boxes.ignore.any()
    assert boxes.boxes.tolist() == [[0, 0, 9, 9], [1, 2, 3, 4], [5.5, 6, 10, 20]]
    # The last pixel belongs to the box: one more than the difference of the corners.
    assert with_last_pixels(boxes).boxes.tolist() == [[0, 0, 10, 10], [1, 2, 4, 5], [5.5, 6, 11, 21]]


def test_a_video_without_a_name_is_called_like_its_file(tmp_path: Path) -> None:
    assert list(read(write(tmp_path / "b1c7.json", [without(frame(0), "videoName")]))) == ["b1c7"]


def test_ignore_regions_are_crowds_and_distractors_of_the_ground_truth(tmp_path: Path) -> None:
    labels = [
        label("1", "car", crowd=True),
        label("2", "car", crowd=False),
        label("3", "other vehicle"),
        label("4", "trailer"),
        label("5", "other person"),
        label("6", "person", ignored=True),
    ]
    file = write(tmp_path / "a.json", [frame(0, *labels)])
    (truth,) = truth_of(file).sequences
    assert (truth.objects.ids.tolist(), truth.objects.ignore.tolist()) == ([1], [False])
    assert (truth.regions.ids.tolist(), truth.regions.ignore.tolist()) == ([0, 2, 3, 4, 5], [True] * 5)
    assert with_regions(truth).ignore.tolist() == [False, True, True, True, True, True]
    (results,) = results_of(file, file).values()
    assert not results.ignore.any()
    assert class_names(results) == ["car", "car", "-", "-", "-", "pedestrian"]


def test_files_folders_and_both_forms(tmp_path: Path) -> None:
    one, two = frame(0, label()), frame(0, label(), video="a000")
    write(tmp_path / "one" / "all.json", {"frames": [one, two], "groups": None, "config": None})
    write(tmp_path / "many" / "b1c6.json", [one])
    write(tmp_path / "many" / "a000.json", [two])
    (tmp_path / "many" / "notes.txt").write_text("not read")
    write(tmp_path / "many" / "older" / "a000.json", [two])  # nor this
    for path in (tmp_path / "one" / "all.json", tmp_path / "one", tmp_path / "many"):
        truth = truth_of(path)
        assert truth.names == ("a000", "b1c6")
        assert [len(sequence.objects) for sequence in truth.sequences] == [1, 1]
        found = results_of(path, tmp_path / "many")
        assert [len(found[name]) for name in truth.names] == [1, 1]


def test_ids_may_be_numbers_and_labels_may_be_absent(tmp_path: Path) -> None:
    frames = [frame(0, label(7), label("x")), frame(1, label("7")), {"videoName": "b1c6", "frameIndex": 2}]
    frames.append(frame(3) | {"labels": None})
    bare = label("8")
    del bare["attributes"]
    frames.append(frame(4, bare, label("9") | {"attributes": None}))
    (video,) = read(write(tmp_path / "a.json", frames)).values()
    assert video.frames == (0, 1, 2, 3, 4)
    assert video.table.ids.tolist() == [0, 1, 0, 2, 3]


def test_an_id_may_be_twice_in_ignore_regions(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", [frame(0, label("1", crowd=True), label("1", crowd=True), label("1"))])
    assert len(read(file)["b1c6"].table) == 3
    with pytest.raises(UserError, match="frame 0 of the list, label 1: id '1' is repeated in frame 0"):
        read(file, results=True)


def replaced(key: str, value: Any) -> dict:
    return label() | {key: value}


def without(entry: dict, key: str) -> dict:
    return {name: value for name, value in entry.items() if name != key}


BAD_FRAMES = {
    "frameIndex is missing": without(frame(0, label()), "frameIndex"),
    "videoName is 3": frame(0) | {"videoName": 3},
    "frameIndex is '0'": frame(0) | {"frameIndex": "0"},
    "frameIndex is -1": frame(0) | {"frameIndex": -1},
    "frameIndex is True": frame(0) | {"frameIndex": True},
    "labels is not a list": frame(0) | {"labels": {"id": 1}},
    "not an object with videoName": ["b1c6", 0],
}

BAD_LABELS = {
    "id is missing": without(label(), "id"),
    "category is missing": without(label(), "category"),
    "box2d is missing": without(label(), "box2d"),
    "not an object with id": "car",
    "id is 1.5": label(1.5),
    "id is True": label(True),
    "unknown category 'tram'; ": label(category="tram"),
    "category is 3, not a text": replaced("category", 3),
    "category is ['car'], not a text": replaced("category", ["car"]),
    "box2d is [0, 0, 9, 9]": replaced("box2d", [0, 0, 9, 9]),
    "y2 of box2d is missing": replaced("box2d", {"x1": 0, "y1": 0, "x2": 9}),
    "x1 of box2d is nan": label(box=(float("nan"), 0, 9, 9)),
    "x2 of box2d is inf": label(box=(0, 0, float("inf"), 9)),
    "y1 of box2d is '0'": label(box=(0, "0", 9, 9)),  # type: ignore[arg-type]
    "y2 of box2d is True": label(box=(0, 0, 9, True)),
    "x2 of box2d is 1000000000": label(box=(0, 0, 10**40, 9)),
    "attributes is ['crowd']": replaced("attributes", ["crowd"]),
}


@pytest.mark.parametrize("results", [False, True])
@pytest.mark.parametrize("message", BAD_FRAMES)
def test_bad_frames(tmp_path: Path, message: str, results: bool) -> None:
    file = write(tmp_path / "a.json", [frame(5), BAD_FRAMES[message]])
    with pytest.raises(UserError) as caught:
        read(file, results=results)
    assert str(caught.value).startswith(f"{file}: frame 1 of the list: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("results", [False, True])
@pytest.mark.parametrize("message", BAD_LABELS)
def test_bad_labels(tmp_path: Path, message: str, results: bool) -> None:
    frames = [frame(0), frame(8, label("0"))]
    file, good = write(tmp_path / "a.json", copy.deepcopy(frames)), write(tmp_path / "good.json", frames)
    frames[1]["labels"].append(BAD_LABELS[message])
    write(file, frames)
    if results and message.startswith("attributes"):
        assert results_of(file, good)  # they are not looked at
        return
    with pytest.raises(UserError) as caught:
        results_of(file, good) if results else truth_of(file)
    assert str(caught.value).startswith(f"{file}: frame 1 of the list, label 1: {message}")
    assert "\n" not in str(caught.value)


def test_all_that_is_bad_in_one_pass(tmp_path: Path) -> None:
    frames = [frame(5), *BAD_FRAMES.values(), frame(0, label("0"), *BAD_LABELS.values())]
    problems = Problems()
    (video,) = read_videos(write(tmp_path / "a.json", frames), problems).values()
    assert video.frames == (0, 5)
    assert len(video.table) == 2  # which categories are known, the rules of the benchmark say
    assert len(list(problems)) == len(BAD_FRAMES) + len(BAD_LABELS) - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[{"videoName": "b1c6",\n "frameIndex": 0}, {"video', "a.json:2: not valid JSON"),
        (b"", "a.json:1: not valid JSON"),
        (b"3", "expected a list of frames, or .* \\(Scalabel\\)"),
        (b'{"videos": []}', "expected a list of frames, or .* \\(Scalabel\\)"),
        (b"[\xff\xfe]", "it is not text in UTF-8"),
        (b"[" * 100_000, "nested more than 50 levels deep"),
        (b"[" + b"1" * 5000 + b"]", "a number in it has thousands of digits"),
    ],
)
def test_not_json_of_frames(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([frame(0)]), encoding="utf-8-sig")
    assert read(tmp_path / "a.json")["b1c6"].frames == (0,)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json: cannot be read: No such file"):
        read(tmp_path / "absent.json")
    with pytest.raises(UserError, match=r"absent\.json: no such file or folder"):
        truth_of(tmp_path / "absent.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no label files \(\*\.json\) in this folder"):
        truth_of(tmp_path / "empty")
    with pytest.raises(UserError, match=r"empty: no \.json file in this folder"):
        results_of(tmp_path / "empty", write(tmp_path / "a.json", [frame(0, label())]))


def test_the_same_twice(tmp_path: Path) -> None:
    for results in (False, True):
        with pytest.raises(UserError, match=r"frame 0 of the list, label 1: id '1' is repeated in frame 0"):
            read(write(tmp_path / "a.json", [frame(0, label("1"), label("1"))]), results=results)
        with pytest.raises(UserError, match=r"frame 1 of the list: frameIndex 0 of video 'b1c6' is repeated"):
            read(write(tmp_path / "a.json", [frame(0, label("1")), frame(0)]), results=results)
    one = write(tmp_path / "two" / "a.json", [frame(0, label())])
    write(tmp_path / "two" / "b.json", [frame(0)])
    with pytest.raises(UserError, match=r"b\.json: video 'b1c6' is also in a\.json; remove one"):
        truth_of(tmp_path / "two")
    with pytest.raises(UserError, match=r"b\.json: video 'b1c6' is also in another file of this folder"):
        results_of(tmp_path / "two", one)


def test_results_with_width_and_height_for_a_corner(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", [frame(0, label(box=(500, 300, 40, 60)))])
    with pytest.raises(UserError, match="x2, y2 must be a corner, not a width and height"):
        read(file, results=True)
    assert truth_of(file).sequences  # others' labels are taken as they are: such a box overlaps nothing


@pytest.fixture
def labels() -> list[dict]:
    return [frame(index, label(), video=video) for video in ("a000", "b1c6") for index in range(3)]


def score(tmp_path: Path, gt: list[dict], results: list[dict], **options: bool) -> float:
    gt_file, results_file = write(tmp_path / "gt.json", gt), write(tmp_path / "results.json", results)
    return evaluate_teta(gt_file, results_file, **options).mean.summary()["TETA"]


def test_results_equal_to_the_ground_truth(tmp_path: Path, labels: list[dict]) -> None:
    assert score(tmp_path, labels, labels) == 1
    assert list(teta_by_video(tmp_path / "gt.json", tmp_path / "results.json")) == ["a000", "b1c6"]


def test_results_of_unknown_videos_are_refused(tmp_path: Path, labels: list[dict]) -> None:
    with pytest.raises(UserError, match=r"results\.json: video 'c000' \(and 1 more\) is not in the ground truth"):
        score(tmp_path, labels, [frame(0, video="c000"), frame(0, video="d000")])
    assert score(tmp_path, labels, [*labels, frame(0, video="c000"), frame(0, video="d000")]) == 1
    results = read_results(tmp_path / "results.json", truth_of(tmp_path / "gt.json"))
    assert results.notes == ("results of videos that are not scored: c000, d000",)
    with pytest.raises(UserError, match=r"video 'b1c6' has frameIndex 3, unlike the ground truth; .* count from 0"):
        score(tmp_path, labels, [*labels, frame(3)])


def test_results_that_are_missing(tmp_path: Path, labels: list[dict]) -> None:
    with pytest.raises(UserError, match=r"no results for video 'a000'; .*--allow-missing"):
        score(tmp_path, labels, labels[3:])
    with pytest.raises(UserError, match=r"video 'b1c6' has no frameIndex 1 \(and 1 more\); .*--allow-missing"):
        score(tmp_path, labels, labels[:4])
    # Half the objects, all that there is of a video: LocA 1/2, AssocA 1, ClsA 1.
    assert score(tmp_path, labels, labels[3:], allow_missing=True) == pytest.approx(2.5 / 3)
    assert score(tmp_path, labels, [], allow_missing=True) == 0
    # Four of six boxes: LocA 4/6; AssocA (3 · 3/3 + 1 · 1/3) / 4 = 5/6; ClsA 1.
    assert score(tmp_path, labels, labels[:4], allow_missing=True) == pytest.approx((4 / 6 + 5 / 6 + 1) / 3)


def test_ground_truth_without_objects(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no objects of an evaluated category"):
        score(tmp_path, [frame(0), frame(1, label(crowd=True))], [frame(0), frame(1)])


def test_a_prediction_away_from_every_object(tmp_path: Path, labels: list[dict]) -> None:
    results = copy.deepcopy(labels)
    results[0]["labels"].append(label("2", "car", (100, 0, 120, 20)))
    # It is one Cls FP in seven.
    assert score(tmp_path, labels, results) == pytest.approx((1 + 1 + 6 / 7) / 3)


def test_written_results_are_read_back(tmp_path: Path) -> None:
    with BddSink(tmp_path / "b1c6.json", video_name="b1c6") as sink:
        sink.write(make_frame(0), make_tracks([[1, 2, 11, 22], [-3.5, 0.25, 4, 4]], ids=[7, 0], names=BDD100K_CLASSES))
        sink.write(make_frame(1), make_tracks([], frame=1, names=BDD100K_CLASSES))
        sink.write(make_frame(2), make_tracks([[2, 2, 12, 22]], frame=2, ids=[7], names=BDD100K_CLASSES))
    labels = write(tmp_path / "labels.json", [frame(index, label()) for index in range(3)])
    (boxes,) = results_of(tmp_path / "b1c6.json", labels).values()
    assert boxes.frames.tolist() == [0, 0, 2]
    assert boxes.ids.tolist() == [0, 1, 0]
    assert class_names(boxes) == ["pedestrian", "rider", "pedestrian"]
    assert boxes.boxes.tolist() == [[1, 2, 11, 22], [-3.5, 0.25, 4, 4], [2, 2, 12, 22]]


@pytest.mark.skipif(not REAL.is_dir(), reason="the BDD100K sequence is not here (MEMOTR_TEST_DATA)")
def test_real_sequence() -> None:
    labels = REAL / "track_sample_anns.json"
    (sequence,) = truth_of(labels).sequences
    assert (sequence.name, len(sequence.frames)) == ("b1c66a42-6f7d68ca", 202)
    assert (len(sequence.objects), len(sequence.regions)) == (3109, 132)
    assert not sequence.objects.ignore.any()
    assert len(np.unique(sequence.objects.ids)) == 142
    (found,) = results_of(REAL / "track_predictions.json", labels).values()
    assert len(found) == 2301
