"""The encoder: every pixel of every level looks around itself."""

from __future__ import annotations

from torch import Tensor, nn

from memotr.models.deformable_attention import DeformableAttention
from memotr.models.layers import Linear, call
from memotr.models.levels import Levels


class EncoderLayer(nn.Module):
    """Deformable self-attention and FFN, post-norm: (B, S, C) to the same."""

    def __init__(
        self, dim: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, ffn_dim)
        self.linear2 = Linear(ffn_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, levels: Levels, centres: Tensor) -> Tensor:
        y = self.self_attn(x + levels.positions, centres, x, levels)
        x = self.norm1(x + self.dropout(y))
        y = self.linear2(self.dropout(self.linear1.relu(x)))
        x = self.norm2(x + self.dropout(y))
        return x


class Encoder(nn.Module):
    """A stack of encoder layers: flattened feature maps (B, S, C) to memory (B, S, C)."""

    recompute = False
    """Trade time for memory: see :func:`memotr.models.layers.call`."""

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, levels: Levels) -> Tensor:
        centres = None  # the same for all layers
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer)
            if centres is None:
                centres = layer.self_attn.spread(levels.centres)
            x = call(layer, x, levels, centres, recompute=self.recompute)
        return x
