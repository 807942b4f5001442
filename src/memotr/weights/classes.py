"""A tracker's weights for other classes than those that it knows."""

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
    """Return the checkpoint with the rows of its class heads selected by name, and a description of the changes.

    Args:
        checkpoint: of a tracker.
        known: names of its K classes.
        wanted: names of those that it is to tell apart. A class that is the only one on both sides may have any name.
        fresh: a model for them, whose rows stand in for classes that the checkpoint does not know.
    """
    known = wanted if len(known) == len(wanted) == 1 else known
    if tuple(known) == tuple(wanted):
        return checkpoint, "all of it"
    rows = [known.index(name) if name in known else None for name in wanted]
    state = dict(checkpoint.state)
    for name, beginning in published_state(fresh).items():
        if name.startswith(HEAD) and name in state:
            state[name] = _rows(state[name], rows, beginning)
    told = [name if row is not None else f"{name} (new)" for name, row in zip(wanted, rows, strict=True)]
    left = [name for name in known if name not in wanted]
    without = f"; left out: {', '.join(left)}" if left else ""
    return replace(checkpoint, state=state), f"its classes by name: {', '.join(told)}{without}"


def _rows(tensor: Tensor, rows: Sequence[int | None], fresh: Tensor) -> Tensor:
    chosen = fresh.clone()
    for new, old in enumerate(rows):
        if old is not None:
            chosen[new] = tensor[old]
    return chosen
