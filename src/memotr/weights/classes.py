"""Selection of a tracker's class heads for another set of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from memotr.weights.checkpoint import Checkpoint
from memotr.weights.published_names import published_state

HEAD = "class_embed."  # weights (K, C) and biases (K,) of every decoder layer


def for_classes(
    checkpoint: Checkpoint, known: Sequence[str], wanted: Sequence[str], fresh: nn.Module
) -> tuple[Checkpoint, str]:
    """Return a checkpoint whose class heads have the wanted classes, by name, and a description of the changes.

    Args:
        checkpoint: a tracker's checkpoint.
        known: names of the K classes in the checkpoint.
        wanted: names of the classes to train. If both have a single class, its names may differ.
        fresh: model with the wanted classes; its rows initialise the classes that are not in the checkpoint.
    """
    known = wanted if len(known) == len(wanted) == 1 else known
    if tuple(known) == tuple(wanted):
        return checkpoint, "all of it"
    rows = [known.index(name) if name in known else None for name in wanted]
    state = dict(checkpoint.state)
    for name, initial in published_state(fresh).items():
        if name.startswith(HEAD) and name in state:
            state[name] = _rows(state[name], rows, initial)
    taken = [name if row is not None else f"{name} (new)" for name, row in zip(wanted, rows, strict=True)]
    dropped = [name for name in known if name not in wanted]
    suffix = f"; left out: {', '.join(dropped)}" if dropped else ""
    return replace(checkpoint, state=state), f"its classes by name: {', '.join(taken)}{suffix}"


def _rows(tensor: Tensor, rows: Sequence[int | None], fresh: Tensor) -> Tensor:
    """Return a tensor of the selected rows; for None, the row of ``fresh`` is used."""
    chosen = fresh.clone()
    for new, old in enumerate(rows):
        if old is not None:
            chosen[new] = tensor[old]
    return chosen
