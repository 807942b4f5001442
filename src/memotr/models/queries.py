"""Query variants: detection queries (Q_det in the paper), position embeddings, references and track embeddings.

DAB (Liu et al., ICLR 2022): content and a 4-d anchor box; every layer computes the position from the anchor.
Deformable-DETR (Zhu et al., ICLR 2021): content and a learned position; the first layer has 2-d reference points.
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
    """Base class of the query variants, which own the parameters that only one variant has.

    References are cxcywh in [0, 1], except where they are called logits.
    """

    parts: int
    """Width of a query embedding in units of C. Its last C channels are the content."""

    heads: nn.Module
    """Parameters of :meth:`position`."""

    memory: nn.Module
    """Parameters of :meth:`update_embed`, which always runs in float32."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Initialise the learned detection queries, but neither ``heads`` nor ``memory``."""

    @abstractmethod
    def detections(self) -> tuple[Tensor, Tensor]:
        """Return Q_det: learned embeddings (Nd, parts * C) and reference logits (Nd, 4)."""

    @abstractmethod
    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        """Return the position embeddings (B·Q, C) of a layer.

        Args:
            layer: index of the decoder layer, from 0.
            content: (B·Q, C) content that enters the layer.
            embed: (B·Q, parts * C) initial query embeddings.
            reference: (B·Q, 4) reference of the layer.
        """

    @abstractmethod
    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        """Return the coordinates (..., 2 or 4) of references (..., 4) that the cross-attention of a layer uses."""

    @abstractmethod
    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        """Return the detached reference (B, Q, 4) of the next layer.

        Args:
            layer: index of the decoder layer, from 0.
            delta: (B, Q, 4) output of the layer's box head, logits.
            reference: (B, Q, 4) reference of the layer.
            boxes: (B, Q, 4) boxes that the layer predicts: the reference plus ``delta`` in logit space.
        """

    @abstractmethod
    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        """Return the embedding (B, Q, parts * C) of a track that starts from each query.

        Args:
            embed: (B, Q, parts * C) initial query embeddings.
            content: (B, Q, C) content that entered the last decoder layer.
        """

    @abstractmethod
    def update_embed(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        """Return the embeddings (N, parts * C) of tracks for the next frame, E_tck^(t+1).

        Args:
            embed: (N, parts * C) embeddings of this frame.
            content: (N, C) next content, from the temporal interaction.
            output: (N, C) decoder output of this frame.
        """


class AnchorHeads(nn.Module):
    """Position embeddings of anchors, from the second layer on scaled by a function of the content."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = MLP(dim, dim, dim, 2)
        self.position = MLP(2 * dim, dim, dim, 2)

    def forward(self, layer: int, content: Tensor, reference: Tensor) -> Tensor:
        """Return positions (B·Q, C) from content (B·Q, C) and reference (B·Q, 4)."""
        position: Tensor = self.position(box_embedding(reference, content.shape[-1]))
        if layer > 0:
            position = position * self.scale(content)
        return position


class DabQueries(QueryVariant):
    """Queries of DAB-DETR: content (C,) and 4-d anchor boxes. Positions follow from the anchors.

    Args:
        num_queries: Nd.
        dim: C, number of channels.
    """

    parts = 1

    def __init__(self, num_queries: int, dim: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.empty(num_queries, 4))
        self.contents = nn.Parameter(torch.empty(num_queries, dim))
        self.heads = AnchorHeads(dim)
        self.memory = nn.Identity()  # no learned positions to update
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw anchors and contents from a normal distribution."""
        nn.init.normal_(self.anchors)
        nn.init.normal_(self.contents)

    def detections(self) -> tuple[Tensor, Tensor]:
        """Return learned contents (Nd, C) and anchors (Nd, 4) as logits."""
        return self.contents, self.anchors

    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        """Return positions (B·Q, C) computed from the reference."""
        position: Tensor = self.heads(layer, content, reference)
        return position

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        """Return all four coordinates, in every layer."""
        return reference

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        """Return the predicted boxes, detached."""
        return boxes.detach()

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        """Return the content."""
        return content

    def update_embed(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        """Return the next content."""
        return content


class PositionUpdate(nn.Module):
    """Layers that update the learned positions of tracks from frame to frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, dim)
        self.linear2 = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, position: Tensor, output: Tensor) -> Tensor:
        """Return the next position (N, C) from position and decoder output, (N, C) each."""
        step = self.linear2(self.linear1(output).relu())  # (N, C)
        updated: Tensor = self.norm(position + step)
        return updated


class DeformableDetrQueries(QueryVariant):
    """Queries of Deformable DETR: learned position (C,) and content (C,). References of the first layer are points.

    Args:
        num_queries: Nd.
        dim: C, number of channels.
    """

    parts = 2

    def __init__(self, num_queries: int, dim: int) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.empty(num_queries, 2 * dim))
        self.reference_points = nn.Linear(dim, 2)
        self.heads = nn.Identity()  # positions are part of the learned embeddings
        self.memory = PositionUpdate(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw embeddings from a normal distribution, and the weights of ``reference_points`` Xavier-uniformly."""
        nn.init.normal_(self.embeddings)
        self.reference_points.reset_parameters()  # overwritten below, but advances the generator: see build_model
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def detections(self) -> tuple[Tensor, Tensor]:
        """Return learned embeddings (Nd, 2C) and references (Nd, 4) as logits, whose w and h are 0."""
        position, _ = self.embeddings.chunk(2, dim=-1)  # (Nd, C)
        xy: Tensor = self.reference_points(position)  # (Nd, 2) logits
        return self.embeddings, torch.cat((xy, torch.zeros_like(xy)), dim=-1)

    def position(self, layer: int, content: Tensor, embed: Tensor, reference: Tensor) -> Tensor:
        """Return the position half of the initial embedding, in every layer."""
        return embed[..., : content.shape[-1]]

    def layer_reference(self, layer: int, reference: Tensor) -> Tensor:
        """Return xy in the first layer, and all four coordinates in the others."""
        return reference[..., :2] if layer == 0 else reference

    def refine(self, layer: int, delta: Tensor, reference: Tensor, boxes: Tensor) -> Tensor:
        """Return the predicted boxes, detached; after the first layer with width and height from ``delta`` alone."""
        if layer > 0:
            return boxes.detach()
        xy = delta[..., :2] + inverse_sigmoid(reference[..., :2])
        # References of the first layer have no width and height to which delta could be added.
        return torch.cat((xy, delta[..., 2:]), dim=-1).sigmoid().detach()

    def birth_embed(self, embed: Tensor, content: Tensor) -> Tensor:
        """Return the position half of the initial embedding, then the content."""
        return torch.cat((embed[..., : content.shape[-1]], content), dim=-1)

    def update_embed(self, embed: Tensor, content: Tensor, output: Tensor) -> Tensor:
        """Return the updated position half, then the next content."""
        position = self.memory(embed[..., : content.shape[-1]], output)  # (N, C)
        return torch.cat((position, content), dim=-1)


QUERY_VARIANTS: Mapping[Variant, type[DabQueries | DeformableDetrQueries]] = {
    "dab": DabQueries,
    "deformable-detr": DeformableDetrQueries,
}
