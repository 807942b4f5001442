import pytest

from memotr.demo import run_demo
from memotr.errors import UserError
from memotr.io.mot import read_mot


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"taken"):
        run_demo(tmp_path / "taken")


def test_the_demo_shows_tracks_and_says_what_they_are_worth(tmp_path, capsys):
    run_demo(tmp_path, num_frames=12)
    names = [f"synthdance_demo_0001.{kind}" for kind in ("jsonl", "mp4", "txt")]
    assert sorted(file.name for file in (tmp_path / "tracked").iterdir()) == names
    frames = read_mot(tmp_path / "tracked" / names[-1])
    assert len(frames) == 12, "in every frame somebody is tracked"
    assert max(len(frame.ids) for frame in frames.values()) <= 6
    assert "docs/synthdance.md" in capsys.readouterr().out
