"""Small building blocks shared by encoder, decoder and memory."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def call(module: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """``module(*inputs)``; with ``recompute`` inner values are not kept for the backward pass but computed again."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(module, *inputs, use_reentrant=False)
    return module(*inputs)


class Linear(nn.Linear):
    """``nn.Linear`` that can do what often comes next, too, which inference then does in one pass."""

    def relu(self, x: Tensor) -> Tensor:
        """The layer, and ReLU."""
        return self(x).relu_()  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Linear layers with ReLU between them: (..., input_dim) to (..., output_dim)."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            assert isinstance(layer, Linear)
            x = layer.relu(x)
        x = self.layers[-1](x)
        return x


class FFN(nn.Module):
    """Two linear layers with residual and post-norm: (..., dim) to (..., dim)."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = Linear(dim, ffn_dim)
        self.linear2 = Linear(ffn_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear2(self.dropout(self.linear1.relu(x)))
        x = self.norm(x + self.dropout(y))
        return x


def sine_embedding(x: Tensor, num_features: int, temperature: float) -> Tensor:
    """Encode angles (...) as sines and cosines (..., num_features), interleaved: a frequency serves one of each."""
    i = torch.arange(num_features, dtype=torch.float32, device=x.device)  # (F,)
    angles: Tensor = x[..., None] / torch.pow(temperature, 2 * (i // 2) / num_features)  # (..., F)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)  # (..., F)


def box_embedding(boxes: Tensor, dim: int) -> Tensor:
    """Sine embedding of boxes (..., 4) in [0, 1]: (..., 2 dim), cx, cy, w and h in this order, dim/2 features each."""
    return sine_embedding(boxes * (2 * math.pi), dim // 2, 10000.0).flatten(-2)  # (..., 4 * dim/2)
