"""AdamW with the published groups of parameters, and the learning rate of each as a function of the epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW, Optimizer

from memotr.config import OptimizerConfig
from memotr.weights.published_names import published

GROUPS = ("lr_backbone", "lr_points", "lr_query_updater", "lr")
"""Names of the parameter groups; each is also the name of the setting with the group's learning rate."""


def group_of(name: str) -> str:
    """Return the group of a parameter of the model, by its published name."""
    if name.startswith("backbone."):
        return "lr_backbone"
    if "reference_points" in name or "sampling_offsets" in name:
        return "lr_points"
    if name.startswith("query_updater."):
        return "lr_query_updater"
    return "lr"


def make_optimizer(model: nn.Module, settings: OptimizerConfig, *, fused: bool = False) -> AdamW:
    """Return AdamW over the trainable parameters of ``model``; ``param_groups[i]["name"]`` is ``GROUPS[i]``.

    The parameters of a group are in the order of their published names; saved optimiser states depend on this order.

    Args:
        model: model to train.
        settings: learning rates and weight decay.
        fused: update all parameters in one kernel. Not possible with a loss scale (float16), because a fused optimiser
            unscales the gradients itself, after they have been clipped.
    """
    members: dict[str, list[nn.Parameter]] = {group: [] for group in GROUPS}
    for name, parameter in published(model.named_parameters()).items():
        if parameter.requires_grad:
            members[group_of(name)].append(parameter)
    groups = [
        {"name": group, "params": params, "lr": learning_rate(settings, group, epoch=0)}
        for group, params in members.items()
        if params
    ]
    return AdamW(groups, weight_decay=settings.weight_decay, fused=fused or None)


def learning_rate(settings: OptimizerConfig, group: str, epoch: int) -> float:
    """Return the learning rate of a group in an epoch (from 0)."""
    start = settings.only_query_updater_from
    if start is not None and epoch >= start and group != "lr_query_updater":
        return 0.0
    drops = sum(epoch >= milestone for milestone in settings.milestones)
    rate: float = getattr(settings, group)
    return rate * settings.drop_rate**drops


def set_learning_rates(optimizer: Optimizer, settings: OptimizerConfig, epoch: int) -> dict[str, float]:
    """Set the learning rate of every group for an epoch (from 0), and return group → rate."""
    rates = {group["name"]: learning_rate(settings, group["name"], epoch) for group in optimizer.param_groups}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return rates


def no_grad_frames(frames: Iterable[int], steps: Iterable[int], epoch: int) -> int:
    """Return the number of frames at the start of a clip that run without gradient in an epoch.

    Args:
        frames: number of frames of each stage.
        steps: first epoch of each stage, from 0; 0 frames before the first stage.
        epoch: the epoch, from 0.
    """
    stages = sorted(zip(steps, frames, strict=True))
    reached = bisect_right([step for step, _ in stages], epoch)
    return stages[reached - 1][1] if reached else 0
