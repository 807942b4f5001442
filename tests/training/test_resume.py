"""An interrupted and resumed run is bitwise equal to an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric

from memotr import load_model
from memotr.config import Config, load_config
from memotr.errors import UserError
from memotr.files import hold_folder
from memotr.training.devices import Autocast
from memotr.training.ema import MovingAverage
from memotr.training.engine import Training
from memotr.training.resume import check_resumable, describe_resuming, on_data, resolve_run
from memotr.training.run_report import open_board
from memotr.training.run_state import LAST, Progress, RunState, read_state
from memotr.training.train import train
from tests.full_disk import files_end_at, needs_limits
from tests.training.builders import SMALL, write_videos

# All that draws random numbers is on: shuffling, augmentation, dropout, perturbation.
SETTINGS = [
    *SMALL,
    "model.dropout=0.1",
    "training.drop_rate=0.2",
    "training.insert_rate=0.3",
    "training.ema_decay=0.9",
    "training.batch_size=1",
    "training.accumulation=2",
    "training.epochs=3",
    "training.output.save_every=3",
    "training.output.log_every=2",
    "data.sampling.lengths=[1, 2, 3]",
    "data.sampling.steps=[1, 2]",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("data"), length=6)


def settings(data: Path, *more: str) -> Config:
    return load_config("tiny", [*SETTINGS, f"data.root={data}", *more])


def curve(folder: Path) -> list[dict]:
    """Return the metrics of a run without time and memory."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds_per_step", "memory_mb")} for line in lines]


def resume(folder: Path, *more: str) -> int:
    config, output, state = resolve_run(None, list(more), {}, None, folder)
    return train(config, output, state=state, device="cpu")


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert train(settings(data), folder, device="cpu") == 0
    return folder


def assert_same_run(folder: Path, other: Path) -> None:
    assert curve(folder) == curve(other)
    ours, theirs = read_state(folder), read_state(other)
    assert ours.progress == theirs.progress
    assert all(tensor.equal(theirs.model[name]) for name, tensor in ours.model.items())
    assert all(tensor.equal(theirs.average["average"][name]) for name, tensor in ours.average["average"].items())


