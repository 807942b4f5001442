import dataclasses
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from memotr.errors import UserError
from memotr.training.ema import MovingAverage
from memotr.training.optim import make_optimizer
from memotr.training.run_state import (
    LAST,
    Progress,
    RunState,
    generator_states,
    keep_epoch,
    read_state,
    set_generator_states,
    write_state,
)
from memotr.weights.describe import describe
from memotr.weights.model_files import load_model, save_model
from memotr.weights.published_names import published_state
from tests.builders import tiny_model
from tests.full_disk import files_end_at


def state_of(model, **progress):
    """The state of a run that has made one step."""
    optimizer = make_optimizer(model, model.config.training.optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return RunState(
        settings=model.config.model_dump(mode="json"),
        progress=Progress(**progress),
        model=published_state(model),
        optimizer=optimizer.state_dict(),
        scaler={},
        average=MovingAverage(model, 0.9).state_dict(),
        ranks=[{"generators": generator_states(), "sums": {"values": torch.rand(8), "count": 3, "steps": 4}}],
    )


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.equal(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_a_run_is_tracked_with_its_moving_average(tmp_path):
    """Validation and export use the average, too."""
    model = tiny_model()
    state = state_of(model)
    average = {name: tensor + 1 for name, tensor in state.average["average"].items()}
    write_state(tmp_path / LAST, dataclasses.replace(state, average={"updates": 1, "average": average}))
    found = published_state(load_model(tmp_path / LAST))
    for name, tensor in average.items():
        assert found[name].equal(tensor), name
    write_state(tmp_path / LAST, dataclasses.replace(state, average=None))
    assert published_state(load_model(tmp_path / LAST))["det_anchor"].equal(state.model["det_anchor"])


def test_a_state_is_read_as_it_was_written(tmp_path):
    state = state_of(tiny_model(), epoch=2, clips=7, steps=31, skipped=1, best=0.5)
    write_state(tmp_path / LAST, state)
    for place in (tmp_path, tmp_path / LAST):
        read = read_state(place)
        for name in ("settings", "progress", "model", "optimizer", "scaler", "average", "ranks"):
            assert equal(getattr(read, name), getattr(state, name)), name


@pytest.mark.parametrize("part", ["model", "average", "optimizer"])
def test_a_state_with_non_finite_numbers_is_refused(tmp_path, part):
    state = state_of(tiny_model())
    broken = {
        "model": state.model["det_anchor"],
        "average": state.average["average"]["det_anchor"],
        "optimizer": state.optimizer["state"][0]["exp_avg"],
    }[part]
    broken.view(-1)[3] = torch.nan
    write_state(tmp_path / LAST, state)
    name = r"tensor \d+ of the optimizer" if part == "optimizer" else "det_anchor"
    with pytest.raises(UserError, match=rf"{LAST}: 1 of its \d+ tensors contain NaN or infinity \({name}\): the"):
        read_state(tmp_path)


def test_info_describes_a_training_checkpoint(tmp_path):
    write_state(tmp_path / LAST, state_of(tiny_model(), epoch=2, steps=31))
    told = describe(tmp_path / LAST)
    assert told["kind"] == "tracker with its training state"
    assert told["trained"] == "2 epochs, 31 iterations"


def test_random_generators_continue_from_a_stored_state():
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    states = generator_states()

    def draw():
        return random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist()  # noqa: NPY002

    first = draw()
    draw()
    set_generator_states(states)
    assert draw() == first


def numbered(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch_*.pt"))


@pytest.mark.parametrize("links", [True, False])
def test_epochs_are_kept_by_number(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise OSError("not on this file system")

        monkeypatch.setattr(os, "link", refuse)
    for epoch in range(1, 10):
        (tmp_path / LAST).unlink(missing_ok=True)  # as replacing it does
        (tmp_path / LAST).write_text(str(epoch))
        keep_epoch(tmp_path, epoch, keep_last=2, keep_every=3)
    assert numbered(tmp_path) == [f"epoch_000{n}.pt" for n in (3, 6, 8, 9)]
    assert [(tmp_path / name).read_text() for name in numbered(tmp_path)] == ["3", "6", "8", "9"]


def test_only_the_last_epochs_are_kept(tmp_path):
    for epoch in range(1, 5):
        (tmp_path / LAST).write_text(str(epoch))
        keep_epoch(tmp_path, epoch, keep_last=1, keep_every=0)
    assert numbered(tmp_path) == ["epoch_0004.pt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_epoch_is_replaced_atomically(tmp_path, monkeypatch, links):
    """An older file of the same number stays until it is replaced, and remains if the disk is full."""
    (tmp_path / LAST).write_text("new" * 100)
    (tmp_path / "epoch_0001.pt").write_text("old")
    if not links:
        monkeypatch.setattr(os, "link", no_links)
        with files_end_at(10), pytest.raises(UserError, match=r"cannot write .*epoch_0001\.pt: File too large"):
            keep_epoch(tmp_path, 1, keep_last=1, keep_every=0)
        assert (tmp_path / "epoch_0001.pt").read_text() == "old"
    for _ in range(2):  # again with both names on one file
        keep_epoch(tmp_path, 1, keep_last=1, keep_every=0)
        assert (tmp_path / "epoch_0001.pt").read_text() == "new" * 100
        assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch_0001.pt", LAST]
        assert (tmp_path / "epoch_0001.pt").samefile(tmp_path / LAST) == links


def no_links(*paths):
    raise OSError(95, "Operation not supported")


def test_resuming_at_an_earlier_epoch_keeps_later_checkpoints(tmp_path):
    for epoch in (5, 18, 19, 20):
        (tmp_path / f"epoch_{epoch:04d}.pt").write_text("before")
    (tmp_path / LAST).write_text("6")
    keep_epoch(tmp_path, 6, keep_last=1, keep_every=5)
    assert numbered(tmp_path) == [f"epoch_{epoch:04d}.pt" for epoch in (5, 6, 18, 19, 20)]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    """Writing fails in the middle of the file."""
    model = tiny_model()
    write_state(tmp_path / LAST, state_of(model, steps=1))
    with files_end_at(300_000), pytest.raises(UserError, match=rf"cannot write .*{LAST}: File too large"):
        write_state(tmp_path / LAST, state_of(model, steps=2))
    assert read_state(tmp_path).progress.steps == 1
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_other_files_are_refused_with_the_command_that_accepts_them(tmp_path):
    model = tiny_model()
    save_model(model, tmp_path / "tracker.safetensors")
    names = {
        f"transformer.decoder.layers.0.cross_attn.sampling_offsets.{k}": torch.zeros(1) for k in ("weight", "bias")
    }
    torch.save({"model": names}, tmp_path / "detector.pth")
    theirs = {"model": published_state(model), "optimizer": {}, "scheduler": {}, "states": {"start_epoch": 3}}
    torch.save(theirs, tmp_path / "authors.pth")
    for name in ("tracker.safetensors", "detector.pth", "authors.pth"):
        with pytest.raises(UserError, match=rf"is a \w+ without a training state; .* --pretrained .*{name}"):
            read_state(tmp_path / name)
    with pytest.raises(UserError, match=f"has no {LAST}"):
        read_state(tmp_path)
    (tmp_path / LAST).write_bytes(b"PK half a file")
    with pytest.raises(UserError, match="ends too early"):
        read_state(tmp_path)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("DataLoader worker (pid 7) is killed")])
def test_an_exception_while_a_checkpoint_is_written_is_raised_unchanged(tmp_path, monkeypatch, interruption):
    """PyTorch raises another error when it closes the incomplete archive."""
    model = tiny_model()
    write_state(tmp_path / LAST, state_of(model, steps=1))

    def save(_payload, file):
        file.write(b"PK")
        try:
            raise interruption
        finally:
            raise RuntimeError("unexpected pos 1683520 vs 1683408")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(type(interruption)) as error:
        write_state(tmp_path / LAST, state_of(model, steps=2))
    assert error.value is interruption
    monkeypatch.undo()
    assert read_state(tmp_path).progress.steps == 1
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("progress"), "it has no 'progress'"),
        (lambda content: content.pop("ranks"), "it has no 'ranks'"),
        (lambda content: content["progress"].update(phase=1), "progress: .*'phase'"),
        (lambda content: content.update(progress=None), "progress: .*NoneType"),
    ],
)
def test_a_state_of_another_version_is_one_line(tmp_path, change, problem):
    write_state(tmp_path / LAST, state_of(tiny_model()))
    content = torch.load(tmp_path / LAST)
    change(content)
    torch.save(content, tmp_path / LAST)
    with pytest.raises(
        UserError,
        match=rf"{LAST}: this version of memotr cannot continue .* \({problem}.*\); .* --pretrained .*{LAST}$",
    ):
        read_state(tmp_path)


class TestMovingAverage:
    def test_averages_follow_the_formula(self):
        model = torch.nn.Linear(2, 2)
        average = MovingAverage(model, 0.6)
        expected = model.weight.detach().clone()
        for n in range(1, 8):
            torch.nn.init.normal_(model.weight)
            average.update(model)
            decay = min(0.6, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(average.average["weight"], expected)

    def test_averages_include_running_statistics(self):
        model = torch.nn.BatchNorm1d(3)
        average = MovingAverage(model, 0.5)
        for n in range(1, 5):
            model.running_mean.fill_(n)
            average.update(model)
        expected = 0.0
        for n in range(1, 5):
            decay = min(0.5, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * n
        with average.applied(model):
            torch.testing.assert_close(model.running_mean, torch.full((3,), expected))
        assert model.running_mean.tolist() == [4, 4, 4]

    def test_averages_are_applied_and_removed(self):
        model = tiny_model()
        average = MovingAverage(model, 0.5)
        own = {name: tensor.clone() for name, tensor in published_state(model).items()}
        for tensor in average.average.values():
            tensor.add_(1)
        with average.applied(model):
            assert (published_state(model)["det_anchor"] - own["det_anchor"]).sub(1).abs().max() < 1e-5
        assert equal(published_state(model), own)
