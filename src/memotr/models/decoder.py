"""Transformer decoder: D_det of section 3.2 of the paper, then D_joint of section 3.1, in one stack of layers.

The first ``merge_layer`` layers are the detection decoder D_det: only the detection queries Q_det enter, and they leave
as detection embeddings E_det. All other layers are the joint decoder D_joint, with the track embeddings E_tck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.deformable_attention import DeformableAttention
from memotr.models.layers import MLP, Attention, Linear, call, cast
from memotr.models.levels import Levels
from memotr.models.queries import QueryVariant


class DecoderLayer(nn.Module):
    """Decoder layer: self-attention of the queries, deformable cross-attention to the image, FFN; post-norm."""

    def __init__(
        self, dim: int, ffn_dim: int, num_levels: int, num_heads: int, num_points: int, dropout: float
    ) -> None:
        super().__init__()
        # Published names: norm2 follows the self-attention, norm1 the cross-attention.
        self.self_attn = Attention(dim, num_heads, dropout)
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
        blocked: Tensor | None,
    ) -> Tensor:
        """Return the next content (B·Q, C) of Q queries.

        Args:
            x: (B·Q, C) content.
            position: (B·Q, C) position embeddings.
            reference: (B, Q, L, 2) points or (B, Q, L, 4) cxcywh boxes, in [0, 1] of each padded level.
            memory: (B, S, C) encoder output.
            levels: layout of the memory.
            blocked: (B, 1, 1, Q) bool, True on padding; None without padding.
        """
        q = x + position
        y = self.self_attn(q, q, x, len(reference), blocked)
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
        refined: (B, Q, 4) reference for the next layer, cxcywh in [0, 1].
    """

    entered: Tensor
    reference: Tensor
    content: Tensor
    boxes: Tensor
    refined: Tensor


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

    def detect(
        self, queries: QueryVariant, embed: Tensor, reference: Tensor, memory: Tensor, levels: Levels
    ) -> list[DecoderStep]:
        """Run D_det, which sees no tracks, on the Nd detection queries.

        Args:
            queries: query variant, which computes position embeddings and references.
            embed: (B, Nd, C or 2C) query embeddings, Q_det.
            reference: (B, Nd, 4) cxcywh in [0, 1].
            memory: (B, S, C) encoder output.
            levels: layout of the memory.

        Returns:
            One step per layer.
        """
        content = embed[..., -memory.shape[-1] :]  # (B, Nd, C), the last C channels of the embedding
        inputs = (queries, embed, content, reference, memory, levels, None)
        steps: list[DecoderStep] = self(range(self.merge_layer), *inputs)
        return steps

    def join(
        self,
        queries: QueryVariant,
        embed: Tensor,
        reference: Tensor,
        detected: Sequence[DecoderStep],
        memory: Tensor,
        levels: Levels,
        padding_mask: Tensor | None,
    ) -> list[DecoderStep]:
        """Run D_joint on the detection queries, as they left D_det, and the track queries.

        Args:
            queries: query variant.
            embed: (B, Q, C or 2C) query embeddings, [Q_det, E_tck].
            reference: (B, Q, 4) cxcywh in [0, 1].
            detected: steps of :meth:`detect`.
            memory: (B, S, C) encoder output.
            levels: layout of the memory.
            padding_mask: (B, Q) bool, True on padding; None without padding.

        Returns:
            One step per layer, those of D_det included.
        """
        content = embed[..., -memory.shape[-1] :]  # (B, Q, C)
        steps: list[DecoderStep] = []
        for i, step in enumerate(detected):
            n = step.content.shape[1]
            passing, still = content[:, n:], reference[:, n:]  # tracks do not change before the merge
            boxes = self._predict(i, passing, still)[1]
            tracks = DecoderStep(passing, still, passing, boxes, still)
            steps.append(DecoderStep(*(torch.cat(pair, dim=1) for pair in zip(step, tracks, strict=True))))
        if steps:
            content, reference = steps[-1].content, steps[-1].refined
        inputs = (queries, embed, content, reference, memory, levels, padding_mask)
        return [*steps, *self(range(len(steps), len(self.layers)), *inputs)]

    def forward(
        self,
        layers: range,
        queries: QueryVariant,
        embed: Tensor,
        content: Tensor,
        reference: Tensor,
        memory: Tensor,
        levels: Levels,
        padding_mask: Tensor | None,
    ) -> list[DecoderStep]:
        """Run some layers on content (B, Q, C) and reference (B, Q, 4); see :meth:`join`."""
        shape, memory = content.shape, cast(memory)
        ratios = torch.cat((levels.valid_ratios, levels.valid_ratios), dim=-1)[:, None]  # (B, 1, L, 4)
        blocked = None if padding_mask is None else padding_mask[:, None, None]  # (B, 1, 1, Q)
        rows, embed_rows = content.flatten(0, 1), embed.flatten(0, 1)  # (B*Q, C): linear layers need no reshaping
        steps = []
        for i in layers:
            padded_reference = reference[:, :, None] * ratios  # (B, Q, L, 4), in [0, 1] of each padded level
            position = queries.position(i, rows, embed_rows, padded_reference.flatten(0, 1)[:, 0])  # (B*Q, C)
            layer_reference = queries.layer_reference(i, padded_reference)  # (B, Q, L, 2 or 4)
            inputs = (rows, position, layer_reference, memory, levels, blocked)
            rows = call(self.layers[i], *inputs, recompute=self.recompute)  # (B*Q, C)
            y = rows.view(shape)
            delta, boxes = self._predict(i, rows, reference)
            refined = queries.refine(i, delta, reference, boxes)
            steps.append(DecoderStep(content, reference, y, boxes, refined))
            content, reference = y, refined
        return steps

    def _predict(self, layer: int, content: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of a layer's box head (B, Q, 4), logits, and the boxes (B, Q, 4) that it predicts."""
        delta = self.bbox_embed[layer](content).view(reference.shape)
        return delta, (delta + inverse_sigmoid(reference)).sigmoid()