def kill_after(command: list[str], lines: int) -> None:
    """Run a command and kill it once it has reported its steps so many times."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if sum(" · step " in line for line in told) == lines:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, "".join(told)


def test_killed_at_any_step_and_resumed_is_the_same_run(data, uninterrupted, tmp_path):
    steps = read_state(uninterrupted).progress.steps
    where = random.Random(os.urandom(8)).randint(2, steps // 2 - 1)  # a line of metrics after the first checkpoint
    command = [sys.executable, "-m", "memotr", "train", "tiny", *SETTINGS, "--device", "cpu"]
    kill_after([*command, "--data-root", str(data), "--output", str(tmp_path), "data.workers=1"], where)
    last = read_state(tmp_path).progress.steps
    assert 3 <= last < steps
    assert resume(tmp_path, "data.workers=1") == 0
    assert_same_run(tmp_path, uninterrupted)


def test_stopped_by_a_signal_and_resumed_is_the_same_run(data, uninterrupted, tmp_path, monkeypatch):
    step = Training.step

    def asked(self, clips):
        if self.progress.steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, clips)

    monkeypatch.setattr(Training, "step", asked)
    assert train(settings(data), tmp_path, device="cpu") == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert curve(tmp_path) == curve(uninterrupted)[:2]
    assert resume(tmp_path) == 0
    assert_same_run(tmp_path, uninterrupted)


def test_resuming_at_an_older_epoch_rewrites_later_metrics(data, uninterrupted, tmp_path):
    assert train(settings(data), tmp_path, device="cpu") == 0
    assert resume(tmp_path / "epoch_0001.pt") == 0
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("epoch", [2, 3])
def test_an_interruption_between_epochs_loses_no_results_of_the_epoch(data, uninterrupted, tmp_path, epoch):
    """Weights and validation of the epoch are written after a resume, also for the last epoch."""

    def scores(_model, number):
        return {"HOTA": number / 10}

    def broken(_model, number):
        if number == epoch:
            raise UserError("an image cannot be read")
        return scores(_model, number)

    scores.check_classes = broken.check_classes = lambda classes: None
    every = "training.output.val_every=1"
    with pytest.raises(UserError, match="cannot be read"):
        train(settings(data, every), tmp_path, device="cpu", validate=broken)
    config, output, state = resolve_run(None, [every], {}, None, tmp_path)
    assert state.progress.outcome_due
    assert train(config, output, state=state, device="cpu", validate=scores) == 0
    assert [line["validation"]["HOTA"] for line in curve(tmp_path) if "validation" in line] == [0.1, 0.2, 0.3]
    assert read_state(tmp_path).progress.best == 0.3
    theirs = load_model(uninterrupted / "last.safetensors").state_dict()
    for file in ("last.safetensors", "best.safetensors"):
        ours = load_model(tmp_path / file).state_dict()
        assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def test_a_resumed_run_does_not_write_into_another_one(uninterrupted, tmp_path):
    (tmp_path / LAST).write_text("another run's")
    with pytest.raises(UserError, match="contains another run"):
        resolve_run(None, [], {}, tmp_path, uninterrupted)
    assert resolve_run(None, [], {}, uninterrupted, uninterrupted / "epoch_0001.pt")[1] == uninterrupted


def test_initial_weights_are_refused_for_a_resumed_run(uninterrupted):
    command = ["train", "--resume", str(uninterrupted), "--pretrained", "detector.pth"]
    done = subprocess.run([sys.executable, "-m", "memotr", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "leave out one of them" in done.stderr.replace("\n", " ")


def test_an_unexpected_error_ends_the_other_ranks(tmp_path):
    """Otherwise they would wait until the timeout of two hours."""
    sent = []
    fabric = SimpleNamespace(is_global_zero=True, broadcast=lambda value: sent.append(value) or value)
    with pytest.raises(KeyError):
        Training.on_first_rank(SimpleNamespace(fabric=fabric, folder=tmp_path), lambda: {}["missing"])
    assert sent == ["'missing'"]


@pytest.mark.parametrize(("name", "content"), [("metrics.jsonl", "{}\n"), ("environment.json", "[")])
def test_damaged_records_of_a_run_are_named(data, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: .*move it away"):
        train(settings(data), tmp_path, device="cpu")


def test_a_full_disk_ends_the_run_with_the_old_checkpoint_in_place(data, uninterrupted, tmp_path, monkeypatch):
    write = Path.open

    def full(self, mode="r", *arguments, **options):
        if "w" in mode and self.name.startswith(".last.") and (tmp_path / LAST).exists():
            raise OSError(28, "No space left on device")
        return write(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=rf"cannot write .*{LAST}: No space left on device"):
        train(settings(data), tmp_path, device="cpu")
    monkeypatch.undo()
    assert read_state(tmp_path).progress.steps == 3
    assert resume(tmp_path) == 0
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("name", [".metrics.", ".config.", ".environment."])
def test_a_completely_full_disk_ends_the_run_with_one_line(data, tmp_path, monkeypatch, name):
    write = Path.open

    def full(self, mode="r", *arguments, **options):
        if mode[0] in "wa" and self.name.startswith(name):
            raise OSError(28, "No space left on device", str(self))
        return write(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=rf"{name.strip('.')}\.\w+.*No space left on device"):
        train(settings(data, "training.epochs=1"), tmp_path, device="cpu")
    assert not list(tmp_path.rglob(".*")), "nothing half-written stays"


@needs_limits
def test_unwritable_tensorboard_files_are_reported_without_a_traceback(tmp_path, capfd):
    """TensorBoard's files are written by a thread of its own."""

    def write_on() -> None:
        with open_board(tmp_path) as board, files_end_at(2000):
            for step in range(100_000):
                board.add_scalar("loss", 1.0, step)
                board.flush()

    with pytest.raises(UserError, match=rf"cannot write {tmp_path}: File too large"):
        write_on()
    assert capfd.readouterr().err == ""


def test_records_are_not_written_through_links(data, tmp_path):
    victim, run = tmp_path / "victim", tmp_path / "run"
    run.mkdir()
    victim.write_text("")
    for name in ("metrics.jsonl", "config.yaml", LAST, "epoch_0001.pt", "last.safetensors"):
        (run / name).symlink_to(victim if name == "metrics.jsonl" else tmp_path / "nowhere")
    assert train(settings(data, "training.epochs=1"), run, device="cpu") == 0
    assert victim.read_text() == ""
    assert not (tmp_path / "nowhere").exists()
    assert curve(run)
    assert not any(file.is_symlink() for file in run.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_two_runs_in_one_folder(data, uninterrupted, tmp_path):
    """The second is refused and changes nothing; the folder is free again once the first has ended."""
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    with hold_folder(run), pytest.raises(UserError, match=f"^{run}: another process is using this folder; wait for"):
        resume(run, "training.epochs=4")
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()} == before
    with hold_folder(tmp_path / "new"), pytest.raises(UserError, match="another process is using this folder"):
        train(settings(data), tmp_path / "new", device="cpu")
    assert not list((tmp_path / "new").iterdir())
    assert resume(run, "training.epochs=4") == 0


def test_notes_about_the_data_are_logged(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "data")
    file = next((tmp_path / "data").rglob("gt.txt"))
    with file.open("a") as text:
        text.write("1,90,5,5,20,20,0.5,1,1\n")
    train(settings(tmp_path / "data", "training.epochs=1"), tmp_path / "run", device="cpu")
    assert f"note: {file}: 1 of " in capsys.readouterr().err


