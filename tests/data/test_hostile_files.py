"""Files of every format, changed at random: readers give sequences, or one line that names what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from memotr.data.datasets import DatasetSpec, read_split
from memotr.data.layouts import recognise
from memotr.data.problems import Problems
from memotr.errors import UserError
from tests.data import layouts
from tests.mutations import SEEDS, survives

TEXT = {".txt", ".ini", ".json", ".odgt", ".yaml"}
SMALL = {"length": 2, "size": (24, 32), "objects": 2}


def dancetrack(root: Path) -> Path:
    layouts.write_dancetrack(root, sequences=1, **SMALL)
    (root / "DanceTrack" / "dataset.yaml").write_text(
        "format: mot\nclasses: {1: person}\nsplits: {train: train}\nseqmaps: {train: train_seqmap.txt}\n"
    )
    return root / "DanceTrack"


def crowdhuman(root: Path) -> Path:
    layouts.write_crowdhuman(root, images=2, size=(24, 32), objects=2)
    return root / "CrowdHuman"


def bdd100k(root: Path) -> Path:
    layouts.write_bdd100k(root, videos=1, **SMALL)
    return root / "BDD100K"


def coco_video(root: Path) -> Path:
    layouts.write_coco_video(root, videos=1, **SMALL)
    return root


def generated(root: Path) -> Path:
    layouts.write_generated(root)
    return root / "MOT17"


FORMATS = {"auto": [dancetrack, crowdhuman, bdd100k, coco_video], "generated": [generated]}


@pytest.mark.parametrize("mutations", SEEDS)
@pytest.mark.parametrize(
    ("format", "write"), [(format, write) for format, writers in FORMATS.items() for write in writers]
)
def test_hostile_files(format: str, write: Callable[[Path], Path], tmp_path: Path, mutations: range) -> None:
    root = write(tmp_path)
    files = [file for file in sorted(root.rglob("*")) if file.suffix in TEXT and "test" not in file.name][:6]

    def read() -> None:
        for split in recognise(root, format).splits:
            problems = Problems()
            for sequence in read_split(DatasetSpec(root, split, format), problems, ground_truth="test" not in split):
                assert "\0" not in sequence.name
            for problem in problems:
                assert len(str(problem).splitlines()) == 1
                assert len(str(problem)) < 1500

    survives(files, read, mutations)


@pytest.mark.parametrize(
    ("write", "file", "content", "told"),
    [
        (bdd100k, "labels/box_track_20/train/*.json", '[{"name": "a.jpg", "videoName": "a\\u0000b"}]', "a NUL"),
        (bdd100k, "labels/box_track_20/train/*.json", '[{"name": "a.jpg", "videoName": "\\ud800"}]', "surrogate"),
        (
            bdd100k,
            "labels/box_track_20/train/*.json",
            '[{"name": "a.jpg", "videoName": [1]}]',
            r"videoName is \[1\], not",
        ),
        (
            bdd100k,
            "labels/box_track_20/train/*.json",
            '[{"name": "a.jpg", "frameIndex": 1e400}]',
            "frameIndex is inf, not",
        ),
        (
            bdd100k,
            "labels/box_track_20/train/*.json",
            f'[{{"name": "a.jpg", "frameIndex": {10**40}}}]',
            "frameIndex is 10{40}, not",
        ),
        (bdd100k, "labels/box_track_20/train/*.json", "[" * 3000, "levels deep"),
        (coco_video, "annotations/*train.json", "[" * 3000 + "]" * 3000, "levels deep"),
        (crowdhuman, "annotation_train.odgt", '{"ID": "\\ud800", "gtboxes": []}\n', "odgt:1: .*surrogate"),
        (dancetrack, "train/*/gt/gt.txt", "1\n", "gt.txt:1: found 1 values; expected frame, id"),
        (dancetrack, "dataset.yaml", "splits: 2001-99-99\n", "dataset.yaml, line 1: not valid YAML"),
        (dancetrack, "dataset.yaml", 'splits: {"\\ud800": a}\n', "dataset.yaml.*surrogate"),
        (dancetrack, "dataset.yaml", f"classes: {{{'1' * 5000}: a}}\n", "dataset.yaml, line 1: not valid YAML"),
        (dancetrack, "dataset.yaml", "classes: {100000000000000000000: a}\n", "dataset.yaml: classes: .* not a number"),
        (dancetrack, "dataset.yaml", "splits: " + "[" * 3000, "dataset.yaml.*levels deep"),
        (dancetrack, "dataset.yaml", "classes: [" + "a, " * 20_000 + "]\n", "dataset.yaml: classes"),
        (dancetrack, "train_seqmap.txt", "a\0b\n", "train_seqmap.txt.*NUL"),
        (
            dancetrack,
            "train_seqmap.txt",
            "name\n" + "a" * 5000 + "\n",
            "train_seqmap.txt, line 2: .* is longer than 255 characters",
        ),
    ],
)
def test_hostile_files_are_refused(
    write: Callable[[Path], Path], file: str, content: str, told: str, tmp_path: Path
) -> None:
    root = write(tmp_path)
    next(root.glob(file)).write_text(content)
    problems = Problems()
    with pytest.raises(UserError, match=told) as error:  # noqa: PT012
        list(read_split(DatasetSpec(root, "train"), problems))
        problems.raise_errors(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["imDir=a\0b\n", "imDir=" + "x" * 5000 + "\n", "seqLength=" + "9" * 5000 + "\n"])
def test_seqinfo(text: str, tmp_path: Path) -> None:
    """All of it is optional: what cannot be used is noted, or the one thing that is wrong is told."""
    root = dancetrack(tmp_path)
    next(root.glob("train/*/seqinfo.ini")).write_text("[Sequence]\n" + text)
    problems = Problems()
    try:
        list(read_split(DatasetSpec(root, "train"), problems))
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert [note for note in problems.notes if "seqinfo.ini" in str(note.file)]
