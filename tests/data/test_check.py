"""`memotr data check`: what it tells, what it draws, and when it exits with 2."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from memotr.cli import app
from memotr.data.contact_sheet import COLUMNS, TILE_WIDTH, contact_sheet, write_png
from memotr.data.dataset_check import MAX_DECODED, check
from memotr.data.formats import FORMATS
from memotr.errors import UserError
from memotr.io.draw import track_color
from memotr.io.image_files import read_image
from tests.data.layouts import (
    Scene,
    write_bdd100k,
    write_crowdhuman,
    write_dancetrack,
    write_generated,
    write_image,
    write_sequence,
    write_text,
)


def run(path: Path, *options: str) -> Result:
    """The command as people call it; its last line is what `main` would print."""
    sheet = path.parent / "sheet.png"
    return CliRunner().invoke(app, ["data", "check", str(path), "--sheet", str(sheet), *options])


def words(result: Result) -> str:
    """Output with runs of spaces made one."""
    return re.sub(r" +", " ", result.output)


def test_report_lists_the_content_of_the_data_set(tmp_path: Path) -> None:
    scenes = write_dancetrack(tmp_path)
    result = run(tmp_path / "DanceTrack")
    assert result.exit_code == 0, result.output
    text = words(result)
    boxes = {
        split: sum(len(s.boxes(k)) for s in found.values() for k in range(s.length)) for split, found in scenes.items()
    }
    assert "sequences in the MOTChallenge layout in DanceTrack/test, DanceTrack/train, DanceTrack/val" in text
    assert f"train 2 17 8 8 9 0 {boxes['train']} 3.8, at most 4 8" in text
    assert "test 2 17 8 8 9 no ground truth" in text
    assert f"person {boxes['train'] + boxes['val']} 16 " in text
    assert "frame sizes 160×96 (51)" in text
    assert "frames per second 20" in text
    assert "ids that reappear 4 of 16" in text
    assert "error" not in text
    assert "note" not in text
    assert (tmp_path / "sheet.png").is_file()


def test_statistics_against_slow_ones(tmp_path: Path) -> None:
    scene = Scene(length=12, objects=7)
    outside = ["1,50,-3,10,20,20,1,1,1", "2,50,150,10,20,20,1,1,1", "5,51,0,0,160,96,1,1,1"]
    write_sequence(tmp_path / "a", scene, extra_rows=outside)
    text = words(run(tmp_path))
    seen: dict[int, list[int]] = {50: [0, 1], 51: [4]}
    sides = [(20, 20), (20, 20), (160, 96)]
    for frame in range(scene.length):
        for number, _, _, _, wide, tall in scene.boxes(frame):
            seen.setdefault(number, []).append(frame)
            sides.append((wide, tall))
    back = sum(frames[-1] - frames[0] + 1 > len(frames) for frames in seen.values())
    assert back == 2
    assert f"ids that reappear {back} of {len(seen)}" in text
    assert f"boxes partly outside {2 / len(sides):.1%}" in text
    width = np.percentile([wide for wide, _ in sides], [50, 5, 95])
    assert f"person {len(sides)} {len(seen)} {width[0]:.0f} ({width[1]:.0f}–{width[2]:.0f})" in text
    assert f"{np.mean([w * h < 1024 for w, h in sides]):.0%}" in text


def test_every_problem_is_reported(tmp_path: Path) -> None:
    write_sequence(
        tmp_path / "a", Scene(length=4), extra_rows=["1,77,10,10,0,5,1,1,1", "x", "2,1", "3,5,nan,1,1,1,1,1,1"]
    )
    lines = len((tmp_path / "a" / "gt" / "gt.txt").read_text().splitlines())
    result = run(tmp_path)
    assert isinstance(result.exception, UserError)  # which the entry point prints, with exit code 2
    assert str(result.exception) == f"{tmp_path}: 3 errors, listed above: training would fail"
    file = tmp_path / "a" / "gt" / "gt.txt"
    assert f"note: {file}:{lines - 3}: a box has no width or no height: left out\n" in result.output
    assert f"error: {file}:{lines - 2}: 'x' is not a number; columns are frame, id" in result.output
    assert f"error: {file}:{lines - 1}: found 2 values; expected frame, id" in result.output
    assert f"error: {file}:{lines}: a coordinate is NaN" in result.output
    assert (tmp_path.parent / "sheet.png").is_file()  # of what could be read


def test_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from memotr.cli import main

    write_sequence(tmp_path / "a", Scene(length=2), ground_truth=False)
    monkeypatch.setattr("sys.argv", ["memotr", "data", "check", str(tmp_path), "--sheet", str(tmp_path / "s.png")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert "no ground truth in 1 of its sequences: they can be tracked, but not trained on" in out
    assert err == f"memotr: {tmp_path}: 1 error, listed above: training would fail\n"


def test_an_unwritable_sheet_is_a_warning_not_an_error(tmp_path: Path) -> None:
    write_sequence(tmp_path / "data" / "a", Scene(length=2))
    (tmp_path / "taken").touch()
    result = CliRunner().invoke(
        app, ["data", "check", str(tmp_path / "data"), "--sheet", str(tmp_path / "taken/s.png")]
    )
    assert result.exit_code == 0
    assert "memotr: warning: cannot write" in result.output
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "data"), "--no-sheet"])
    assert "annotated frames" not in result.output
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "data"), "--sheet", "s.jpg"])
    assert isinstance(result.exception, UserError)


@pytest.mark.parametrize("full", [False, True])
def test_damaged_images_are_errors(tmp_path: Path, full: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Cut short: seen at the end mark. Scrambled inside: seen only where it is decoded."""
    write_sequence(tmp_path / "a", Scene(length=400, size=(16, 16), objects=1))
    images = tmp_path / "a" / "img1"
    cut = images / "000007.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    empty = images / "000100.jpg"
    empty.write_bytes(b"")
    skipped = sorted(set(range(400)) - set(np.linspace(0, 399, MAX_DECODED).astype(int).tolist()))
    png = images / f"{skipped[50] + 1:06d}.jpg"  # between two of the sample
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(png, "png")
    png.write_bytes(png.read_bytes()[:300])
    found = {problem.file: problem.message for problem in check(tmp_path, full=full).problems.errors}
    assert set(found) == {cut, empty} | ({png} if full else set())
    assert "copy it again" in found[cut]
    assert capfd.readouterr() == ("", "")  # OpenCV's own warnings name no file


