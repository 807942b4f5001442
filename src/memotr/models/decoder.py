"""The decoder: detection queries alone first (the paper's separate detection decoder), then with the tracks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.layers import MLP, Linear, call
from memotr.models.levels import Levels
from memotr.models.queries import QueryVariant


class DecoderLayer(nn.Module):
    """Self-attention over the queries, deformable cross-attention on the memory, FFN; post-norm."""

    def __init__(
        self, dim: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attn = DeformableAttention(dim, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, ffn_dim)
        self.linear2 = Linear(ffn_dim, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        levels: Levels,
        padding: Tensor | None,
    ) -> Tensor:
        """Content and position (B, Q, C), reference (B, Q, L, 2 or 4), memory (B, S, C), padding (B, Q): (B, Q, C)."""
        q = x + position
        y, _ = self.self_attn(q, q, x, key_padding_mask=padding, need_weights=False)
        x = self.norm2(x + self.dropout(y))
        y = self.cross_attn(x + position, reference, memory, levels)
        x = self.norm1(x + self.dropout(y))
        y = self.linear2(self.dropout(self.linear1.relu(x)))
        x = self.norm3(x + self.dropout(y))
        return x


class DecoderStep(NamedTuple):
    """One layer's work: what entered (content and reference) and what came out. All (B, Q, ...)."""

    entered: Tensor
    reference: Tensor
    content: Tensor
    boxes: Tensor


class Decoder(nn.Module):
    """A stack of decoder layers with box refinement between them.

    Args:
        layers: at least one.
        dim: C.
        merge_layer: number of first layers that track queries pass by.
    """

    recompute = False
    """Trade time for memory: see :func:`memotr.models.layers.call`."""

    def __init__(self, layers: list[DecoderLayer], dim: int, merge_layer: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.merge_layer = merge_layer
        self.bbox_embed = nn.ModuleList(MLP(dim, dim, 4, 3) for _ in layers)

    def forward(
        self,
        queries: QueryVariant,
        embed: Tensor,
        reference: Tensor,
        memory: Tensor,
        levels: Levels,
        padding: Tensor | None,
        num_detections: int,
    ) -> list[DecoderStep]:
        """Decode Q queries, the first ``num_detections`` of which detect.

        Args:
            queries: the variant, which positions them.
            embed: (B, Q, C or 2C) query embeddings.
            reference: (B, Q, 4) cxcywh in [0, 1].
            memory: (B, S, C) what the encoder made of the levels.
            levels: layout of the memory.
            padding: (B, Q) bool, True on queries that only fill the batch; None without any.
            num_detections: Nd.
        """
        ratios = torch.cat((levels.valid_ratios, levels.valid_ratios), dim=-1)[:, None]  # (B, 1, L, 4)
        content = embed[..., -memory.shape[-1] :]  # (B, Q, C)
        steps = []
        for i, layer in enumerate(self.layers):
            n = num_detections if i < self.merge_layer else content.shape[1]
            padded_reference = reference[:, :n, None] * ratios  # (B, n, L, 4), in [0, 1] of each padded level
            position = queries.position(i, content[:, :n], embed[:, :n], padded_reference[:, :, 0])
            seen = queries.layer_reference(i, padded_reference)  # (B, n, L, 2 or 4)
            hidden = None if padding is None else padding[:, :n]
            y = call(layer, content[:, :n], position, seen, memory, levels, hidden, recompute=self.recompute)
            y = torch.cat((y, content[:, n:]), dim=1)  # (B, Q, C)
            delta = self.bbox_embed[i](y)  # (B, Q, 4) logits
            boxes = (delta + inverse_sigmoid(reference)).sigmoid()
            steps.append(DecoderStep(content, reference, y, boxes))
            refined = queries.refine(i, delta, reference, boxes)
            reference = torch.cat((refined[:, :n], reference[:, n:]), dim=1)  # (B, Q, 4)
            content = y
        return steps
