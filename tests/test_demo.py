import pytest

from memotr.demo import run_demo, write_clip
from memotr.errors import UserError
from memotr.io.mot import read_mot
from memotr.io.sources import open_source


def test_the_clip_plays_and_moves(tmp_path):
    write_clip(tmp_path / "new" / "clip.mp4", num_frames=4)
    with open_source(tmp_path / "new" / "clip.mp4") as video:
        frames = [frame.image for frame in video]
    assert [frame.shape for frame in frames] == [(384, 640, 3)] * 4
    assert (frames[0] != frames[-1]).any()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["clip.mp4"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"cannot write .*taken.clip\.mp4: "):
        run_demo(tmp_path / "taken")


@pytest.mark.slow
def test_the_demo_shows_tracks_and_says_what_they_are_worth(tmp_path, capsys):
    run_demo(tmp_path)
    assert sorted(file.name for file in (tmp_path / "tracked").iterdir()) == ["clip.jsonl", "clip.mp4", "clip.txt"]
    frames = read_mot(tmp_path / "tracked" / "clip.txt")
    assert len(frames) > 48, "in most frames something is tracked"
    assert max(len(frame.ids) for frame in frames.values()) < 20, "and the picture is not covered with boxes"
    assert "weights of this demo are random" in capsys.readouterr().out
