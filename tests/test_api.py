"""The package's public functions: what the commands do, from Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import memotr
from memotr.cli import main
from memotr.tracking.compiled import CompiledTracker
from tests.training.builders import write_videos

SMALL = ("training.epochs=1", "data.workers=0", "input.short_side=32", "input.longest_side=64")


def write_frames(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k}.png"), rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    return folder


def test_every_public_name_is_there() -> None:
    assert dir(memotr) == sorted([*memotr.__all__, "__version__"])
    for name in memotr.__all__:
        assert getattr(memotr, name).__doc__


def test_track_writes_the_same_files_as_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_frames(tmp_path / "walk")
    files = memotr.track(source, "synthdance", output=tmp_path / "api", result_thresh=0.0, det_thresh=0.01)
    assert [file.name for file in files] == ["walk.txt", "walk.jsonl", "walk.mp4"]
    options = ["--checkpoint", "synthdance", "--result-thresh", "0", "--det-thresh", "0.01"]
    command = ["memotr", "track", str(source), "--output", str(tmp_path / "command"), *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    for file in files[:2]:
        assert file.read_text() == (tmp_path / "command" / file.name).read_text()
    assert "\n" in files[0].read_text()
    (text, _) = memotr.track([str(source)], "synthdance", output=tmp_path / "part", video=False, start=1, stride=5)
    assert (text.parent / "walk.jsonl").read_text().count("\n") == 1


def test_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[1] / "README.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "frames")
    names: dict[str, Any] = {}
    exec(code.replace('"dancetrack"', '"synthdance"').replace('"video.mp4"', '"frames"'), names)
    assert names["tracks"].frame == 2
    with memotr.open_source("tracked.mp4") as video:
        assert len(list(video)) == 3


def test_a_tracker_loads_weights_by_name(tmp_path: Path) -> None:
    for make in (memotr.Tracker, CompiledTracker):
        assert make("synthdance", device="cpu", det_thresh=0.3).settings.det_thresh == 0.3
    with pytest.raises(memotr.UserError, match="did you mean 'synthdance'"):
        memotr.Tracker("synthdanse")


def test_train_on_data_of_ones_own_and_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_videos(tmp_path / "shop")
    run = memotr.train("tiny", data=data, settings=SMALL, device="cpu")
    assert run == Path("runs/shop")
    weights = run / "last.safetensors"
    config = memotr.load_model(weights).config
    assert (config.name, config.data.val) == ("shop", None)

    # Without a preset the settings are those of the weights.
    again = memotr.train(data=data, pretrained=weights, output="again", settings=["training.epochs=2"], device="cpu")
    trained = memotr.load_model(again / "last.safetensors").config
    assert trained.model == config.model
    assert (trained.training.epochs, trained.data.sampling) == (2, config.data.sampling)

    scores = memotr.evaluate(again / "last.safetensors", data, split="train", device="cpu", output="scores")
    assert 0 <= scores.combined["HOTA"] <= 1
    assert (tmp_path / "scores" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to train: pass a preset"),
        ({"config": "dancetrack", "settings": ["data.root=mine"]}, "Data of your own: memotr train --data FOLDER"),
        ({"config": "tiny", "pretrained": "synthdance"}, r"and 5 more settings differ; .* without a preset"),
        ({"resume": "run", "pretrained": "synthdance"}, "leave out one of them"),
    ],
)
def test_impossible_trainings_are_refused(options: dict[str, object], words: str, tmp_path: Path) -> None:
    if "pretrained" in options and "resume" not in options:
        options = {**options, "data": write_videos(tmp_path / "data")}
    with pytest.raises(memotr.UserError, match=words) as error:
        memotr.train(output=tmp_path / "run", device="cpu", **options)  # type: ignore[arg-type]
    assert len(str(error.value)) < 700
