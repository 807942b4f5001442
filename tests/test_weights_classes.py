"""A tracker's weights for other classes than its own."""

import pytest
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.training.train import start_model
from memotr.weights.classes import HEAD
from memotr.weights.model_files import save_model
from tests.training.builders import SMALL


def config_of(*classes):
    return load_config("tiny", [*SMALL, f"classes={list(classes)}"])


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(5)
    model = build_model(config_of("person", "car", "dog"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    save_model(model, tmp_path / "trained.safetensors")
    return model, tmp_path / "trained.safetensors"


def test_rows_go_by_name_and_new_classes_begin_afresh(trained):
    before, file = trained
    model, origin = start_model(config_of("dog", "robot", "person"), file)
    assert origin == f"starting from {file}: a tracker, its classes by name: dog, robot (new), person; left out: car"
    theirs, ours = before.state_dict(), model.state_dict()
    for name, tensor in ours.items():
        if not name.startswith(HEAD):
            assert tensor.equal(theirs[name]), name
            continue
        assert tensor[0].equal(theirs[name][2])
        assert tensor[2].equal(theirs[name][0])
        assert not any(tensor[1].equal(row) for row in theirs[name])
    assert ours[f"{HEAD}0.bias"][1] == pytest.approx(-4.595, abs=1e-3), "a probability of 1 %"


def test_equal_classes_load_all_weights(trained):
    before, file = trained
    model, origin = start_model(config_of("person", "car", "dog"), file)
    assert origin.endswith("a tracker, all of it")
    assert all(tensor.equal(before.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_an_only_class_may_have_any_name(tmp_path):
    before = build_model(config_of("person"))
    save_model(before, tmp_path / "one.safetensors")
    model, origin = start_model(config_of("player"), tmp_path / "one.safetensors")
    assert origin.endswith("all of it")
    assert model.state_dict()[f"{HEAD}0.weight"].equal(before.state_dict()[f"{HEAD}0.weight"])
