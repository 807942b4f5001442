"""The page of a run's errors: what it says, that it stands alone, and where its pictures are taken from."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from memotr.cli import main
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.score_files import write_scores
from memotr.evaluation.scoring import evaluate
from memotr.inspection import page as errors_page
from memotr.inspection.error_page import choose, write_page
from memotr.inspection.frame_images import find_images
from memotr.inspection.inspect_run import Inspection, inspect_run
from memotr.inspection.pictures import MIN_SIDE, SIDE, take_pictures
from memotr.inspection.sequence_section import MIN_LANES
from tests.evaluation.generated import write_rows, write_split

NAMES = ("MOT17-02", "MOT17-04")
VOID = {"meta", "br"}


def scored(folder: Path, gt: Path, results: Path) -> Path:
    """The folder of a scored run."""
    source = {"ground_truth": str(gt), "results": str(results)}
    write_scores(folder, evaluate(gt, results), title="run", source=source)
    return folder


def write_images(gt: Path, name: str, numbers: range) -> None:
    """Frames whose brightness is their number."""
    folder = gt / name / "img1"
    folder.mkdir(parents=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), np.full((300, 400, 3), 4 * number % 256, np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    gt, results = write_split(tmp_path, NAMES, frames=20)
    write_images(gt, NAMES[0], range(1, 21))
    return scored(tmp_path / "run", gt, results)


class Page(HTMLParser):
    """Checks that elements nest, and collects what they say."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.unnamed: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href") and value]
        if tag == "svg" and not (named.get("role") == "img" and named.get("aria-label")):
            self.unnamed.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(run: Path, **options: object) -> tuple[Page, list[str]]:
    path = run / "errors.html"
    notes = write_page(path, inspect_run(run), **options)  # type: ignore[arg-type]
    return Page(path), notes


def test_the_page_stands_alone(run: Path) -> None:
    page, notes = page_of(run)
    assert notes == [
        f"no images found of {NAMES[1]}; --images names the folder that holds their folders",
    ]
    inner = [link[1:] for link in page.links if link.startswith("#")]
    assert set(inner) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    outer = [link for link in page.links if not link.startswith("#")]
    assert outer
    assert all(link.startswith("data:image/jpeg;base64,") for link in outer)
    assert not re.search(r"https?:|url\(|@import|<script", page.text)
    assert not page.unnamed
    assert "default-src 'none'" in page.text


def test_the_table_has_the_numbers_of_the_run(run: Path) -> None:
    page, _ = page_of(run)
    for row in json.loads((run / "metrics.json").read_text())["sequences"].values():
        for text in (f"{100 * row['HOTA']:.1f}", f"{row['IDSW']:,}", f"{row['CLR_FN']:,}", f"{row['CLR_FP']:,}"):
            assert f"<td>{text}</td>" in page.text


def test_names_are_escaped(tmp_path: Path) -> None:
    strange = "a<b>&'x"
    gt, results = write_split(tmp_path, (strange,), frames=12)
    page, notes = page_of(scored(tmp_path / "run<i>", gt, results))
    assert any(strange in note for note in notes)
    assert strange not in page.text
    assert "a&lt;b&gt;&amp;&#39;x" in page.text
    assert "<i>" not in page.text.partition("<main>")[0]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\"'><img src=x>", "&amp;", "{{ 7 * 7 }}{% raw %}", "a\u202eb", "a\udcffb"]
)
def test_text_stays_text(run: Path, text: str) -> None:
    path = run / "errors.html"
    write_page(path, replace(inspect_run(run), notes=(text,)), worst=0)
    page = Page(path)
    assert text.replace("\udcff", r"\xff") in page.words
    assert not {"script", "img"} & set(page.tags)


def test_without_jinja2(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    errors_page.template_environment.cache_clear()
    with pytest.raises(UserError, match=r"jinja2 is required but not installed: pip install 'memotr\[eval\]'"):
        page_of(run)
    assert not (run / "errors.html").exists()


def test_classes_are_named_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "dataset.yaml").write_text("classes: ['cat & dog', bird]\n")
    rows = [[frame, number, 50 * number, 20, 30, 40, 1, number] for frame in (1, 2, 3) for number in (1, 2)]
    write_rows(tmp_path / "own" / "s" / "gt" / "gt.txt", rows)
    write_rows(tmp_path / "results" / "s.txt", [row for row in rows if row[1] == 2 or row[0] > 1])
    page, _ = page_of(scored(tmp_path / "run", tmp_path / "own", tmp_path / "results"))
    assert "Cat &amp; dog 1 missed 1 time" in page.text
    assert "By class" in page.text
    assert "means over classes" in page.text


