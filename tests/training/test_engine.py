"""Training runs on generated data: written files, reasons to stop, and effects of settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from typer.testing import CliRunner

from memotr.cli import app
from memotr.config import Config, load_config
from memotr.errors import UserError
from memotr.training import engine
from memotr.training.clip_runner import ClipLoss
from memotr.training.engine import Training
from memotr.training.inputs import resolve_classes, with_validation
from memotr.training.run_state import read_state
from memotr.training.train import start_model
from memotr.training.train import train as run_training
from memotr.weights.checkpoint import read_checkpoint
from memotr.weights.model_files import load_model
from memotr.weights.published_names import published_state
from tests.data.layouts import (
    scenes,
    write_bdd100k,
    write_crowdhuman,
    write_dancetrack,
    write_mot17,
    write_sequence,
    write_sportsmot,
)
from tests.test_weights import detector_state, make_small
from tests.training.builders import SMALL


def small(data: Path, *settings: str) -> Config:
    return load_config("tiny", [*SMALL, f"data.root={data}", *settings])


def train(config: Config, folder: Path, *, device="cpu", **options) -> int:
    return run_training(config, folder, device=device, **options)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_validation_finds_its_split_or_reports_that_there_is_none(data, tmp_path):
    shutil.copytree(data, tmp_path / "divided" / "train")
    config = load_config("tiny", [f"data.root={tmp_path / 'divided'}", "training.output.val_every=2"])
    with pytest.raises(
        UserError, match=r"^--val-every 2: .*divided has no split val .*data.val='{path: ., split: val_ha"
    ):
        with_validation(config)
    shutil.copytree(data, tmp_path / "divided" / "val")
    assert with_validation(config).data.val.split == "val"
    never = load_config("tiny", [f"data.root={tmp_path}"])
    assert with_validation(never) is never


def test_a_run_starts_from_weights_in_the_package(tmp_path):
    model, origin = start_model(load_config("synthdance"), Path("synthdance"))
    assert "a tracker, all of it" in origin
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), load_model("synthdance").parameters(), strict=True)
    )


def test_a_run_from_the_command_line_to_tracking(data, tmp_path):
    shell = CliRunner()
    folder = tmp_path / "run"
    options = ["--data-root", str(data), "--output", str(folder), "--device", "cpu"]
    options += ["--checkpoint-activations", "encoder,decoder"]
    result = shell.invoke(app, ["train", "tiny", *SMALL, "training.epochs=2", *options])
    assert result.exit_code == 0, result.output
    assert f"wrote {folder}/last.safetensors; to use it: memotr track VIDEO --checkpoint" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "environment.json",
        "epoch_0001.pt",
        "epoch_0002.pt",
        "figures",
        "last.pt",
        "last.safetensors",
        "metrics.jsonl",
        "tensorboard",
    ]
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    written = load_config(folder / "config.yaml")
    assert written.training.checkpoint_activations == ("encoder", "decoder")
    assert written.data.root == str(data)
    found = lines(folder)
    assert [line["step"] for line in found] == list(range(1, found[-1]["step"] + 1))
    assert {line["epoch"] for line in found} == {0, 1}
    environment = json.loads((folder / "environment.json").read_text())
    assert torch.__version__.startswith(environment[0]["packages"]["torch"])  # which may lack "+cpu"

    weights = folder / "last.safetensors"
    assert str(data) not in weights.read_bytes()[:20000].decode(errors="replace"), "paths stay here, weights travel"
    options = ["--checkpoint", str(weights), "--output", str(tmp_path / "tracked"), "--no-video"]
    result = shell.invoke(app, ["track", str(data / "video0001"), *options])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "tracked" / "video0001.txt").is_file()

    again = shell.invoke(app, ["train", str(folder / "config.yaml"), "--output", str(folder)])
    assert isinstance(again.exception, UserError)
    assert "already contains a run; continue it with `memotr train --resume" in str(again.exception)
    done = shell.invoke(app, ["train", "--resume", str(folder)])
    assert "has finished 2 of 2 epochs" in str(done.exception)
    more = shell.invoke(app, ["train", "--resume", str(folder), "training.epochs=3", "--device", "cpu"])
    assert more.exit_code == 0, more.output
    assert "changed: training.epochs 2 → 3" in more.stderr
    assert load_model(folder / "last.safetensors").config.training.epochs == 3


LAYOUTS = {
    "dancetrack": [write_dancetrack],
    "dancetrack-deformable-detr": [write_dancetrack],
    "sportsmot": [write_sportsmot],
    "sportsmot-deformable-detr": [write_sportsmot],
    "mot17": [write_mot17, write_crowdhuman],
    "bdd100k": [write_bdd100k],
}


@pytest.mark.parametrize("preset", LAYOUTS)
def test_every_preset_trains_on_data_of_its_layout(preset, tmp_path):
    """With a small network and small images, for one of its epochs."""
    for write in LAYOUTS[preset]:
        write(tmp_path / "data")
    shrunk = ["model.backbone.depths=[1, 1, 1, 1]", "model.hidden_dim=32", "model.ffn_dim=32", "model.num_queries=8"]
    shrunk += ["model.num_encoder_layers=1", "model.num_decoder_layers=2", "model.backbone.width=8"]
    shrunk += ["data.augmentation.short_sides=[64]", "data.augmentation.crop=0", "data.workers=0", "training.epochs=1"]
    shrunk += ["training.batch_size=4", "training.output.log_every=1", "input.short_side=64"]
    config = load_config(preset, [*shrunk, f"data.root={tmp_path / 'data'}"])
    assert train(config, tmp_path / "run") == 0
    assert all(line["loss"] > 0 for line in lines(tmp_path / "run"))
    assert load_model(tmp_path / "run" / "last.safetensors").config.classes == config.classes


def test_classes_are_those_of_the_data(tmp_path):
    data = tmp_path / "data"
    for name, scene in scenes("video", 1, length=3, size=(64, 96), classes=2).items():
        write_sequence(data / name, scene, with_class=True)
    (data / "dataset.yaml").write_text(yaml.safe_dump({"classes": ["cat", "dog"]}))
    train(small(data, "training.epochs=1"), tmp_path / "run")
    assert load_model(tmp_path / "run" / "last.safetensors").config.classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"the data has the classes cat, dog, the configuration bird, fish"):
        train(small(data, "classes=[bird, fish]"), tmp_path / "other")
    twice = SimpleNamespace(sequences=[SimpleNamespace(classes=("cat", "cat"))])
    with pytest.raises(UserError, match=r"classes cat, cat; give each a different name"):
        resolve_classes(small(data), [twice])


@pytest.fixture
def steps(monkeypatch) -> list[dict]:
    """What every step of the optimiser saw: the gradient and, after it, the weights."""
    seen = []
    step = torch.optim.AdamW.step

    def record(self, closure=None):
        gradients = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        step(self)
        weights = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        names = [group["name"] for group in self.param_groups for _ in group["params"]]
        seen.append({"gradients": gradients, "weights": weights, "groups": names})

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    return seen


def norm_of(tensors):
    return torch.cat([t.flatten() for t in tensors]).norm()


@pytest.mark.parametrize("limit", [0.1, 3.0])
def test_the_gradient_is_clipped_at_the_configured_norm(data, tmp_path, steps, limit):
    train(small(data, "training.epochs=1", f"training.optimizer.clip_norm={limit}"), tmp_path)
    for step, line in zip(steps, lines(tmp_path), strict=True):
        assert norm_of(step["gradients"]) == pytest.approx(min(limit, line["grad_norm"]), rel=1e-4)
        assert line["grad_norm"] > limit


def test_a_norm_of_zero_leaves_the_gradient_as_it_is(data, tmp_path, steps):
    train(small(data, "training.epochs=1", "training.optimizer.clip_norm=0"), tmp_path)
    for step, line in zip(steps, lines(tmp_path), strict=True):
        assert norm_of(step["gradients"]) == pytest.approx(line["grad_norm"], rel=1e-5)


def test_accumulation_steps_with_the_mean_of_the_batches(data, tmp_path, steps):
    common = ["training.epochs=1", "training.optimizer.clip_norm=0", "training.optimizer.lr=0", "training.batch_size=1"]
    common += [f"training.optimizer.lr_{group}=0" for group in ("backbone", "points", "query_updater")]
    train(small(data, *common), tmp_path / "each")
    each, gradients = lines(tmp_path / "each"), [step["gradients"] for step in steps]
    steps.clear()
    train(small(data, *common, "training.accumulation=2"), tmp_path / "two")
    pairs = [range(i, min(i + 2, len(each))) for i in range(0, len(each), 2)]  # the last step takes what is left
    assert len(steps) == len(pairs)
    for step, line, pair in zip(steps, lines(tmp_path / "two"), pairs, strict=True):
        for got, *parts in zip(step["gradients"], *(gradients[i] for i in pair), strict=True):
            torch.testing.assert_close(got, sum(parts) / len(pair), rtol=1e-4, atol=1e-6)
        assert line["loss"] == pytest.approx(sum(each[i]["loss"] for i in pair) / len(pair), rel=1e-5)


def test_rates_follow_the_schedule(data, tmp_path, steps):
    schedule = "training.optimizer={milestones: [1], only_query_updater_from: 2, lr_backbone: 3.0e-4}"
    every_track = "model.update_threshold=0"  # is renewed: of a model that knows nothing yet none is sure enough
    train(small(data, "training.epochs=3", schedule, every_track), tmp_path)
    rates = {line["epoch"]: (line["lr_backbone"], line["lr_query_updater"]) for line in lines(tmp_path)}
    assert rates == {0: (3e-4, 2e-4), 1: pytest.approx((3e-5, 2e-5)), 2: pytest.approx((0, 2e-5))}
    last, before = steps[-1], steps[-2]
    changed = {
        group
        for group, weights, older in zip(last["groups"], last["weights"], before["weights"], strict=True)
        if not weights.equal(older)
    }
    assert changed == {"lr_query_updater"}


def break_loss(monkeypatch, where) -> list[int]:
    """Make the loss of forward passes infinite; returns the list of those made."""
    forward, made = ClipLoss.forward, []

    def broken(self, *inputs):
        total, parts = forward(self, *inputs)
        made.append(len(made))
        return (total * torch.inf, parts) if where(made[-1]) else (total, parts)

    monkeypatch.setattr(ClipLoss, "forward", broken)
    return made


def test_a_step_that_is_not_finite_is_skipped_and_counted(data, tmp_path, monkeypatch):
    break_loss(monkeypatch, lambda number: number == 2)
    train(small(data, "training.epochs=2", "training.output.save_every=1"), tmp_path)
    found = lines(tmp_path)
    assert [line["skipped"] for line in found] == [0, 0] + [1] * (len(found) - 2)
    assert found[2]["loss"] is None
    assert all(line["loss"] is not None for line in found[3:])
    state = read_state(tmp_path)
    assert state.progress.skipped == 1
    assert all(tensor.isfinite().all() for tensor in state.model.values())


def test_ten_steps_in_a_row_end_the_run(data, tmp_path, monkeypatch):
    """Here over the ends of two epochs, which are saved with the weights of the last good step."""
    made = break_loss(monkeypatch, lambda number: number >= 3)
    with pytest.raises(UserError, match="not finite in 10 consecutive steps, up to step 13; the last good checkpoint"):
        train(small(data, "training.epochs=9", "training.output.save_every=1"), tmp_path)
    assert len(made) == 13
    state = read_state(tmp_path)
    assert (state.progress.epoch, state.progress.clips) == (2, 0), "within an epoch a bad row is not saved"
    assert (state.progress.steps, state.progress.skipped_in_a_row) == (9, 6)
    first = read_state(tmp_path / "epoch_0001.pt")
    assert first.progress.steps == 5
    assert all(tensor.isfinite().all() and tensor.equal(first.model[name]) for name, tensor in state.model.items())


def test_an_epoch_whose_last_step_is_skipped_is_saved(data, tmp_path, monkeypatch):
    break_loss(monkeypatch, lambda number: number == 4)
    train(small(data, "training.epochs=1"), tmp_path)
    assert lines(tmp_path)[-1]["skipped"] == 1
    for file in ("last.pt", "epoch_0001.pt"):
        progress = read_state(tmp_path / file).progress
        assert (progress.epoch, progress.clips, progress.outcome_due) == (1, 0, False), file


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes as Linux lists them")
def test_a_lost_worker_ends_the_run_with_one_line(data, tmp_path):
    command = [sys.executable, "-m", "memotr", "train", "tiny", *SMALL, "training.epochs=99", "data.workers=1"]
    command += ["training.output.save_every=1"]
    command += ["--data-root", str(data), "--output", str(tmp_path), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        told = []
        for line in process.stderr:
            told.append(line)
            if sum(" · step " in line for line in told) == 3:
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
    assert process.returncode == 2, "".join(told)
    assert re.match(
        r"memotr: a process that reads clips was killed, .*1 of them need too much memory.* --resume", told[-1]
    )
    assert not any("Traceback" in line for line in told)


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_saves_and_stops(data, tmp_path, monkeypatch, number, code):
    count_skipped = Training.count_skipped

    def asked(self, finite):
        if self.progress.steps == 2:
            os.kill(os.getpid(), number)
        count_skipped(self, finite)

    monkeypatch.setattr(Training, "count_skipped", asked)
    before = signal.getsignal(number)
    assert train(small(data, "training.epochs=2"), tmp_path) == code
    assert signal.getsignal(number) is before
    assert read_state(tmp_path).progress.steps == 3
    assert not (tmp_path / "last.safetensors").exists()


WITHOUT_POSIX = """
import multiprocessing, signal, sys, torch
sys.modules["resource"] = None
del signal.SIGUSR1
import memotr.training.train
from memotr.data.clips import _begin_worker
from memotr.training.metrics import peak_memory
from memotr.signals import stop_on_signals
with stop_on_signals() as stop:
    signal.raise_signal(signal.SIGTERM)