def test_changed_settings_are_logged(data, tmp_path, capsys):
    train(settings(data, "training.epochs=1"), tmp_path, device="cpu")
    capsys.readouterr()
    resume(tmp_path, "training.epochs=2", "training.optimizer.lr=1.0e-4", "training.optimizer.weight_decay=0.5")
    told = capsys.readouterr().err
    assert "continuing in epoch 2 after step" in told
    assert "changed: training.optimizer.lr 0.0005 → 0.0001" in told
    assert "changed: training.epochs 1 → 2" in told
    assert curve(tmp_path)[-1]["lr"] == 1e-4
    assert {group["weight_decay"] for group in read_state(tmp_path).optimizer["param_groups"]} == {0.5}
    with pytest.raises(UserError, match=r"another network than the checkpoint's: model.num_queries 8 → 9"):
        resume(tmp_path, "training.epochs=3", "model.num_queries=9")


def test_an_average_enabled_at_a_resume_starts_from_the_checkpoint(data, tmp_path, monkeypatch):
    assert train(settings(data, "training.epochs=1", "training.ema_decay=0"), tmp_path, device="cpu") == 0
    before = read_state(tmp_path).model
    monkeypatch.setattr(MovingAverage, "update", lambda *_: None)
    assert resume(tmp_path, "training.epochs=2", "training.ema_decay=0.9") == 0
    average = read_state(tmp_path).average["average"]
    assert all(tensor.equal(before[name]) for name, tensor in average.items())


def test_a_loss_scale_enabled_at_a_resume_starts_anew(data, tmp_path, monkeypatch):
    """As float16 has on CUDA; bfloat16 stands in for it here."""
    assert train(settings(data, "training.epochs=1"), tmp_path, device="cpu") == 0

    def make_fabric(*_arguments, **_options):
        fabric = Fabric(accelerator="cpu", devices=1, plugins=[Autocast("bf16-mixed", "cpu")])
        fabric.strategy.precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        return fabric

    monkeypatch.setattr("memotr.training.train.make_fabric", make_fabric)
    assert resume(tmp_path, "training.epochs=2") == 0
    assert read_state(tmp_path).scaler["scale"] == 8
    assert resume(tmp_path, "training.epochs=3") == 0, "and goes on with its own"


def test_a_resume_with_other_ranks_or_batches_continues_with_the_remaining_clips(data, tmp_path, capsys, monkeypatch):
    """Two clips a step after one: the epoch's clips that were not seen yet come next, and none of the others."""
    config = settings(data, "training.accumulation=1", "training.output.save_every=2")
    step, seen = Training.step, []

    def stop_early(self, clips):
        seen.append([[t.tolist() for t in (clip.targets[0][0].boxes, clip.targets[0][-1].boxes)] for clip in clips])
        if self.progress.steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, clips)

    monkeypatch.setattr(Training, "step", stop_early)
    train(config, tmp_path / "stopped", device="cpu")
    assert read_state(tmp_path / "stopped").progress.clips == 4
    state = read_state(tmp_path / "stopped")
    state.ranks.append(state.ranks[0])
    two = config.model_copy(update={"training": config.training.model_copy(update={"batch_size": 2, "epochs": 1})})
    seen.clear()
    train(two, tmp_path / "two", state=state, device="cpu")
    assert "the run had 2 ranks and now has 1" in capsys.readouterr().err
    rest = sum(len(clips) for clips in seen)
    total = 13 // 2  # clips of the first epoch in batches of two
    assert rest == total - 4 // 2


def state_of(config: Config, ranks: int = 2, epoch: int = 1) -> RunState:
    """The state of a run without tensors."""
    return RunState(config.model_dump(mode="json"), Progress(epoch), {}, {}, {}, None, [{}] * ranks)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_another_number_of_ranks_is_reported(world_size):
    config = load_config("tiny")
    lines = list(describe_resuming(state_of(config), config, world_size))
    assert lines[0] == "continuing in epoch 2 after step 0"
    assert [f"had 2 ranks and now has {world_size}" in line for line in lines[1:]] == [True] * (world_size != 2)


def test_backbone_weights_may_move_and_the_network_may_not_change():
    config = load_config("tiny", ["training.epochs=2"])
    check_resumable(state_of(config), load_config("tiny", ["training.epochs=2", "model.backbone.weights=elsewhere"]))
    with pytest.raises(UserError, match=r"another network than the checkpoint's: model.backbone.width .* → 24"):
        check_resumable(state_of(config), load_config("tiny", ["training.epochs=2", "model.backbone.width=24"]))
    with pytest.raises(UserError, match="has finished 2 of 2 epochs"):
        check_resumable(state_of(config, epoch=2), config)


def test_own_data_replaces_data_sets_validation_and_classes(tmp_path):
    config = load_config("dancetrack", ["data.val={path: DanceTrack}"])
    assert config.data.val is not None
    settings = on_data(config, tmp_path / "my videos")
    assert settings["name"] == "my videos"
    assert settings["data"]["root"] == str(tmp_path / "my videos")
    assert (settings["data"]["train"], settings["data"]["val"]) == ([{"path": "."}], None)
    assert "classes" not in settings
    assert settings["model"] == config.model.model_dump(mode="json")