def test_few_lanes_where_tracks_are_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scored(tmp_path / "run", *write_split(tmp_path, ("a", "b"), frames=20))
    whole, _ = page_of(run, worst=0)
    monkeypatch.setattr("memotr.inspection.sequence_section.MAX_PIECES", 1)
    page, _ = page_of(run, worst=0)
    assert "with fewer errors" in page.text
    assert "with fewer errors" not in whole.text
    assert page.text.count("<span>object") == 2 * MIN_LANES < whole.text.count("<span>object")


def test_a_run_without_errors(tmp_path: Path) -> None:
    rows = [[frame, 1, 50, 20, 30, 40, 1, 1] for frame in (1, 2, 3)]
    write_rows(tmp_path / "gt" / "s" / "gt" / "gt.txt", rows)
    write_rows(tmp_path / "results" / "s.txt", rows)
    page, _ = page_of(scored(tmp_path / "run", tmp_path / "gt", tmp_path / "results"))
    assert "1 object tracked without errors" in page.text
    assert "The worst single events" not in page.text


def test_as_many_of_each_kind_as_there_are(run: Path) -> None:
    inspection = inspect_run(run)
    kinds = [type(one.event).__name__ for one in choose(inspection, 9)]
    assert sorted(kinds) == ["FalseRun"] * 3 + ["MissedRun"] * 3 + ["Switch"] * 3
    every = choose(inspection, 10_000)
    assert len(every) == sum(len(e.switches) + len(e.misses) + len(e.false_runs) for e in inspection.errors)
    assert [one.event.cost for one in every] == sorted((one.event.cost for one in every), reverse=True)
    page, _ = page_of(run, worst=0)
    assert "image" not in page.tags


def test_pictures_show_the_box_in_its_frame(run: Path) -> None:
    (errors,) = (one for one in inspect_run(run).errors if one.name == NAMES[0])
    images, _ = find_images(load_ground_truth(run.parent / "gt"))
    for event in errors.switches:
        before, after = take_pictures(event, errors.matched, images[NAMES[0]], 50_000)
        assert (before.frame, after.frame) == (event.first, event.last)
        for picture, track in ((before, event.old), (after, event.new)):
            focus = {(mark.role.value, mark.id): mark.box for mark in picture.marks if mark.focus}
            assert ("object", event.id) in focus
            assert ("track", track) in focus
            left, top, right, bottom = focus["object", event.id]
            assert max(0, left) < min(SIDE, right)
            assert max(0, top) < min(SIDE, bottom)
            pixels = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert abs(float(pixels.mean()) - 4 * (picture.frame + 1)) < 2  # the image of this frame
            assert MIN_SIDE <= pixels.shape[0] == pixels.shape[1] <= SIDE


def test_pictures_are_taken_round_the_box(tmp_path: Path) -> None:
    write_rows(tmp_path / "gt" / "s" / "gt" / "gt.txt", [[1, 1, 250, 70, 40, 60, 1, 1], [2, 1, 0, 240, 40, 60, 1, 1]])
    write_rows(tmp_path / "results" / "s.txt", [[1, 5, 100, 100, 20, 20, 1, -1, -1, -1]])
    write_images(tmp_path / "gt", "s", range(1, 3))
    (errors,) = inspect_run(scored(tmp_path / "run", tmp_path / "gt", tmp_path / "results")).errors
    images, _ = find_images(load_ground_truth(tmp_path / "gt"))
    inside, at_corner = take_pictures(errors.misses[0], errors.matched, images["s"], 50_000)
    scale = SIDE / 138  # 2.3 times 60 pixels
    (mark,) = (mark for mark in inside.marks if mark.focus)
    assert mark.box == pytest.approx(tuple(scale * value for value in (49, 39, 89, 99)))
    (mark,) = (mark for mark in at_corner.marks if mark.focus)
    assert mark.box == pytest.approx(tuple(scale * value for value in (0, 78, 40, 138)))


