"""Several sources through one tracker: as one by one, and stopped together."""

from functools import partial
from pathlib import Path

import cv2
import pytest

from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.mot import MotSink
from memotr.io.sources import open_source
from memotr.tracking.many_sources import check_sources, track_sources
from memotr.tracking.tracker import Tracker
from tests.io.results import read_mot
from tests.io.videos import numbered, numbered_video
from tests.tracking.test_batch import small_tracker


def outputs(folder, source):
    return [MotSink(folder / f"{source.name}.txt")]


@pytest.fixture
def clips(tmp_path):
    return [str(numbered_video(tmp_path / f"{name}.mp4", frames)) for name, frames in (("a", 5), ("b", 3), ("c", 4))]


def test_the_same_results_in_a_batch_as_one_by_one(clips, tmp_path):
    tracker = small_tracker()
    for folder, batch in (("alone", 1), ("together", 2), ("more than there are", 9)):
        track_sources(
            tracker, check_sources(clips, open_source), open_source, partial(outputs, tmp_path / folder), batch
        )
    for name, frames in (("a", 5), ("b", 3), ("c", 4)):
        alone = read_mot(tmp_path / "alone" / f"{name}.txt")
        assert len(alone) == frames
        for folder in ("together", "more than there are"):
            found = read_mot(tmp_path / folder / f"{name}.txt")
            for number, frame in alone.items():
                assert found[number].ids.tolist() == frame.ids.tolist()
                assert found[number].boxes == pytest.approx(frame.boxes, abs=1e-2)


def test_an_unfinished_file_is_not_reported_as_written(clips, tmp_path, capsys):
    class Full(MotSink):
        def _finish(self) -> None:
            super()._finish()
            raise OSError(28, "No space left on device")

    def make(source):
        return [Full(tmp_path / "full.txt"), MotSink(tmp_path / "whole.txt")]

    with pytest.raises(UserError, match=r"cannot write .*full.txt: No space left on device"):
        track_sources(small_tracker(), {clips[0]: "a"}, open_source, make)
    assert "wrote nothing\n" in capsys.readouterr().out


def test_frames_of_several_sizes_are_noted(tmp_path, capsys):
    """As in joined segments: boxes are in pixels of the frame they are of."""
    parts = [numbered_video(tmp_path / f"{h}.ts", 3, height=h, width=96) for h in (64, 96)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    track_sources(small_tracker(), {str(joined): "joined"}, open_source, partial(outputs, tmp_path))
    message = "joined: frames have several sizes, 96 x 64 (from frame 0), 96 x 96 (from frame 3); boxes are in pixels"
    assert message in capsys.readouterr().err


def test_a_video_without_tracks_is_reported(clips, tmp_path, capsys):
    tracker = Tracker(small_tracker().model, det_thresh=1.0)
    track_sources(tracker, {clips[0]: "a"}, open_source, partial(outputs, tmp_path))
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
        track_sources(small_tracker(), check_sources(clips, open_source), open_source, make, 2)
    assert len(read_mot(tmp_path / "a.txt")) >= 1
    assert not list(Path(tmp_path).glob("*.part"))


def names_of(*sources):
    return list(check_sources([str(source) for source in sources], open_source).values())


def test_names_are_the_shortest_unique_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b", "deep/a"):
        Path(folder).mkdir(parents=True)
    for name in ("a/v.mp4", "b/v.mp4", "a/v.mkv", "deep/a/v.mp4", "b/other.mp4", "a_v.mp4"):
        numbered_video(Path(name), 2)
    Path("b/link.mp4").symlink_to(tmp_path / "b" / "v.mp4")
    Path("linked").symlink_to(tmp_path / "b")
    assert names_of("a/v.mp4", "b/other.mp4") == ["v", "other"]
    assert names_of("a/v.mp4", "b/v.mp4") == ["a_v", "b_v"]
    assert names_of("a/v.mp4", "a/v.mkv") == ["v.mp4", "v.mkv"]
    assert names_of("b/v.mp4", "a/v.mkv", "a/v.mp4") == ["b_v.mp4", "a_v.mkv", "a_v.mp4"]
    assert names_of("a/v.mp4", "deep/a/v.mp4") == [f"{tmp_path.name}_a_v", "deep_a_v"]
    assert names_of("a/v.mp4", "b/v.mp4", "a_v.mp4") == ["a_v.mp4", "b_v.mp4", "a_v"]
    assert names_of("b/v.mp4", "linked/v.mp4", "b/link.mp4") == ["b_v", "linked_v", "link"], "links to one file"


def test_names_of_folders_and_sequences(tmp_path):
    for folder in ("train/x/img1", "val/x/img1", "one/frames", "two/frames"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "1.png"), numbered(1, 24, 32))
    (tmp_path / "three").symlink_to(tmp_path / "two" / "frames")
    assert names_of(tmp_path / "train/x", tmp_path / "val/x/img1") == ["train_x", "val_x"]
    assert names_of(tmp_path / "one/frames", tmp_path / "two/frames") == ["one_frames", "two_frames"]
    assert names_of(tmp_path / "three", tmp_path / "two/frames") == ["three", "frames"]
    with pytest.raises(UserError, match=r"val/x/img1 is given twice; give it once"):
        names_of(tmp_path / "val/x", tmp_path / "val/x/img1")


def test_names_of_streams(clips):
    """They are known before they are connected to."""
    assert names_of(clips[0], "rtsp://camera/1", "0") == ["a", "camera_1", "camera0"]
    with pytest.raises(UserError, match=r"http://c/live and http://c/live have the same name"):
        names_of("http://c/live?channel=1", "http://c/live?channel=2")


def test_the_same_source_twice(clips):
    with pytest.raises(UserError, match=r"a\.mp4 is given twice; give it once"):
        names_of(clips[0], str(Path(clips[0]).parent / "." / ".." / Path(clips[0]).parent.name / "a.mp4"))


def test_images_that_are_given_one_by_one(tmp_path):
    """As frames/*.jpg gives them: identities would begin anew in each."""
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), numbered(i, 24, 32))
    message = rf"3 images of the folder {tmp_path} are given one by one, and .* video; pass the folder to track them"
    with pytest.raises(UserError, match=message):
        names_of(*sorted(tmp_path.glob("*.png")))
    assert names_of(tmp_path / "1.png") == ["1"]


def test_the_results_of_sources_of_one_name(clips, tmp_path):
    (tmp_path / "again").mkdir()
    names = check_sources([clips[0], str(numbered_video(tmp_path / "again" / "a.mp4", 2))], open_source)
    track_sources(small_tracker(), names, open_source, partial(outputs, tmp_path))
    found = {file.name: len(read_mot(file)) for file in tmp_path.glob("*.txt")}
    assert found == {f"{tmp_path.name}_a.txt": 5, "again_a.txt": 2}
