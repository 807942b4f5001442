"""Layers and embeddings shared by encoder, decoder and memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def call(module: Callable[..., Any], *inputs: Any, recompute: bool) -> Any:
    """Return ``module(*inputs)``; ``recompute`` recomputes activations in the backward pass, which saves memory."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(module, *inputs, use_reentrant=False)
    return module(*inputs)


def cast(x: Tensor) -> Tensor:
    """Return a tensor in autocast's precision, once for several layers, each of which would cast and keep its own."""
    kind = x.device.type
    if x.dtype == torch.float32 and kind != "meta" and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x


@functools.cache
def onednn_supports(dtype: torch.dtype) -> bool:
    """Return whether oneDNN's fused operators exist for a dtype. They are private, so they may be missing."""
    names = "_linear_pointwise", "_convolution_pointwise", "_convolution_pointwise_"
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


class Linear(nn.Linear):
    """``nn.Linear`` with a method for linear layer and ReLU, which :mod:`memotr.models.inference` fuses."""

    def relu(self, x: Tensor) -> Tensor:
        """Return the ReLU (..., out_features) of the layer's output for x (..., in_features)."""
        # On rows: the backward pass of an in-place operation on a view copies the whole gradient several times.
        y: Tensor = self(x if x.ndim == 2 else x.flatten(0, -2)).relu_()
        return y if x.ndim == 2 else y.view(*x.shape[:-1], self.out_features)


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        input_dim: number of input channels.
        hidden_dim: number of channels between the layers.
        output_dim: number of output channels.
        num_layers: number of linear layers.
    """

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        for layer in self.layers[:-1]:
            assert isinstance(layer, Linear)
            x = layer.relu(x)
        x = self.layers[-1](x)
        return x


class FFN(nn.Module):
    """Feed-forward network: two linear layers with residual connection and post-norm.

    Args:
        dim: C, number of input and output channels.
        ffn_dim: number of channels between the layers.
        dropout: dropout rate after each linear layer.
    """

    def __init__(self, dim: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = Linear(dim, ffn_dim)
        self.linear2 = Linear(ffn_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        y = self.linear2(self.dropout(self.linear1.relu(x)))
        x = self.norm(x + self.dropout(y))
        return x


class Attention(nn.Module):
    """Multi-head attention with the parameters of ``nn.MultiheadAttention``, in fewer operations.

    Args:
        dim: C, number of channels.
        num_heads: M.
        dropout: dropout rate of the attention weights.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, batch: int, blocked: Tensor | None = None) -> Tensor:
        """Return the attended values (B·Q, C).

        Args:
            q: (B·Q, C) input of the queries.
            k: (B·K, C) input of the keys.
            v: (B·K, C) input of the values.
            batch: B, number of sets that do not attend to each other.
            blocked: bool, broadcast to (B, M, Q, K), True where a query does not attend to a key; None: nowhere.
        """
        heads = (self.num_heads, q.shape[-1] // self.num_heads)
        if q is k:  # one product for both
            weights = self.in_proj_weight.split((2 * q.shape[-1], q.shape[-1]))
            biases = self.in_proj_bias.split((2 * q.shape[-1], q.shape[-1]))
            both = F.linear(q, weights[0], biases[0]).view(batch, len(q) // batch, 2, *heads)
            q, k = both[:, :, 0], both[:, :, 1]  # (B, Q, M, D)
        else:
            weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
            q = F.linear(q, weights[0], biases[0]).view(batch, len(q) // batch, *heads)  # (B, Q, M, D)
            k = F.linear(k, weights[1], biases[1]).view(batch, len(k) // batch, *heads)
        v = F.linear(v, weights[-1], biases[-1]).view(batch, len(v) // batch, *heads)  # (B, K, M, D)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if torch.compiler.is_exporting():  # the fused operator branches on sizes that an exported graph does not know
            scores = q @ k.transpose(2, 3) * heads[1] ** -0.5  # (B, M, Q, K)
            scores = scores if blocked is None else scores.masked_fill(blocked, -torch.inf)
            y = scores.softmax(dim=-1) @ v
        else:
            allowed = None if blocked is None else ~blocked
            dropout = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout)  # (B, M, Q, D)
        output: Tensor = self.out_proj(y.transpose(1, 2).flatten(2).flatten(0, 1))
        return output


def sine_embedding(x: Tensor, num_features: int, temperature: float) -> Tensor:
    """Return the sine embedding (..., num_features) of angles (...) in radians.

    Sines and cosines are interleaved; each pair has the frequency ``temperature ** (-2 * pair / num_features)``.
    """
    i = torch.arange(0, num_features, 2, dtype=torch.float32, device=x.device)  # (F / 2,)
    angles: Tensor = x[..., None] / torch.pow(temperature, i / num_features)  # (..., F / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)  # (..., F)


def box_embedding(boxes: Tensor, dim: int) -> Tensor:
    """Return the sine embedding (..., 2 dim) of cxcywh boxes (..., 4) in [0, 1]: dim/2 features per coordinate."""
    return sine_embedding(boxes * (2 * math.pi), dim // 2, 10000.0).flatten(-2)  # (..., 4 * dim/2)