def test_a_picture_keeps_to_its_limit(run: Path) -> None:
    gt = run.parent / "gt"
    rng = np.random.default_rng(0)
    for file in (gt / NAMES[0] / "img1").iterdir():
        cv2.imwrite(str(file), rng.integers(0, 255, (300, 400, 3), np.uint8))
    (errors,) = (one for one in inspect_run(run).errors if one.name == NAMES[0])
    images, _ = find_images(load_ground_truth(gt))
    sizes = [
        len(picture.jpeg)
        for limit in (60_000, 12_000)
        for picture in take_pictures(errors.misses[0], errors.matched, images[NAMES[0]], limit)
    ]
    assert max(sizes[:2]) > 12_000 >= max(sizes[2:])


def test_broken_images_are_noted(run: Path) -> None:
    for file in (run.parent / "gt" / NAMES[0] / "img1").iterdir():
        file.write_bytes(b"no image")
    page, notes = page_of(run)
    assert "image" not in page.tags
    assert "images are missing or broken" in notes[1]
    assert "images are missing or broken" in page.text


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(1, 21), {0: 1, 19: 20}),
        (range(20), {0: 0, 19: 19}),  # images count from 0, frames from 1
        (range(501, 521), {0: 501, 19: 520}),  # a part of a longer video, all of it here
        (range(5, 9), {4: 5, 7: 8}),  # some are missing
        (range(4), {0: 0, 3: 3}),
    ],
)
def test_which_image_is_which_frame(tmp_path: Path, numbers: range, expected: dict[int, int]) -> None:
    gt, _ = write_split(tmp_path, ("a",), frames=20)
    write_images(gt, "a", numbers)
    images, notes = find_images(load_ground_truth(gt))
    assert not notes
    assert (min(images["a"]), max(images["a"])) == (min(expected), max(expected))
    for frame, number in expected.items():
        assert images["a"][frame].name == f"{number:06d}.jpg"


def test_a_copy_that_lacks_its_first_image_counts_as_its_split_does(tmp_path: Path) -> None:
    gt, _ = write_split(tmp_path, ("a", "b"), frames=20)
    write_images(gt, "a", range(20))
    write_images(gt, "b", range(1, 4))
    images, _ = find_images(load_ground_truth(gt))
    assert {k: file.stem for k, file in images["b"].items()} == {1: "000001", 2: "000002", 3: "000003"}


def test_images_of_the_second_half(tmp_path: Path) -> None:
    gt, _ = write_split(tmp_path, ("a",), frames=20)
    write_images(gt, "a", range(1, 21))
    images, _ = find_images(load_ground_truth(gt, half=True))
    assert [file.stem for file in images["a"].values()] == [f"{number:06d}" for number in range(12, 21)]
    assert min(images["a"]) == 0