def test_sizes_that_differ(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=4))
    odd = tmp_path / "a" / "img1" / "000003.jpg"
    write_image(odd, Scene(size=(48, 80)).image(0))
    (problem,) = check(tmp_path).problems.errors
    assert problem.file == odd
    assert "is 80×48, but its sequence is 160×96" in problem.message


def test_rotated_images_are_noted(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=3))
    folder = tmp_path / "a" / "img1"
    exif = Image.Exif()
    exif[0x0112] = 8
    for name in ("000002.jpg", "000003.jpg"):
        Image.fromarray(read_image(folder / name)).save(folder / name, exif=exif)
    (note,) = check(tmp_path).problems.notes
    assert str(note).startswith(f"{folder}: 000002.jpg: has an EXIF rotation, which training ignores")
    assert str(note).endswith("(also 000003.jpg; 2 in all)")


def test_tracks_that_change_their_class(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=1), ground_truth=False)
    write_sequence(tmp_path / "b", Scene(length=2), ground_truth=False)
    write_text(tmp_path / "a" / "gt" / "gt.txt", ["1,1,10,10,20,20,1,1,1"])
    write_text(tmp_path / "b" / "gt" / "gt.txt", ["1,1,10,10,20,20,1,1,1", "2,1,10,10,20,20,1,2,1"])
    notes = [str(note) for note in check(tmp_path).problems.notes]
    assert f"{tmp_path / 'a' / 'img1'}: has only one frame: too short for a clip" in notes
    assert f"{tmp_path / 'b' / 'img1'}: 1 ids have several classes" in notes


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            lambda k, f, i, x, y, w, h: f"{f},{i},{x},{y},{x + w},{y + h},1,1,1",
            "corners (x1, y1, x2, y2), but were read as left",
        ),
        (lambda k, f, i, x, y, w, h: f"{f},{i},{x / 160},{y / 96},{w / 160},{h / 96},1,1,1", "fractions of the image"),
        (
            lambda k, f, i, x, y, w, h: f"{f},{k},{x},{y},{w},{h},1,1,1",
            "most ids occur in one frame only: they probably",
        ),
        (lambda k, f, i, x, y, w, h: f"{f},-1,{x},{y},{w},{h},0.{k + 10},-1,-1,-1", "a file of detections or results?"),
        (lambda k, f, i, x, y, w, h: f"{f},{i},{x},{y},{w},{h},0.9,-1,-1,-1", "a file of detections or results?"),
        (lambda k, f, i, x, y, w, h: f"{f},-1,{x},{y},{w},{h},{k + 1},-1,-1,-1", "is this a file of detections?"),
        (lambda k, f, i, x, y, w, h: f"{f},{i},{x},{y},{w},{h},1,1,1", None),
    ],
)
def test_suspicious_columns_are_reported(tmp_path: Path, change: Callable[..., str], note: str | None) -> None:
    scene = Scene(objects=4)
    write_sequence(tmp_path / "a", scene)
    rows = [(f + 1, i, *box) for f in range(scene.length) for i, _, *box in scene.boxes(f)]
    write_text(tmp_path / "a" / "gt" / "gt.txt", [change(k, *row) for k, row in enumerate(rows)])
    found = [str(problem) for problem in check(tmp_path).problems]
    assert any(note in text for text in found) if note else not found, found


