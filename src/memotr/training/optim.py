"""AdamW with the published groups of parameters, and the learning rate of each as a function of the epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW, Optimizer

from memotr.config import OptimizerConfig
from memotr.weights.published_names import published

GROUPS = ("lr_backbone", "lr_points", "lr_query_updater", "lr")
"""Names of the groups: each is the setting that holds its learning rate."""


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

    A group's parameters are in the order of their published names, by which a saved state knows them.

    ``fused``: in one kernel; not where gradients are of a scaled loss (float16), because such an optimiser takes the
    scale off itself, too late for clipping.
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
    """Return the learning rate of a group in an epoch (from 0); a schedule has no state to save."""
    start = settings.only_query_updater_from
    if start is not None and epoch >= start and group != "lr_query_updater":
        return 0.0
    drops = sum(epoch >= milestone for milestone in settings.milestones)
    rate: float = getattr(settings, group)
    return rate * settings.drop_rate**drops


def set_learning_rates(optimizer: Optimizer, settings: OptimizerConfig, epoch: int) -> dict[str, float]:
    """Set the learning rate of every group for an epoch; return them by group."""
    rates = {group["name"]: learning_rate(settings, group["name"], epoch) for group in optimizer.param_groups}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return rates


def no_grad_frames(frames: Iterable[int], steps: Iterable[int], epoch: int) -> int:
    """Return the number of first frames of a clip without gradient, by the stage of the epoch; 0 before the first."""
    stages = sorted(zip(steps, frames, strict=True))
    reached = bisect_right([step for step, _ in stages], epoch)
    return stages[reached - 1][1] if reached else 0
