import pytest

from memotr.demo.run_demo import make_clip, run_demo
from memotr.errors import UserError
from tests.io.results import read_mot

CLIP = "synthdance_demo_0001"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match=r"taken"):
        run_demo(tmp_path / "taken")


def test_the_demo_compares_tracks_with_ground_truth_and_bytetrack(tmp_path, capsys):
    run_demo(tmp_path, num_frames=12)
    tracked, followed = tmp_path / "tracked", tmp_path / "bytetrack"
    assert sorted(file.name for file in tracked.iterdir()) == [f"{CLIP}.{kind}" for kind in ("jsonl", "mp4", "txt")]
    ours, bytetrack = read_mot(tracked / f"{CLIP}.txt"), read_mot(followed / f"{CLIP}.txt")
    assert len(ours) == 12, "in every frame somebody is tracked"
    assert max(len(frame.ids) for frame in ours.values()) <= 6
    for number, frame in bytetrack.items():
        boxes = ours[number].boxes.tolist()
        assert all(box in boxes for box in frame.boxes.tolist()), "the same boxes, none of its own"
    assert (tmp_path / "side_by_side.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "HOTA" in said
    assert "ByteTrack" in said
    assert "docs/synthdance.md" in said


def test_without_the_packages_to_compare_with_it_still_tracks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("memotr.demo.run_demo.find_spec", lambda name: None)
    run_demo(tmp_path, num_frames=3)
    assert (tmp_path / "tracked" / f"{CLIP}.txt").is_file()
    assert "pip install 'memotr[demo]'" in capsys.readouterr().out


def test_the_clip_of_the_trained_demo_is_easier(tmp_path):
    make_clip(tmp_path, 2, easy=True)
    make_clip(tmp_path, 2, easy=True)  # is there already
    with pytest.raises(UserError, match="made with figures"):
        make_clip(tmp_path, 2, easy=False)
