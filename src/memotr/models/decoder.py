"""Transformer decoder: D_det of section 3.2 of the paper, then D_joint of section 3.1, in one stack of layers.

The first ``merge_layer`` layers are the detection decoder D_det: only the detection queries Q_det enter, and they leave
as detection embeddings E_det. All other layers are the joint decoder D_joint, with the track embeddings E_tck.
"""

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
    """Decoder layer: self-attention of the queries, deformable cross-attention to the image, FFN; post-norm."""

    def __init__(
        self, dim: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        # Published names: norm2 follows the self-attention, norm1 the cross-attention.
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
        padding_mask: Tensor | None,
    ) -> Tensor:
        """Return the next content (B, Q, C) of Q queries.

        Args:
            x: (B, Q, C) content.
            position: (B, Q, C) position embeddings.
            reference: (B, Q, L, 2) points or (B, Q, L, 4) cxcywh boxes, in [0, 1] of each padded level.
            memory: (B, S, C) encoder output.
            levels: layout of the memory.
            padding_mask: (B, Q) bool, True on padding; None without padding.
        """
        q = x + position
        y, _ = self.self_attn(q, q, x, key_padding_mask=padding_mask, need_weights=False)
        x = self.norm2(x + self.dropout(y))
        y = self.cross_attn(x + position, reference, memory, levels)
        x = self.norm1(x + self.dropout(y))
        y = self.linear2(self.dropout(self.linear1.relu(x)))
        x = self.norm3(x + self.dropout(y))
        return x


class DecoderStep(NamedTuple):
    """Inputs and outputs of one decoder layer for all Q queries.

    Attributes:
        entered: (B, Q, C) content that entered the layer.
        reference: (B, Q, 4) reference that entered the layer, cxcywh in [0, 1].
        content: (B, Q, C) content that left the layer.
        boxes: (B, Q, 4) predicted boxes, cxcywh in [0, 1].
    """

    entered: Tensor
    reference: Tensor
    content: Tensor
    boxes: Tensor


class Decoder(nn.Module):
    """Stack of decoder layers with box refinement between them.

    Args:
        layers: decoder layers, at least one.
        dim: C, number of channels.
        merge_layer: number of first layers that only detection queries enter (D_det); track queries skip them.
    """

    recompute = False
    """Recompute activations in the backward pass, see :func:`memotr.models.layers.call`."""

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
        padding_mask: Tensor | None,
        num_detections: int,
    ) -> list[DecoderStep]:
        """Decode Q queries: Nd detection queries, then track queries.

        Args:
            queries: query variant, which computes position embeddings and references.
            embed: (B, Q, C or 2C) query embeddings, [Q_det, E_tck].
            reference: (B, Q, 4) cxcywh in [0, 1].
            memory: (B, S, C) encoder output.
            levels: layout of the memory.
            padding_mask: (B, Q) bool, True on padding; None without padding.
            num_detections: Nd.

        Returns:
            One step per layer.
        """
        ratios = torch.cat((levels.valid_ratios, levels.valid_ratios), dim=-1)[:, None]  # (B, 1, L, 4)
        content = embed[..., -memory.shape[-1] :]  # (B, Q, C), the last C channels of the embedding
        steps = []
        for i, layer in enumerate(self.layers):
            n = num_detections if i < self.merge_layer else content.shape[1]  # D_det, then D_joint
            padded_reference = reference[:, :n, None] * ratios  # (B, n, L, 4), in [0, 1] of each padded level
            position = queries.position(i, content[:, :n], embed[:, :n], padded_reference[:, :, 0])  # (B, n, C)
            layer_reference = queries.layer_reference(i, padded_reference)  # (B, n, L, 2 or 4)
            mask = None if padding_mask is None else padding_mask[:, :n]
            inputs = (content[:, :n], position, layer_reference, memory, levels, mask)
            y = call(layer, *inputs, recompute=self.recompute)  # (B, n, C)
            y = torch.cat((y, content[:, n:]), dim=1)  # (B, Q, C), tracks unchanged before the merge
            delta = self.bbox_embed[i](y)  # (B, Q, 4) logits
            boxes = (delta + inverse_sigmoid(reference)).sigmoid()
            steps.append(DecoderStep(content, reference, y, boxes))
            refined = queries.refine(i, delta, reference, boxes)
            reference = torch.cat((refined[:, :n], reference[:, n:]), dim=1)  # (B, Q, 4)
            content = y
        return steps