def test_images_from_elsewhere(tmp_path: Path) -> None:
    gt, _ = write_split(tmp_path, ("a", "b"), frames=20)
    for folder in ("x/a/img1", "x/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "000001.jpg").write_bytes(b"")
    images, notes = find_images(load_ground_truth(gt), tmp_path / "x")
    assert (set(images), notes) == ({"a", "b"}, [])
    assert find_images(load_ground_truth(gt, only=["a"]), tmp_path / "x" / "a")[0]
    with pytest.raises(UserError, match="no such folder"):
        find_images(load_ground_truth(gt), tmp_path / "nowhere")


def test_images_of_coco_video(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    write_images(tmp_path, "val", range(1, 4))
    (tmp_path / "val" / "img1").rename(tmp_path / "val" / "v")
    names = [f"v/{number:06d}.jpg" for number in (1, 2, 3)]
    images = [{"id": k, "video_id": 1, "frame_id": k, "file_name": name} for k, name in enumerate(names)]
    box = {"video_id": 1, "instance_id": 1, "category_id": 1, "bbox": [5, 5, 20, 40], "area": 800, "iscrowd": 0}
    content = {"videos": [{"id": 1, "name": "v"}], "categories": [{"id": 1, "name": "person"}], "images": images}
    content["annotations"] = [box | {"id": k + 1, "image_id": k} for k in range(3)]
    (tmp_path / "annotations" / "val.json").write_text(json.dumps(content))
    found, notes = find_images(load_ground_truth(tmp_path, split="val"))
    assert not notes
    assert [file.stem for file in found["v"].values()] == ["000001", "000002", "000003"]
    (tmp_path / "val" / "v" / "000009.jpg").write_bytes(b"")  # of no frame
    assert find_images(load_ground_truth(tmp_path, split="val"))[0] == found


def test_images_that_cannot_belong(tmp_path: Path) -> None:
    gt, _ = write_split(tmp_path, ("a",), frames=20)
    write_images(gt, "a", range(1, 41))
    images, notes = find_images(load_ground_truth(gt))
    assert not images
    assert "40 images for the 20 frames" in notes[1]


def test_images_of_bdd100k(tmp_path: Path) -> None:
    root, name = tmp_path / "BDD100K", "b1-2"
    box = {"x1": 1, "y1": 1, "x2": 40, "y2": 40}
    frames = [
        {"name": f"{name}-{k + 1:07d}.jpg", "videoName": name, "frameIndex": k}
        | {"labels": [{"id": "7", "category": "car", "box2d": box}]}
        for k in range(3)
    ]
    labels = root / "labels" / "box_track_20" / "val"
    labels.mkdir(parents=True)
    (labels / f"{name}.json").write_text(json.dumps(frames))
    folder = root / "images" / "track" / "val" / name
    folder.mkdir(parents=True)
    for k in (0, 1, 2):
        (folder / f"{name}-{k + 1:07d}.jpg").write_bytes(b"")
    truth = load_ground_truth(root, split="val")
    assert [file.stem[-1] for file in find_images(truth)[0][name].values()] == ["1", "2", "3"]
    (folder / f"{name}-0000001.jpg").unlink()
    assert {k: file.stem[-1] for k, file in find_images(truth)[0][name].items()} == {1: "2", 2: "3"}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["memotr", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(run.parent)
    assert call(monkeypatch, "errors", "run", "--sequences", "*-02", "--worst", "3", "--output", "page.html") == 0
    out, err = capsys.readouterr()
    assert (err, out.splitlines()[-1]) == ("", "wrote page.html")
    page = Page(run.parent / "page.html")
    assert page.tags.count("article") == 3 + 3 + 3  # causes, lists of the worst, cards
    assert NAMES[1] not in page.text
    assert "over all 2 scored sequences" in page.text
    assert call(monkeypatch, "errors", "run", "--images", "gt") == 0
    assert (run / "errors.html").is_file()
    assert "no images found of MOT17-04" in capsys.readouterr().err


def spoilt(run: Path, what: str) -> None:
    gt, results, metrics = run.parent / "gt", run.parent / "results", run / "metrics.json"
    content = json.loads(metrics.read_text())
    if what == "results changed":
        write_rows(results / f"{NAMES[0]}.txt", [[1, 1, 5, 5, 20, 20, 1, -1, -1, -1]])
    elif what == "results gone":
        results.rename(run.parent / "elsewhere")
    elif what == "sequence gone":
        (gt / NAMES[0]).rename(run.parent / NAMES[0])
    elif what == "no source":
        metrics.write_text(json.dumps(content | {"source": {}}))
    elif what == "no metrics":
        metrics.unlink()
    else:
        metrics.write_text("{")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("results changed", "have changed since"),
        ("results gone", "cannot be read again"),
        ("sequence gone", "is missing from the ground truth now"),
        ("no source", "score the run again"),
        ("no metrics", "no metrics.json"),
        ("broken", "was not written by memotr score"),
    ],
)
def test_a_run_that_cannot_be_shown(
    run: Path, what: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt(run, what)
    assert call(monkeypatch, "errors", run) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err
    assert not (run / "errors.html").exists()


def test_no_sequence_of_that_name(run: Path) -> None:
    with pytest.raises(UserError, match="no sequence is named x; available are MOT17-02, MOT17-04"):
        inspect_run(run, only=["x"])


def test_sequences_are_ranked_by_lost_boxes(run: Path) -> None:
    inspection: Inspection = inspect_run(run)
    assert [one.lost for one in inspection.errors] == sorted((one.lost for one in inspection.errors), reverse=True)
