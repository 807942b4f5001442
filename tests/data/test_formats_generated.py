"""Text that the published scripts made, where it is asked for."""

from pathlib import Path

import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.problems import Problems
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from tests.data.layouts import BDD100K_CATEGORIES, expected_of, found_in, write_generated


def read(root: Path, **options) -> tuple[list[Sequence], Problems]:
    problems = Problems()
    return load_split(DatasetSpec(root, format="generated", **options), problems=problems), problems


def test_as_written(tmp_path: Path) -> None:
    scenes = write_generated(tmp_path)
    mot17, _ = read(tmp_path / "MOT17")
    assert [sequence.name for sequence in mot17] == ["MOT17-0001-SDP", "MOT17-0002-SDP"]
    bdd100k, _ = read(tmp_path / "BDD100K")
    for name, sequences in (("MOT17", mot17), ("BDD100K", bdd100k)):
        for sequence in sequences:
            assert found_in(sequence) == expected_of(scenes[name][sequence.name])
            assert (sequence.size, sequence.first_frame) == ((96, 160), 1)
    assert (mot17[0].classes, bdd100k[0].classes) == (("person",), BDD100K_CATEGORIES)
    stills, _ = read(tmp_path / "CrowdHuman")
    assert [still.name for still in stills] == list(scenes["CrowdHuman"])
    for still in stills:
        assert still.still
        assert [box for _, _, *box in found_in(still)[0]] == [
            box for _, _, *box in expected_of(scenes["CrowdHuman"][still.name])[0]
        ]


def test_only_on_request(tmp_path: Path) -> None:
    write_generated(tmp_path)
    (tmp_path / "CrowdHuman" / "annotation_val.odgt").unlink()
    with pytest.raises(UserError, match=r"text of the authors' scripts\); to read it, set the format to 'generated'"):
        load_split(DatasetSpec(tmp_path / "CrowdHuman"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,1,2,3,4,5", "expected class id x y w h"),
        ("0 1 2 3 4", "separated by spaces, found 5 values"),
        ("0 1 a 3 4 5", "not all values are numbers"),
        ("0 1.5 2 3 4 5", "class 0 and id 1.5 must be whole numbers"),
        ("1 1 2 3 4 5", "class 1 is not one of 0 to 0"),
        ("0 7 1 1 nan 5", "NaN"),
    ],
)
def test_errors_with_line(tmp_path: Path, line: str, message: str) -> None:
    write_generated(tmp_path)
    file = tmp_path / "MOT17" / "gts" / "train" / "MOT17-0002-SDP" / "img1" / "000003.txt"
    file.write_text(f"0 77 1 1 9 9\n\n{line}\n")
    with pytest.raises(UserError, match=f"{file}:3: .*{message}"):
        read(tmp_path / "MOT17")


def test_scripts_that_ran_twice(tmp_path: Path) -> None:
    """They append: every box is there twice then."""
    write_generated(tmp_path)
    file = tmp_path / "MOT17" / "gts" / "train" / "MOT17-0001-SDP" / "img1" / "000001.txt"
    file.write_text(file.read_text() * 2)
    with pytest.raises(UserError, match=f"{file}:5: id 1 is repeated in frame 0"):
        read(tmp_path / "MOT17")


def test_scripts_that_wrote_nothing(tmp_path: Path) -> None:
    write_generated(tmp_path)
    folder = tmp_path / "MOT17" / "gts" / "train" / "MOT17-0001-SDP" / "img1"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(
        UserError, match=f"{folder}: no text files in this folder: run the script that generates them again"
    ):
        read(tmp_path / "MOT17")


def test_frames_without_text_and_text_without_frames(tmp_path: Path) -> None:
    scenes = write_generated(tmp_path)
    root = tmp_path / "MOT17"
    (root / "gts" / "train" / "MOT17-0001-SDP" / "img1" / "000002.txt").unlink()
    (root / "images" / "train" / "MOT17-0001-SDP" / "img1" / "000005.jpg").unlink()
    sequences, problems = read(root)
    truth = expected_of(scenes["MOT17"]["MOT17-0001-SDP"])
    assert found_in(sequences[0]) == [truth[0], [], *truth[2:4], *truth[5:]]
    assert "1 text files have no image (000005.txt, …)" in str(problems.notes[0])
    (tmp_path / "CrowdHuman" / "images" / "train" / "273271,0002.jpg").unlink()
    with pytest.raises(UserError, match=r"273271,0002.txt: no image of this name in .*images/train"):
        read(tmp_path / "CrowdHuman")
