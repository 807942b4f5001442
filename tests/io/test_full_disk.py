"""What becomes of results when the disk is full: older ones stay, and what was written is readable."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.files import DRAFT
from memotr.io.bdd import BddSink
from memotr.io.frames import Frame
from memotr.io.jsonl import JsonLinesSink
from memotr.io.mot import MotSink
from memotr.io.mp4 import VideoSink
from memotr.io.sinks import Sink, close_all
from tests.full_disk import files_end_at, needs_limits
from tests.io.results import make_tracks, read_mot

pytestmark = needs_limits

COUNT = 40
OLDER = b"an older result"


def make_sinks(folder: Path) -> list[Sink]:
    lines = MotSink(folder / "a.txt"), JsonLinesSink(folder / "a.jsonl"), BddSink(folder / "a.json", video_name="a")
    return [*lines, VideoSink(folder / "a.mp4", fps=Fraction(25))]


def fill(sinks: list[Sink], count: int = COUNT) -> None:
    random = np.random.default_rng(0)
    try:
        for i in range(count):
            frame = Frame(i, random.integers(0, 255, (48, 64, 3), np.uint8), i / 25)
            for sink in sinks:
                sink.write(frame, make_tracks([[1, 2, 3, 4], [5, 6, 7, 8.5]], frame=i))
    finally:
        close_all(sinks)


def frames_in(path: Path) -> int:
    if path.suffix == ".txt":
        return len(read_mot(path))
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    if path.suffix == ".json":
        return len(json.loads(path.read_text()))
    return len([json.loads(line) for line in path.read_text().splitlines()])


@pytest.mark.parametrize(
    "names", [["a.txt"], ["a.jsonl"], ["a.json"], ["a.mp4"], ["a.txt", "a.jsonl", "a.json", "a.mp4"]]
)
def test_all_files_are_whole_or_the_older_ones_stay(tmp_path: Path, names: list[str]) -> None:
    """Whatever the place at which the disk is full: within the first bytes, in mid-file, at the very end."""
    whole = tmp_path / "whole"
    fill(make_sinks(whole))
    largest = max((whole / name).stat().st_size for name in names)
    sizes = sorted({0, 1, 40, largest - 1, largest, largest + 2000, *range(0, largest, largest // 12)})
    ends = []
    for size in sizes:
        folder = tmp_path / str(size)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(OLDER)
        sinks = [sink for sink in make_sinks(folder) if sink.path.name in names or sink.close()]  # type: ignore[func-returns-value]
        with files_end_at(size):
            try:
                fill(sinks)
            except UserError as error:
                message = str(error)
            else:
                message = ""
        ends.append(bool(message))
        for name in names:
            if message:
                assert (folder / name).read_bytes() == OLDER
            else:
                assert frames_in(folder / name) == COUNT
        left = sorted(path for path in folder.iterdir() if path.name not in names)
        assert all(str(path) in message for path in left)
        if message:
            assert message.startswith("cannot write ")
            assert "File too large; older results are kept" in message
        for path in left:
            assert DRAFT.fullmatch(path.name)
            renamed = path.rename(
                folder / f"part{Path(path.name.split('.')[1] + '.' + path.name.split('.')[2]).suffix}"
            )
            assert 0 < frames_in(renamed) <= COUNT
            assert (whole / f"a{renamed.suffix}").read_bytes().startswith(renamed.read_bytes().removesuffix(b"\n]\n"))
    assert ends == sorted(ends, reverse=True)
    assert ends[0]
    assert not ends[-1], message
    if "a.mp4" not in names:  # the encoder does not promise files of the same size
        assert ends[sizes.index(largest) - 1 :] == [True, False, False]


def test_a_list_that_breaks_off_between_two_frames_is_readable(tmp_path: Path) -> None:
    """Its ending replaces a separator, and takes no byte more than the file has."""
    fill([BddSink(tmp_path / "whole.json", video_name="a")])
    size = 0
    for _ in range(5):
        size = (tmp_path / "whole.json").read_bytes().index(b",\n", size) + len(b",\n")
    with files_end_at(size), pytest.raises(UserError, match="the frames written so far are in"):
        fill([BddSink(tmp_path / "a.json", video_name="a")])
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "whole.json"}
    assert len(json.loads(left.read_text())) == 4


def test_a_sink_that_has_failed_takes_no_more(tmp_path: Path) -> None:
    sink = MotSink(tmp_path / "a.txt")
    with files_end_at(100), pytest.raises(UserError, match="File too large"):
        fill([sink], 500)
    with pytest.raises(UserError, match="File too large"):
        sink.write(Frame(0, np.zeros((4, 4, 3), np.uint8), 0.0), make_tracks([], frame=0))
    (left,) = tmp_path.iterdir()
    assert left.read_text().endswith("\n")
    assert MotSink(tmp_path / "a.txt").give_up() is None
    assert not list(tmp_path.iterdir()), "the next run removes what is left"


def test_video_without_room_for_its_header(tmp_path: Path) -> None:
    """A container whose header could not be written crashes the process at the next packet."""
    for count in (5, 200):  # the encoder holds some frames: the header is written while closing, or while writing
        sink = VideoSink(tmp_path / "a.mp4", fps=Fraction(25))
        with files_end_at(0), pytest.raises(UserError, match=r"cannot write .*a\.mp4"):
            fill([sink], count)
        assert not list(tmp_path.iterdir())
