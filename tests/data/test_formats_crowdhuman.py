"""CrowdHuman: still images with full boxes, one JSON object a line."""

import json
from pathlib import Path

import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.problems import Problems
from memotr.errors import UserError
from tests.data.layouts import expected_of, found_in, read_dataset, write_crowdhuman, write_text


def boxes_of(sequence) -> list[tuple[int, ...]]:
    return [box for _, _, *box in found_in(sequence)[0]]


def test_as_written(tmp_path: Path) -> None:
    """Persons only: not the ignored ones, not the masks."""
    scenes = write_crowdhuman(tmp_path)
    for split in ("train", "val"):
        stills = read_dataset(tmp_path / "CrowdHuman", split)
        assert [still.name for still in stills] == list(scenes[split])
        for still in stills:
            assert still.still
            assert still.classes == ("person",)
            assert still.frames == (tmp_path / "CrowdHuman" / "images" / split / f"{still.name}.jpg",)
            assert boxes_of(still) == [box for _, _, *box in expected_of(scenes[split][still.name])[0]]
            assert len(set(still.boxes[0].ids.tolist())) == len(still.boxes[0])


def test_boxes_may_reach_out(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path, images=1)
    record = {"ID": "273271,0001", "gtboxes": [{"tag": "person", "fbox": [-20, -5, 300, 200]}]}
    write_text(tmp_path / "CrowdHuman" / "annotation_val.odgt", [json.dumps(record), ""])
    (still,) = read_dataset(tmp_path / "CrowdHuman", "val")
    assert boxes_of(still) == [[-20, -5, 300, 200]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "cannot be read: "),
        ('{"ID": "273271,0001", "gtboxes": [', "not valid JSON: .* is the file cut short?"),
        ("[]", 'expected {"ID"'),
        ('{"ID": "273271,0001"}', 'expected {"ID"'),
        ('{"ID": "273271,0001", "gtboxes": []}', "is already annotated on an earlier line"),
        ('{"ID": "lost", "gtboxes": []}', "no image .*lost.jpg"),
        (
            '{"ID": "273271,0003", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3]}]}',
            r"gtboxes\[0\] has no fbox of four",
        ),
        ('{"ID": "273271,0003", "gtboxes": [{"tag": "person", "vbox": [1, 2, 3, 4]}]}', r"gtboxes\[0\] has no fbox"),
        ('{"ID": "273271,0003", "gtboxes": [{"tag": "person", "fbox": [NaN, 2, 3, 4]}]}', "NaN"),
    ],
)
def test_errors_with_line(tmp_path: Path, line: str, message: str) -> None:
    write_crowdhuman(tmp_path)
    file = tmp_path / "CrowdHuman" / "annotation_train.odgt"
    lines = file.read_text().splitlines()
    write_text(file, [lines[0], lines[1], line])
    with pytest.raises(UserError, match=f"{file}:3: .*{message}"):
        read_dataset(tmp_path / "CrowdHuman", "train")


def test_a_byte_order_mark(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path)
    before = [boxes_of(still) for still in read_dataset(tmp_path / "CrowdHuman", "train")]
    file = tmp_path / "CrowdHuman" / "annotation_train.odgt"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert [boxes_of(still) for still in read_dataset(tmp_path / "CrowdHuman", "train")] == before


def test_notes(tmp_path: Path) -> None:
    """Boxes without width, and images that are not annotated."""
    write_crowdhuman(tmp_path)
    file = tmp_path / "CrowdHuman" / "annotation_train.odgt"
    record = {"ID": "273271,0001", "gtboxes": [{"fbox": [1, 2, 0, 4]}, {"fbox": [1, 2, 9, 9]}]}
    write_text(file, [json.dumps(record)])
    problems = Problems()
    (still,) = load_split(DatasetSpec(tmp_path / "CrowdHuman"), problems=problems)
    assert boxes_of(still) == [[1, 2, 9, 9]]
    assert [str(note).partition(": ")[2] for note in problems.notes] == [
        "a box has no width or no height: left out",
        "3 images are not in annotation_train.odgt: left out",
    ]
    assert problems.notes[0].places == (1,)


def test_no_images(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path)
    for file in (tmp_path / "CrowdHuman" / "images" / "val").iterdir():
        file.unlink()
    with pytest.raises(
        UserError, match=r"images/val: no images in this folder; copy the images of annotation_val.odgt there"
    ):
        read_dataset(tmp_path / "CrowdHuman", "val")


def test_stills_have_no_halves(tmp_path: Path) -> None:
    write_crowdhuman(tmp_path)
    with pytest.raises(UserError, match=r"val_half needs videos, but these are still images"):
        read_dataset(tmp_path / "CrowdHuman", "val_half")
