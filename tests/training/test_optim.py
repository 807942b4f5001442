import json

import pytest
import torch

from memotr.build import build_model
from memotr.config import OptimizerConfig, load_config
from memotr.training.optim import GROUPS, group_of, learning_rate, make_optimizer, no_grad_frames, set_learning_rates
from memotr.weights.published_names import published
from tests.parity.harness import FOLDER

PRESETS = {
    "dancetrack_dab": "dancetrack",
    "dancetrack_deformable_detr": "dancetrack-deformable-detr",
    "bdd100k_dab": "bdd100k",
}


def manifests():
    """The published groups of parameters, by the name of their preset."""
    found = {}
    for path in sorted(FOLDER.glob("manifest_*.json")):
        manifest = json.loads(path.read_text())
        if "param_groups" in manifest:
            found[PRESETS[path.stem.removeprefix("manifest_")]] = manifest
    return found


@pytest.mark.parametrize("preset", PRESETS.values())
def test_groups_are_the_published_ones(preset):
    """Names modulo the second name of the box heads, which the published code lists instead of the first."""
    manifest = manifests()[preset]
    model = build_model(load_config(preset))
    optimizer = make_optimizer(model, OptimizerConfig())
    names = {parameter: name for name, parameter in published(model.named_parameters()).items()}
    ours = {group["name"]: sorted(names[p] for p in group["params"]) for group in optimizer.param_groups}
    theirs = {
        group: sorted(name.replace("transformer.decoder.bbox_embed", "bbox_embed") for name in members)
        for group, members in manifest["param_groups"].items()
    }
    ours = {
        g: sorted(name.replace("transformer.decoder.bbox_embed", "bbox_embed") for name in m) for g, m in ours.items()
    }
    assert ours == theirs
    assert sum(map(len, ours.values())) == len(manifest["trainable"])


def test_every_group_has_its_rate_and_decay():
    settings = OptimizerConfig(lr=1, lr_backbone=2, lr_points=3, lr_query_updater=4, weight_decay=0.25)
    optimizer = make_optimizer(build_model(load_config("tiny")), settings)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == dict(
        zip(GROUPS, (2, 3, 4, 1), strict=True)
    )
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.25}


def test_a_frozen_backbone_leaves_no_empty_group():
    model = build_model(load_config("tiny", ["model.backbone.frozen_stages=5"]))
    assert "lr_backbone" not in {group["name"] for group in make_optimizer(model, OptimizerConfig()).param_groups}


@pytest.mark.parametrize("milestones", [(12,), (2, 5), (1, 2, 3)])
def test_learning_rates_equal_those_of_multi_step_lr(milestones):
    settings = OptimizerConfig(milestones=milestones)
    optimizer = make_optimizer(build_model(load_config("tiny")), settings)
    other = make_optimizer(build_model(load_config("tiny")), settings)
    schedule = torch.optim.lr_scheduler.MultiStepLR(other, list(milestones), settings.drop_rate)
    for epoch in range(15):
        set_learning_rates(optimizer, settings, epoch)
        for ours, theirs in zip(optimizer.param_groups, other.param_groups, strict=True):
            assert ours["lr"] == pytest.approx(theirs["lr"], rel=1e-12)
        other.step()
        schedule.step()


def test_only_the_query_updater_trains_from_its_epoch_on():
    settings = OptimizerConfig(milestones=(2,), only_query_updater_from=3)
    for group in GROUPS:
        assert learning_rate(settings, group, 2) > 0
        assert (learning_rate(settings, group, 3) > 0) == (group == "lr_query_updater")


def test_a_rate_of_zero_leaves_the_weights_alone():
    model = build_model(load_config("tiny"))
    settings = OptimizerConfig(only_query_updater_from=0)
    optimizer = make_optimizer(model, settings)
    parameters = published(model.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in parameters.items():
        assert parameter.equal(before[name]) == (group_of(name) != "lr_query_updater"), name


def test_frames_without_gradient_are_those_of_the_stage_reached_last():
    frames, steps = (1, 2, 0), (2, 4, 6)
    assert [no_grad_frames(frames, steps, epoch) for epoch in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert no_grad_frames((), (), 5) == 0
