"""Names that would leave their folder, in every format: told with their place, and used for nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memotr.data.datasets import DatasetSpec, load_split
from memotr.documents import read_json
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.io.bdd import BddSink
from memotr.io.jsonl import JsonLinesSink
from memotr.io.seqinfo import read_seqinfo
from memotr.io.sources import open_source
from memotr.terminal import printable
from memotr.tracks import Tracks
from tests.data import layouts
from tests.data.layouts import Scene, write_json, write_sequence

HOSTILE = [
    "../../../x",
    "/tmp/x",
    "..\\x",
    "..",
    ".",
    "a\nb",
    "a\0b",
    "\x1b[31mred",
    "gnp.\u202etxt",
    "C:\\evil",
    "\ud800",
]


def rename_videos(file: Path, name: str) -> None:
    """Give every frame of a Scalabel file, or the first video of a COCO-video file, this name."""
    content: Any = json.loads(file.read_text())
    if isinstance(content, list):
        write_json(file, [frame | {"videoName": name} for frame in content])
    else:
        content["videos"][0]["name"] = name
        write_json(file, content)


@pytest.mark.parametrize("name", HOSTILE)
def test_video_names_of_bdd100k(tmp_path: Path, name: str) -> None:
    layouts.write_bdd100k(tmp_path)
    file = tmp_path / "BDD100K" / "labels" / "box_track_20" / "val" / "b1c66a42-0001.json"
    rename_videos(file, name)
    for read in (
        lambda: load_split(DatasetSpec(tmp_path / "BDD100K", "val")),
        lambda: load_ground_truth(tmp_path / "BDD100K", split="val"),
    ):
        assert refused(read).startswith(f"{file}")


@pytest.mark.parametrize("name", HOSTILE)
def test_video_names_of_coco_video(tmp_path: Path, name: str) -> None:
    layouts.write_coco_video(tmp_path)
    file = tmp_path / "annotations" / "val.json"
    rename_videos(file, name)
    assert refused(lambda: load_split(DatasetSpec(tmp_path, "val"))).startswith(f"{file}")


@pytest.mark.parametrize("name", ["../../x.jpg", "/tmp/x.jpg", "a/../../x.jpg", "..\\x.jpg", "a\0.jpg"])
def test_image_names_of_coco_video(tmp_path: Path, name: str) -> None:
    layouts.write_coco_video(tmp_path)
    file = tmp_path / "annotations" / "val.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = name
    write_json(file, content)
    reason = "a NUL or an unpaired surrogate" if "\0" in name else "leads out of the image folder"
    assert reason in refused(lambda: load_split(DatasetSpec(tmp_path, "val")))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file systems that take any byte but / and 0")
@pytest.mark.parametrize("name", [b"latin-1 \xff", b"a\nb", b"\x1b[2J"])
def test_names_of_folders(tmp_path: Path, name: bytes) -> None:
    write_sequence(tmp_path / "a", Scene())
    folder = (tmp_path / "a").rename(tmp_path / os.fsdecode(name))  # OpenCV cannot write there
    for read in (lambda: load_split(DatasetSpec(tmp_path, None)), lambda: load_ground_truth(tmp_path)):
        assert refused(read).startswith(f"{tmp_path}")
    with open_source(folder) as source:  # results are called after the name in seqinfo.ini, or cleaned
        assert "/" not in source.name
        assert source.name.isprintable()


@pytest.mark.parametrize("folder", ["..", "../../other", "/etc", "img1/../.."])
def test_image_folders_of_seqinfo(tmp_path: Path, folder: str) -> None:
    write_sequence(tmp_path / "a", Scene())
    file = tmp_path / "a" / "seqinfo.ini"
    file.write_text(file.read_text().replace("imDir=img1", f"imDir={folder}"))
    info = read_seqinfo(file)
    assert info.image_folder == "img1"
    assert info.unusable == {"imDir": f"imDir='{folder}' is not a folder within the sequence"}
    with pytest.raises(UserError, match="is not a folder within the sequence; correct it"):
        open_source(tmp_path / "a")


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        read()
    assert any(reason in str(error.value) for reason in ("rename it", "leads out", "a NUL or an unpaired surrogate"))
    return str(error.value)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file systems that take any byte but / and 0")
def test_image_names_that_are_not_utf8(tmp_path: Path) -> None:
    """They are tracked, and results name them as messages do, in JSON that every reader takes."""
    write_sequence(tmp_path / "a", Scene(length=1))
    image = tmp_path / "a" / "img1" / "000001.jpg"
    image = image.rename(image.with_name(os.fsdecode(b"caf\xe9-1.jpg")))
    tracks = Tracks.empty(0, ("person",))
    for kind, sink in (
        ("jsonl", JsonLinesSink(tmp_path / "a.jsonl")),
        ("json", BddSink(tmp_path / "a.json", video_name="a")),
    ):
        with open_source(tmp_path / "a") as source, sink:
            for frame in source:
                sink.write(frame, tracks)
        content = read_json(tmp_path / f"a.{kind}")
        name = content["file"] if kind == "jsonl" else content[0]["name"]
        assert name == printable(image.name) == r"caf\xe9-1.jpg"
