"""Several sources through one tracker: as one by one, and stopped together."""

from functools import partial
from pathlib import Path

import pytest

from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.mot import MotSink
from memotr.io.sources import open_source
from memotr.tracking.many_sources import check_sources, track_sources
from memotr.tracking.tracker import Tracker
from tests.io.results import read_mot
from tests.io.videos import numbered_video
from tests.tracking.test_batch import small_tracker


def outputs(folder, source):
    return [MotSink(folder / f"{source.name}.txt")]


@pytest.fixture
def clips(tmp_path):
    return [str(numbered_video(tmp_path / f"{name}.mp4", frames)) for name, frames in (("a", 5), ("b", 3), ("c", 4))]


def test_the_same_results_in_a_batch_as_one_by_one(clips, tmp_path):
    tracker = small_tracker()
    for folder, batch in (("alone", 1), ("together", 2), ("more than there are", 9)):
        track_sources(tracker, clips, open_source, partial(outputs, tmp_path / folder), batch)
    for name, frames in (("a", 5), ("b", 3), ("c", 4)):
        alone = read_mot(tmp_path / "alone" / f"{name}.txt")
        assert len(alone) == frames
        for folder in ("together", "more than there are"):
            found = read_mot(tmp_path / folder / f"{name}.txt")
            for number, frame in alone.items():
                assert found[number].ids.tolist() == frame.ids.tolist()
                assert found[number].boxes == pytest.approx(frame.boxes, abs=1e-2)


def test_a_second_stream_of_the_same_name_does_not_overwrite_the_first(clips, tmp_path, capsys):
    """Streams are known by name only when they are opened."""
    streams = ["rtsp://a/1", "rtsp://b/1"]
    with pytest.raises(UserError, match="1 of 2 sources"):
        track_sources(small_tracker(), streams, lambda _: open_source(clips[0]), partial(outputs, tmp_path))
    assert "rtsp://b/1 and rtsp://a/1 have the same name" in capsys.readouterr().err
    assert len(read_mot(tmp_path / "a.txt")) == 5


def test_a_file_that_cannot_be_finished_is_not_said_to_be_written(clips, tmp_path, capsys):
    class Full(MotSink):
        def _finish(self) -> None:
            super()._finish()
            raise OSError(28, "No space left on device")

    def make(source):
        return [Full(tmp_path / "full.txt"), MotSink(tmp_path / "whole.txt")]

    with pytest.raises(UserError, match=r"cannot write .*full.txt: No space left on device"):
        track_sources(small_tracker(), clips[:1], open_source, make)
    assert "wrote nothing\n" in capsys.readouterr().out


def test_where_nothing_was_tracked_it_is_said(clips, tmp_path, capsys):
    tracker = Tracker(small_tracker().model, det_thresh=1.0)
    track_sources(tracker, clips[:1], open_source, partial(outputs, tmp_path))
    told = capsys.readouterr()
    assert told.out.startswith("5 frames, 0 ids")
    assert "memotr: nothing was tracked: no box above min_area (100) reached det_thresh (1) and exceeded" in told.err


def test_an_interruption_ends_all_and_leaves_whole_files(clips, tmp_path, monkeypatch):
    class Interrupting(MotSink):
        def write(self, frame: Frame, tracks) -> None:
            super().write(frame, tracks)
            if frame.index == 1:
                raise KeyboardInterrupt

    def make(source):
        return [(Interrupting if source.name == "a" else MotSink)(tmp_path / f"{source.name}.txt")]

    with pytest.raises(KeyboardInterrupt):
        track_sources(small_tracker(), clips, open_source, make, 2)
    assert len(read_mot(tmp_path / "a.txt")) >= 1
    assert not list(Path(tmp_path).glob("*.part"))


def test_names_are_looked_at_before_anything_is_tracked(clips, tmp_path):
    (tmp_path / "again").mkdir()
    check_sources([*clips, "rtsp://camera/1"], open_source)
    with pytest.raises(Exception, match="have the same name"):
        check_sources([*clips, str(numbered_video(tmp_path / "again" / "a.mp4", 2))], open_source)
