"""Moving average of the weights (Polyak & Juditsky, 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from memotr.weights.published_names import published


class MovingAverage:
    """Exponential moving average of a module's parameters and floating buffers, on the module's device.

    Args:
        module: module whose current values start the average.
        decay: weight of the old average in an update, in [0, 1); smaller in the first updates.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: tensor.clone() for name, tensor in _floating(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Update the averages with the current values of the module."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.average.values()), list(_floating(module).values()), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Give the module the averaged values within the context."""
        own = {name: tensor.clone() for name, tensor in _floating(module).items()}
        _fill(module, self.average)
        try:
            yield
        finally:
            _fill(module, own)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the averages."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict` of a module with the same names and shapes."""
        self.updates = state["updates"]
        for name, tensor in self.average.items():
            tensor.copy_(state["average"][name])


def _floating(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors to average by published name; shared tensors appear once."""
    named = published(module.named_parameters()) | published(module.named_buffers())
    return {name: tensor.detach() for name, tensor in named.items() if tensor.is_floating_point()}


def _fill(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, tensor in _floating(module).items():
        tensor.copy_(values[name])
