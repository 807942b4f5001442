"""`memotr data synth`: the same files whoever writes them, in the layout that the readers know, whole or not at all."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.kill_runs import GRACE, MarkedProcess
from memotr.cli import app
from memotr.data.dataset_check import check
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.synth import writer
from memotr.data.synth.dance_scene import make_scene
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.files import hold_folder
from memotr.io.image_files import read_image
from tests.full_disk import files_end_at, needs_limits

SMALL = SynthSettings(splits={"train": 2, "val": 1}, frames=4, size=(64, 96), figures=(2, 4))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    assert generate(tmp_path / "one", SMALL, workers=1) == generate(tmp_path / "two", SMALL, workers=2) == 3
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert len(one) == 3 * (4 + 2) + 2 + 2  # images, gt.txt, seqinfo.ini; seqmaps; dataset.yaml, synthdance.yaml


def test_a_sequence_does_not_depend_on_other_sequences(tmp_path: Path) -> None:
    generate(tmp_path / "a", SMALL, workers=1)
    generate(tmp_path / "b", replace(SMALL, splits={"demo": 1, "train": 1}), workers=1)
    a, b = (contents(tmp_path / name / "train" / "synthdance_train_0001") for name in "ab")
    assert a == b


@pytest.mark.parametrize("classes", [1, 2])
def test_written_data_sets_pass_the_check(tmp_path: Path, classes: int) -> None:
    settings = replace(SMALL, classes=classes, figures=(4, 4))
    generate(tmp_path, settings, workers=1)
    report = check(tmp_path, full=True)
    assert not list(report.problems)
    assert list(report.splits) == ["train", "val"]
    sequences = load_split(DatasetSpec(tmp_path, "train"))
    assert [sequence.name for sequence in sequences] == ["synthdance_train_0001", "synthdance_train_0002"]
    for index, sequence in enumerate(sequences):
        assert (len(sequence), sequence.fps, sequence.size) == (4, 20, (64, 96))
        assert sequence.classes == ("person", "robot")[:classes]
        assert sequence.frames[0].name == "00000001.jpg"
        scene = make_scene(settings, "train", index)
        for t in range(4):
            picture, annotations = scene.frame(t)
            assert sequence.boxes is not None
            found = sequence.boxes[t]
            corners = [[x, y, x + w, y + h] for x, y, w, h in (each.box for each in annotations)]
            np.testing.assert_array_equal(found.boxes, corners)
            assert found.ids.tolist() == [each.id for each in annotations]
            assert found.labels.tolist() == [each.label for each in annotations]
            stored = read_image(sequence.frames[t])[..., ::-1].astype(int)
            assert np.abs(stored - picture).mean() < 6
        assert sum(look.robot for look in scene.looks) == (1 if classes == 2 else 0)
    assert len(load_ground_truth(tmp_path, split="train").classes) == classes


def test_an_interrupted_run_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    generate(whole, SMALL, workers=1)
    folder = tmp_path / "begun"

    def stops(output: Path, settings: SynthSettings, split: str, index: int) -> None:
        if index:  # in the middle of it
            left = f".{writer.sequence_name(split, index)}.0123456789abcdef.part"
            (output / split / left / "img1").mkdir(parents=True)
            raise KeyboardInterrupt
        write(output, settings, split, index)

    write = writer.write_sequence
    monkeypatch.setattr(writer, "write_sequence", stops)
    with pytest.raises(KeyboardInterrupt):
        generate(folder, SMALL, workers=1)
    monkeypatch.undo()
    with pytest.raises(UserError, match="synthdance_train_0002"):
        load_split(DatasetSpec(folder, "train"))
    first = folder / "train" / "synthdance_train_0001" / "seqinfo.ini"
    before = first.stat().st_mtime_ns
    assert generate(folder, SMALL, workers=1) == 2
    assert first.stat().st_mtime_ns == before
    assert contents(folder) == contents(whole)
    assert generate(folder, SMALL, workers=1) == 0
    assert not list(folder.rglob("*.part"))


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_one_process_at_a_time(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "a"), pytest.raises(UserError, match="a: another process is using this folder"):
        generate(tmp_path / "a", SMALL, workers=1)
    assert generate(tmp_path / "a", SMALL, workers=1) == 3


@needs_limits
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(tmp_path: Path, workers: int) -> None:
    """No sequence is half there, and the same call completes the data set."""
    with files_end_at(600), pytest.raises(UserError, match=r"cannot write .*: File too large"):
        generate(tmp_path / "a", SMALL, workers=workers)
    assert [file.name for split in ("train", "val") for file in (tmp_path / "a" / split).iterdir()] == []
    generate(tmp_path / "a", SMALL, workers=workers)
    generate(tmp_path / "b", SMALL, workers=workers)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes as Linux lists them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGHUP, 130)])
def test_a_stopped_run_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int) -> None:
    options = ["--splits", "train=500", "--frames", "4", "--size", "96x64", "--figures", "2-4", "--workers", "2"]
    command = [sys.executable, "-m", "memotr", "data", "synth", str(tmp_path / "out"), *options]
    run = MarkedProcess(command, tmp_path / "log")
    try:
        while not list(tmp_path.glob("out/train/*/seqinfo.ini")):
            assert run.process.poll() is None, (tmp_path / "log").read_text()
        assert len(run.alive()) >= 3
        run.process.send_signal(number)
        assert run.process.wait(120) == code, (tmp_path / "log").read_text()
        assert run.all_gone(GRACE)
    finally:
        run.kill_all()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="not a SynthDance data set"):
        generate(tmp_path, SMALL)
    with pytest.raises(UserError, match="not a SynthDance data set"):
        generate(tmp_path / "mine", SMALL)
    assert contents(tmp_path) == {"mine": b"x"}


@pytest.mark.parametrize("changed", [{"seed": 1}, {"frames": 5}, {"splits": {"train": 3}}, {"difficulty": "easy"}])
def test_other_settings_are_refused(tmp_path: Path, changed: dict) -> None:
    settings = replace(SMALL, splits={"val": 1})
    generate(tmp_path, settings, workers=1)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"synthdance.yaml: this data set was made with {next(iter(changed))} "):
        generate(tmp_path, replace(settings, **changed), workers=1)
    assert contents(tmp_path) == before


def test_settings_file_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "synthdance.yaml").write_text("[")
    with pytest.raises(UserError, match=r"synthdance\.yaml: not readable as settings"):
        generate(tmp_path, SMALL)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file"):
        generate(tmp_path / "file" / "inside", SMALL, workers=1)


def test_command(tmp_path: Path) -> None:
    options = ["--splits", "val=1", "--frames", "3", "--size", "96x64", "--figures", "2-3", "--classes", "2"]
    arguments = ["data", "synth", str(tmp_path / "out"), *options, "--difficulty", "easy", "--seed", "5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'out'}: 1 sequences written" in result.output
    said = yaml.safe_load((tmp_path / "out" / "synthdance.yaml").read_text())
    assert said["seed"] == 5
    assert (said["size"], said["figures"]) == ([64, 96], [2, 3])
    assert len(list((tmp_path / "out" / "val" / "synthdance_val_0001" / "img1").iterdir())) == 3


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--splits", "train", "write each once with a number of sequences"),
        ("--splits", "train=1,train=2", "write each once"),
        ("--size", "320", "two whole numbers with 'x' between"),
        ("--figures", "2..9", "two whole numbers with '-' between"),
    ],
)
def test_options_refused(tmp_path: Path, option: str, value: str, message: str) -> None:
    result = CliRunner().invoke(app, ["data", "synth", str(tmp_path / "out"), option, value])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
