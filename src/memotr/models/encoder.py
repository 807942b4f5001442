"""The encoder: every pixel of every level looks around itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.models.backbone import FeatureLevels
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.layers import call


class EncoderLayer(nn.Module):
    """Deformable self-attention and FFN, post-norm: (B, S, C) to the same."""

    def __init__(
        self, dim: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, levels: FeatureLevels, reference: Tensor) -> Tensor:
        y = self.self_attn(x + levels.positions, reference, x, levels.shapes, levels.mask)
        x = self.norm1(x + self.dropout(y))
        y = self.linear2(self.dropout(self.linear1(x).relu()))
        x = self.norm2(x + self.dropout(y))
        return x


def encoder_reference_points(levels: FeatureLevels) -> Tensor:
    """(B, S, L, 2): the centre of every pixel of every level, in [0, 1] of each padded level."""
    ratios = levels.valid_ratios  # (B, L, 2)
    centres = []
    for level, (height, width) in enumerate(levels.shapes):
        y = torch.arange(height, dtype=ratios.dtype, device=ratios.device) + 0.5  # (H,)
        x = torch.arange(width, dtype=ratios.dtype, device=ratios.device) + 0.5  # (W,)
        grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1).flatten(0, 1)  # (HW, 2)
        size = torch.tensor((width, height), dtype=ratios.dtype, device=ratios.device)  # (2,)
        centres.append(grid / (ratios[:, level, None, :] * size))  # (B, HW, 2), in [0, 1] of the unpadded image
    return torch.cat(centres, dim=1)[:, :, None, :] * ratios[:, None, :, :]  # (B, S, L, 2)


class Encoder(nn.Module):
    """A stack of encoder layers: feature levels to memory (B, S, C)."""

    recompute = False
    """Trade time for memory: see :func:`memotr.models.layers.call`."""

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, levels: FeatureLevels) -> Tensor:
        reference = encoder_reference_points(levels)
        x = levels.features
        for layer in self.layers:
            x = call(layer, x, levels, reference, recompute=self.recompute)
        return x
