"""The two variants of queries: where they come from, how they are positioned, and how a track's query is renewed.

DAB (Liu et al., ICLR 2022): content and a 4-d anchor; the position is computed anew from the anchor in every layer.
Deformable-DETR (Zhu et al., ICLR 2021): a learned position beside the content, and a 2-d reference in the first layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from memotr.boxes import inverse_sigmoid
from memotr.models.layers import MLP, box_embedding
from memotr.vocabulary import Variant


class QueryVariant(nn.Module, ABC):
    """Base class of the variants, each of which owns all parameters that the other does not have.

    References are cxcywh in [0, 1] unless called logits.
    """

    parts: int
    """A query embedding is ``parts * C`` wide; its last C are the content."""

    heads: nn.Module
    """Parameters of :meth:`position`."""

    memory: nn.Module
    """Parameters of :meth:`renew`, which is always computed in float32."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw the learned detection queries; ``heads`` and ``memory`` are left alone."""

    @abstractmethod
    def detections(self) -> tuple[Tensor, Tensor]:
        """Return learned embeddings (Nd, parts * C) and reference logits (Nd, 4)."""

    @abstractmethod
    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        """Return positions (B, Q, C) in a layer, from content (B, Q, C), initial embedding and reference (B, Q, 4)."""

    @abstractmethod
    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        """Return the coordinates of the reference (..., 4) that a layer looks at: (..., 2 or 4)."""

    @abstractmethod
    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        """Return the next layer's reference, from the box head's delta (logits), this layer's reference and boxes."""

    @abstractmethod
    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        """Return what a track carries (B, Q, parts * C): content (B, Q, C) with the initial embedding's position."""

    @abstractmethod
    def renew(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        """Return the next embedding (N, parts * C) from the last one, its new content (N, C) and the output (N, C)."""


class AnchorHeads(nn.Module):
    """Positions from anchors, from the second layer on scaled by the content."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = MLP(dim, dim, dim, 2)
        self.position = MLP(2 * dim, dim, dim, 2)

    def forward(self, layer: int, content: Tensor, reference: Tensor) -> Tensor:
        """Content (B, Q, C) and reference (B, Q, 4) to positions (B, Q, C)."""
        position: Tensor = self.position(box_embedding(reference, content.shape[-1]))
        if layer > 0:
            position = position * self.scale(content)
        return position


class DabQueries(QueryVariant):
    """Content and 4-d anchors."""

    parts = 1

    def __init__(self, num_queries: int, dim: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.empty(num_queries, 4))
        self.contents = nn.Parameter(torch.empty(num_queries, dim))
        self.heads = AnchorHeads(dim)
        self.memory = nn.Identity()  # positions follow from anchors
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.anchors)
        nn.init.normal_(self.contents)

    def detections(self) -> tuple[Tensor, Tensor]:
        return self.contents, self.anchors

    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        position: Tensor = self.heads(layer, content, reference)
        return position

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        return reference

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        return boxes.detach()

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        return content

    def renew(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        return content


class PositionRenewal(nn.Module):
    """The memory's branch for learned positions: position and output (N, C) to the next position (N, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, dim)
        self.linear2 = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, position: Tensor, output: Tensor) -> Tensor:
        step = self.linear2(self.linear1(output).relu())  # (N, C)
        renewed: Tensor = self.norm(position + step)
        return renewed


class DeformableDetrQueries(QueryVariant):
    """Content and learned position; the first layer looks at points, not boxes."""

    parts = 2

    def __init__(self, num_queries: int, dim: int) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.empty(num_queries, 2 * dim))
        self.reference_points = nn.Linear(dim, 2)
        self.heads = nn.Identity()  # positions are learned with the queries
        self.memory = PositionRenewal(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.embeddings)
        self.reference_points.reset_parameters()  # replaced at once, but its draws count: see build_model
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def detections(self) -> tuple[Tensor, Tensor]:
        position, _ = self.embeddings.chunk(2, dim=-1)
        xy: Tensor = self.reference_points(position)  # (Nd, 2) logits
        return self.embeddings, torch.cat((xy, torch.zeros_like(xy)), dim=-1)

    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
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

    def renew(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        position = self.memory(embed[..., : content.shape[-1]], output)  # (N, C)
        return torch.cat((position, content), dim=-1)


QUERY_VARIANTS: Mapping[Variant, type[DabQueries | DeformableDetrQueries]] = {
    "dab": DabQueries,
    "deformable-detr": DeformableDetrQueries,
}
