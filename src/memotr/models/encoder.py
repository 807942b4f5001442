"""Transformer encoder: deformable self-attention among the pixels of all feature levels."""

from __future__ import annotations

from torch import Tensor, nn

from memotr.models.deformable_attention import DeformableAttention
from memotr.models.layers import Linear, call
from memotr.models.levels import Levels, repeat_batch


class EncoderLayer(nn.Module):
    """Encoder layer: deformable self-attention and FFN; post-norm."""

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

    def forward(self, x: Tensor, levels: Levels, centres: Tensor, recompute_hidden: bool = False) -> Tensor:
        """Return the next features (B, S, C).

        Args:
            x: (B, S, C) features.
            levels: layout of the features.
            centres: (B, S, M, L, P, 2) reference points of each head and sample, see
                :meth:`memotr.models.deformable_attention.DeformableAttention.spread`.
            recompute_hidden: recompute the hidden activations of the FFN, (B, S, 8 C) in published networks and the
                largest of all, in the backward pass.
        """
        y = self.self_attn(x + levels.positions, centres, x, levels)
        x = self.norm1(x + self.dropout(y))
        y = call(self._feed_forward, x, recompute=recompute_hidden)
        x = self.norm2(x + self.dropout(y))
        return x

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.dropout(self.linear1.relu(x)))
        return y


class Encoder(nn.Module):
    """Stack of encoder layers."""

    recompute = False
    """Recompute activations in the backward pass, see :func:`memotr.models.layers.call`."""

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, levels: Levels) -> Tensor:
        """Encode flattened feature maps (T·B, S, C) to features of the same shape, which the decoder attends to.

        T frames are encoded at once with the layout of one frame's B images.
        """
        centres, times = None, len(x) // len(levels.positions)
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer)
            if centres is None:  # the same for all layers
                centres = repeat_batch(layer.self_attn.spread(levels.centres), times)
                levels = levels.repeat(times)
            x = call(layer, x, levels, centres, not self.recompute, recompute=self.recompute)
        return x
