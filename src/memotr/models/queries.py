"""What the two variants do differently, in one place: where queries come from and how they are positioned.

DAB (Liu et al., ICLR 2022): content and a 4-d anchor; the position is computed anew from the anchor in every layer.
Deformable-DETR (Zhu et al., ICLR 2021): a learned position beside the content, and a 2-d reference in the first layer.

A variant has no parameters of its own: it adds them to the model, the decoder and the memory under the published names.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.layers import MLP, box_embedding
from memotr.vocabulary import Variant


class QueryVariant(Protocol):
    """The interface behind which the variants hide. References are cxcywh in [0, 1] unless called logits."""

    parts: int
    """A query embedding is ``parts * C`` wide; its last C are the content."""

    def extend_model(self, model: nn.Module, num_queries: int, dim: int) -> None:
        """Add the learned detection queries."""

    def extend_decoder(self, decoder: nn.Module, dim: int) -> None:
        """Add what the decoder needs to position queries."""

    def extend_memory(self, memory: nn.Module, dim: int) -> None:
        """Add what the memory needs to renew positions."""

    def detections(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Learned embeddings (Nd, parts * C) and reference logits (Nd, 4)."""

    def position(self, decoder: nn.Module, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        """Position (B, Q, C) in a layer, from its content (B, Q, C), the embedding it began with and the reference."""

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        """The coordinates of the reference (..., 4) that a layer looks at: (..., 2 or 4)."""

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        """Reference for the next layer, from the box head's delta (logits), this layer's reference and its boxes."""

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        """What a track carries (B, Q, parts * C): content (B, Q, C) with the position of the initial embedding."""

    def renew(self, memory: nn.Module, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        """Next query embedding (N, parts * C) from the last one, its new content (N, C) and the output (N, C)."""


class DabQueries:
    """Content and 4-d anchors."""

    parts = 1

    def extend_model(self, model: nn.Module, num_queries: int, dim: int) -> None:
        model.det_anchor = nn.Parameter(torch.randn(num_queries, 4))
        model.det_query_embed = nn.Parameter(torch.randn(num_queries, dim))

    def extend_decoder(self, decoder: nn.Module, dim: int) -> None:
        decoder.query_scale = MLP(dim, dim, dim, 2)
        decoder.ref_point_head = MLP(2 * dim, dim, dim, 2)

    def extend_memory(self, memory: nn.Module, dim: int) -> None:
        """Positions follow from anchors: nothing to add."""

    def detections(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        return model.get_parameter("det_query_embed"), model.get_parameter("det_anchor")

    def position(self, decoder: nn.Module, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        position: Tensor = decoder.get_submodule("ref_point_head")(box_embedding(reference, content.shape[-1]))
        if layer > 0:
            position = position * decoder.get_submodule("query_scale")(content)
        return position

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        return reference

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        return boxes.detach()

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        return content

    def renew(self, memory: nn.Module, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        return content


class DeformableDetrQueries:
    """Content and learned position; the first layer looks at points, not boxes."""

    parts = 2

    def extend_model(self, model: nn.Module, num_queries: int, dim: int) -> None:
        model.det_query_embed = nn.Parameter(torch.randn(num_queries, 2 * dim))
        reference_points = nn.Linear(dim, 2)
        nn.init.xavier_uniform_(reference_points.weight)
        nn.init.zeros_(reference_points.bias)
        model.get_submodule("transformer").reference_points = reference_points

    def extend_decoder(self, decoder: nn.Module, dim: int) -> None:
        """Positions are learned with the queries: nothing to add."""

    def extend_memory(self, memory: nn.Module, dim: int) -> None:
        memory.linear_pos1 = nn.Linear(dim, dim)
        memory.linear_pos2 = nn.Linear(dim, dim)
        memory.norm_pos = nn.LayerNorm(dim)

    def detections(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        embed = model.get_parameter("det_query_embed")  # (Nd, 2C)
        position, _ = embed.chunk(2, dim=-1)
        xy: Tensor = model.get_submodule("transformer.reference_points")(position)  # (Nd, 2) logits
        return embed, torch.cat((xy, torch.zeros_like(xy)), dim=-1)

    def position(self, decoder: nn.Module, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        return embed[..., : content.shape[-1]]

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        return reference[..., :2] if layer == 0 else reference

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        if layer > 0:
            return boxes.detach()
        xy = delta[..., :2] + inverse_sigmoid(reference[..., :2])
        # the first layer saw no width and height: they come from the head alone
        return torch.cat((xy, delta[..., 2:]), dim=-1).sigmoid().detach()

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        return torch.cat((embed[..., : content.shape[-1]], content), dim=-1)

    def renew(self, memory: nn.Module, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        step = memory.get_submodule("linear_pos2")(memory.get_submodule("linear_pos1")(output).relu())  # (N, C)
        position = memory.get_submodule("norm_pos")(embed[..., : content.shape[-1]] + step)  # (N, C)
        return torch.cat((position, content), dim=-1)


def make_queries(variant: Variant) -> QueryVariant:
    return DabQueries() if variant == "dab" else DeformableDetrQueries()
