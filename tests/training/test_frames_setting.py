"""Setting ``training.frames_at_once``: computed at the start of a run, and kept when it is resumed."""

import os
import signal

import pytest
import torch
import yaml

from memotr.config import load_config
from memotr.training import devices
from memotr.training.devices import frames_that_fit
from memotr.training.engine import Training
from memotr.training.resume import resolve_run
from memotr.training.run_state import read_state, write_state
from memotr.training.train import train
from tests.training.builders import SMALL

LENGTHS = ["data.sampling={lengths: [2, 3], steps: [1], interval: 1}", "training.epochs=2"]


def small(data, *more):
    return load_config("tiny", [*SMALL, *LENGTHS, f"data.root={data}", *more])


def frames_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())["training"]["frames_at_once"]


def stop_after(monkeypatch, steps):
    step = Training.step

    def stop(self, clips):
        if self.progress.steps == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, clips)

    monkeypatch.setattr(Training, "step", stop)


def resume(folder, source=None, *more):
    config, output, state = resolve_run(source, list(more), {}, None, folder)
    return train(config, output, state=state, device="cpu")


def test_a_resumed_run_keeps_the_number_of_frames_on_another_machine(data, tmp_path, monkeypatch):
    assert train(small(data), tmp_path / "whole", device="cpu") == 0
    assert frames_of(tmp_path / "whole") == 3, "there is memory enough for the longest clips"
    with monkeypatch.context() as patch:
        stop_after(patch, 6)
        assert train(small(data), tmp_path / "parts", device="cpu") == 128 + signal.SIGTERM
    monkeypatch.setattr(devices, "_memory", lambda _: 1.0)
    assert resume(tmp_path / "parts") == 0
    assert frames_of(tmp_path / "parts") == 3
    whole, parts = (read_state(tmp_path / name) for name in ("whole", "parts"))
    assert all(tensor.equal(parts.model[name]) for name, tensor in whole.model.items())


def test_a_run_without_the_setting_resumes_frame_by_frame(data, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    train(small(data), tmp_path, device="cpu")
    monkeypatch.undo()
    state = read_state(tmp_path)
    del state.settings["training"]["frames_at_once"]
    write_state(tmp_path / "last.pt", state)
    assert resume(tmp_path, "tiny", *SMALL, *LENGTHS, f"data.root={data}") == 0
    assert frames_of(tmp_path) == 1


def test_a_configured_number_is_used(data, tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    train(small(data, "training.frames_at_once=2"), tmp_path, device="cpu")
    assert frames_of(tmp_path) == 2
    monkeypatch.undo()
    assert resume(tmp_path, "tiny", *SMALL, *LENGTHS, f"data.root={data}") == 0, "a preset does not say"
    assert frames_of(tmp_path) == 2


@pytest.mark.parametrize(
    ("memory", "settings", "frames"),
    [
        (80, [], 5),
        (24, [], 2),
        (24, ["training.precision=bf16"], 4),
        (80, ["training.batch_size=8"], 1),
        (8, [], 1),
    ],
)
def test_more_memory_allows_more_frames(memory, settings, frames, monkeypatch):
    monkeypatch.setattr(devices, "_memory", lambda _: memory * 2.0**30)
    assert frames_that_fit(load_config("dancetrack", settings), torch.device("cpu")) == frames