def test_text_of_the_published_scripts_is_found(tmp_path: Path) -> None:
    write_generated(tmp_path)
    reads = r"MOT17 has gts/<split> .*; to read it, set the format to 'generated'"
    for path in ("MOT17", "MOT17/gts/train"):
        assert re.search(f"no ground truth in 2 of its sequences.*; .*{reads}", run(tmp_path / path).output)
    with pytest.raises(UserError, match=f"img1: no ground truth in this folder; .*{reads}"):
        check(tmp_path / "MOT17" / "gts" / "train" / "MOT17-0001-SDP" / "img1")


def test_stills_with_boxes_outside(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path, images=1, size=(96, 160))
    root = tmp_path / "CrowdHuman"
    write_text(
        root / "annotation_val.odgt",
        ['{"ID": "273271,0001", "gtboxes": [{"fbox": [170, 1, 9, 9]}, {"fbox": [1, 1, 9, 9]}]}'],
    )
    (note,) = check(root, split="val").problems.notes
    assert "1 boxes are entirely outside the image" in note.message


def test_one_split_by_option_and_by_path(tmp_path: Path) -> None:
    write_dancetrack(tmp_path)
    root = tmp_path / "DanceTrack"
    assert list(check(root).splits) == ["test", "train", "val"]
    assert list(check(root, split="val").splits) == list(check(root / "val").splits) == ["val"]
    assert list(check(root / "train_half").splits) == ["train_half"]


def test_sheet_has_the_frames_and_colours_of_the_ids(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=30, objects=3, size=(180, 320)))
    sequences = check(tmp_path).sequences
    sheet = contact_sheet(sequences)
    tiles = COLUMNS * (TILE_WIDTH + 6) + 6
    assert (sheet.dtype, sheet.shape[1]) == (np.uint8, tiles)
    assert sheet.shape[0] == 6 + 5 * (360 + 28 + 6)  # one sequence fills all five rows
    first = sheet[6 : 6 + 360, 6 : 6 + TILE_WIDTH].astype(int)
    boxes = sequences[0].boxes[0]
    for number, (x1, y1, x2, _) in zip(boxes.ids.tolist(), boxes.boxes.tolist(), strict=True):
        edge = first[round(2 * y1) - 2 : round(2 * y1) + 3, round(x1 + x2) - 3 : round(x1 + x2) + 3]
        assert np.abs(edge - track_color(number)).sum(axis=2).min() < 40
    plain = cv2.resize(read_image(sequences[0].frames[0]), (TILE_WIDTH, 360), interpolation=cv2.INTER_AREA).astype(int)
    same = (np.abs(first - plain).sum(axis=2) == 0).mean()
    assert 0.8 < same < 1


@pytest.mark.parametrize("layout", [write_bdd100k, write_crowdhuman])
def test_sheets_of_other_layouts(tmp_path: Path, layout) -> None:
    layout(tmp_path)
    (root,) = tmp_path.iterdir()
    report = check(root)
    assert not list(report.problems)
    sheet = contact_sheet(report.sequences)
    rows = 4 if layout is write_bdd100k else 2  # two splits of two videos; of four stills
    assert sheet.shape[0] == 6 + rows * (384 + 28 + 6)


def test_sheet_with_a_damaged_image(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", Scene(length=2))
    (tmp_path / "a" / "img1" / "000002.jpg").write_bytes(b"")
    assert contact_sheet(check(tmp_path).sequences).shape[0] == 6 + 384 + 28 + 6


def test_sheet_is_written_whole_or_not(tmp_path: Path) -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    image[0, 0] = (255, 10, 20)
    write_png(image, tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(UserError, match=r"cannot write .*a.png/b.png: "):
        write_png(image, tmp_path / "a.png" / "b.png")


@pytest.mark.parametrize("name", ["auto", *(format.name for format in FORMATS)])
def test_the_command_takes_every_format(tmp_path: Path, name: str) -> None:
    result = run(tmp_path, "--format", name)
    assert isinstance(result.exception, UserError)  # there is nothing here; an unknown format is another exception
    assert "no data set recognised" in str(result.exception) or f"is not in the format {name}" in str(result.exception)
