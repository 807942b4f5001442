"""Weights that know generated dancers only say so where they meet anything else."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from memotr import load_model
from memotr.config import load_config
from memotr.data.synth.domain import foreign_domain, is_generated
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.weights.convert import convert
from memotr.weights.describe import describe
from memotr.weights.model_files import save_model
from tests.builders import tiny_model
from tests.data import layouts
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)
from tests.io.videos import numbered_video

DOMAIN = "generated dancers only (SynthDance); for people in real video: memotr weights fetch dancetrack"


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    generate(tmp_path / "mine", SynthSettings(splits={"val": 1}, frames=2, figures=(2, 2), size=(64, 128)), workers=1)
    return tmp_path / "mine" / "val" / "synthdance_val_0001"


def test_load_model(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="trained on") as said:
        load_model("synthdance", device="cpu")
    assert [str(one.message) for one in said] == [f"synthdance: trained on {DOMAIN}"]
    assert said[0].filename == __file__
    convert("synthdance", tmp_path / "copy.safetensors")  # the file carries it
    with pytest.warns(UserWarning, match="copy.safetensors: trained on generated dancers only"):
        load_model(tmp_path / "copy.safetensors")
    save_model(tiny_model(), tmp_path / "other.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(tmp_path / "other.safetensors")


def test_info(tmp_path: Path) -> None:
    convert("synthdance", tmp_path / "copy.safetensors")
    assert describe("synthdance")["domain"] == describe(tmp_path / "copy.safetensors")["domain"] == DOMAIN
    save_model(tiny_model(), tmp_path / "other.safetensors")
    assert "domain" not in describe(tmp_path / "other.safetensors")


def test_sources(sequence: Path, tmp_path: Path) -> None:
    """The generator's own file tells, not a name and not a look."""
    image = next((sequence / "img1").iterdir())
    (tmp_path / "link").symlink_to(sequence)
    for source in (sequence, sequence / "img1", image, tmp_path / "link", str(sequence)):
        assert is_generated(source)
    copy = shutil.copytree(sequence, tmp_path / "synthdance_val_0001")
    beside = shutil.copytree(sequence, sequence.with_name("other"))
    for source in (copy, beside, sequence.parent, sequence / "gone", "rtsp://user:pw@camera/live", "0"):
        assert not is_generated(source)
    config = load_config("synthdance")
    assert foreign_domain(config, [sequence]) is None
    assert foreign_domain(load_config("tiny"), [copy]) is None
    said = foreign_domain(config, [sequence, "rtsp://user:pw@camera/live", copy])
    assert said == f"rtsp://camera/live and 1 more: not what the weights were trained on, {DOMAIN}"


def test_a_folder_at_the_top_of_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert not is_generated("/synthdance_clips/video.mp4")


def test_track(memotr: Command, sequence: Path, tmp_path: Path) -> None:  # noqa: F811
    numbered_video(tmp_path / "shop.mp4", 2)
    command = ("track", "--checkpoint", "synthdance", "--no-video", "--device", "cpu")
    code, _, errors = memotr(*command, sequence)
    assert (code, "not what" in errors) == (0, False)
    code, _, errors = memotr(*command, tmp_path / "shop.mp4")
    assert (code, errors.count("trained on")) == (0, 1)
    assert f"memotr: note: {tmp_path}/shop.mp4: not what the weights were trained on, {DOMAIN}\n" in errors


def test_eval(memotr: Command, sequence: Path, tmp_path: Path) -> None:  # noqa: F811
    layouts.write_dancetrack(tmp_path)
    command = ("eval", "--checkpoint", "synthdance", "--split", "val", "--device", "cpu", "--output")
    with pytest.warns(UserWarning, match=r"dancetrack0002/img1 and 1 more: not what the weights were trained on"):
        assert memotr(*command, tmp_path / "a", "--dataset", tmp_path / "DanceTrack")[0] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert memotr(*command, tmp_path / "b", "--dataset", sequence.parents[1])[0] == 0