worker = multiprocessing.Process(target=_begin_worker, args=(0,))
worker.start()
worker.join()
assert worker.exitcode == 0
print(peak_memory(torch.device("cpu")), stop.signal.name)
"""


def test_training_runs_without_posix_modules():
    command = [sys.executable, "-c", WITHOUT_POSIX]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("0.0 SIGTERM\n", 0), done.stderr


def test_validation_keeps_the_best(data, tmp_path):
    scores, modes = iter([0.2, 0.5, 0.5]), []

    def validate(model, epoch):
        modes.append((epoch, model.eval().training))
        return {"HOTA": next(scores), "MOTA": 0.1}

    validate.check_classes = lambda classes: None
    train(small(data, "training.epochs=5", "training.output.val_every=2"), tmp_path, validate=validate)
    assert [epoch for epoch, _ in modes] == [2, 4, 5]
    found = [line for line in lines(tmp_path) if "validation" in line]
    assert [line["validation"]["HOTA"] for line in found] == [0.2, 0.5, 0.5]
    assert load_model(tmp_path / "best.safetensors").config.name == "tiny"
    assert read_checkpoint(tmp_path / "best.safetensors").epoch == 4, "an equal score is not better"
    assert read_state(tmp_path).progress.best == 0.5


def test_the_average_is_exported(data, tmp_path):
    train(small(data, "training.epochs=2", "training.ema_decay=0.5"), tmp_path)
    state = read_state(tmp_path)
    assert state.average["updates"] == state.progress.steps > 0
    exported = published_state(load_model(tmp_path / "last.safetensors"))
    for name, tensor in state.average["average"].items():
        assert exported[name].equal(tensor), name
    assert not exported["det_query_embed"].equal(state.model["det_query_embed"])


def test_bfloat16_losses_are_close_to_those_of_float32(data, tmp_path):
    losses = []
    for precision in ("32", "bf16"):
        train(small(data, "training.epochs=1", f"training.precision={precision}"), tmp_path / precision)
        losses.append([line["loss"] for line in lines(tmp_path / precision)])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_training_from_a_tracker_takes_all_of_it(data, tmp_path, capsys):
    train(small(data, "training.epochs=1"), tmp_path / "first")
    still = [f"training.optimizer.{rate}=0" for rate in ("lr", "lr_backbone", "lr_points", "lr_query_updater")]
    pretrained = tmp_path / "first" / "last.safetensors"
    train(small(data, "training.epochs=1", "training.seed=5", *still), tmp_path / "second", pretrained=pretrained)
    first, second = (load_model(tmp_path / name / "last.safetensors").state_dict() for name in ("first", "second"))
    assert all(first[name].equal(second[name]) for name in first)
    assert f"starting from {pretrained}: a tracker, all of it" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"model.num_queries"):
        train(small(data, "model.num_queries=7"), tmp_path / "third", pretrained=pretrained)


def test_training_from_a_detector_takes_what_fits(data, tmp_path, capsys):
    state = detector_state()
    torch.save({"model": state}, tmp_path / "detector.pth")
    still = [f"training.optimizer.{rate}=0" for rate in ("lr", "lr_backbone", "lr_points", "lr_query_updater")]
    shape = make_small().config.model.model_dump_json()
    config = small(data, f"model={shape}", "training.epochs=1", *still)
    train(config, tmp_path / "run", pretrained=tmp_path / "detector.pth")
    assert "row 1 (person)" in capsys.readouterr().err
    weights = published_state(load_model(tmp_path / "run" / "last.safetensors"))
    assert weights["det_anchor"].equal(state["refpoint_embed.weight"])
    assert weights["class_embed.0.bias"].equal(state["class_embed.0.bias"][1:2])


def test_settings_that_cannot_be_trained_are_one_line(data, tmp_path):
    with pytest.raises(UserError, match="--precision fp16 needs CUDA"):
        train(small(data, "training.precision=fp16"), tmp_path)
    with pytest.raises(UserError, match="fewer than the 99"):
        train(small(data, "training.batch_size=99"), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--device cuda: PyTorch finds none on this machine"):
            train(small(data), tmp_path, device="cuda")
    with pytest.raises(UserError, match="no such"):
        train(small(tmp_path / "nowhere"), tmp_path)


def test_no_more_than_the_limit_is_skipped_by_name():
    assert engine.MAX_SKIPPED == 10
