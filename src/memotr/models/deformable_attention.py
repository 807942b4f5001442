"""Multi-scale deformable attention (Zhu et al., ICLR 2021): every query samples a few points in every level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from memotr.models.kernels import deformable_attention
from memotr.models.layers import cast
from memotr.models.levels import Levels
from memotr.vocabulary import Kernel


class DeformableAttention(nn.Module):
    """Deformable attention of Lq queries to L feature levels.

    Args:
        dim: C, number of channels.
        num_levels: L.
        num_heads: M.
        num_points: P, number of sampling points per head and level.
    """

    def __init__(self, dim: int, num_levels: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.kernel: Kernel = "auto"
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the parameters as Deformable DETR does.

        Each head samples in one of M directions; its point p is p times as far away as its first point.
        """
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)  # (M,)
        star = torch.stack((angle.cos(), angle.sin()), dim=-1)  # (M, 2)
        star = star / star.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1)  # (P,)
        bias = star[:, None, None, :] * steps[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, levels: Levels) -> Tensor:
        """Sample ``source`` around each query's reference.

        Args:
            query: (B·Lq, C) or (B, Lq, C) content plus position.
            reference: (B, Lq, L, 2) points or (B, Lq, L, 4) cxcywh boxes, in [0, 1] of the padded map; or points
                expanded by :meth:`spread`, once for several layers with the same points.
            source: (B, S, C) features of all levels.
            levels: layout of the source.

        Returns:
            Weighted sums of the sampled features, in the shape of the query.
        """
        (B, Lq), (M, L, P) = reference.shape[:2], (self.num_heads, self.num_levels, self.num_points)
        rows = cast(query if query.ndim == 2 else query.flatten(0, 1))  # (B*Lq, C)
        value = self.value_proj(source.flatten(0, 1))  # (B*S, C)
        if levels.mask is not None:
            value = value.masked_fill_(levels.mask.reshape(-1, 1), 0.0)  # in place on rows: see Linear.relu
        value = value.view(B, -1, M, value.shape[-1] // M)  # (B, S, M, D)
        weights = self.attention_weights(rows).view(B, Lq, M, L * P).softmax(-1).view(B, Lq, M, L, P)
        locations = self.sampling_locations(rows, reference, levels.pixel)  # (B, Lq, M, L, P, 2)
        sampled = deformable_attention(value, levels.shapes, locations, weights, kernel=self.kernel)  # (B, Lq, C)
        output: Tensor = self.output_proj(sampled.flatten(0, 1))  # (B*Lq, C)
        return output if query.ndim == 2 else output.view(query.shape)

    def sampling_locations(self, query: Tensor, reference: Tensor, pixel: Tensor) -> Tensor:
        """Return the sampling points (B, Lq, M, L, P, 2), xy in [0, 1] of the padded map.

        Args:
            query: (B·Lq, C) content plus position.
            reference: as in :meth:`forward`.
            pixel: (L, 2) width and height of one pixel of every level, in [0, 1] of the padded level.
        """
        M, L, P = self.num_heads, self.num_levels, self.num_points
        B, Lq = reference.shape[:2]
        offsets: Tensor = self.sampling_offsets(query)  # (B*Lq, M*L*P*2)
        if reference.shape[-1] == 2:  # offsets in pixels of the level
            centre = reference if reference.ndim == 6 else self.spread(reference)
            step = pixel[:, None].expand(M, L, P, 2).flatten()
            return torch.addcmul(centre.flatten(2), offsets.view(B, Lq, -1), step).view(B, Lq, M, L, P, 2)
        # Offsets in units of 1 / P of half the box.
        centre, size = torch.split(reference.reshape(B, Lq, 1, L, 1, 4), 2, dim=-1)
        return centre + offsets.view(B, Lq, M, L, P, 2) * (size / (2 * P))

    def spread(self, points: Tensor) -> Tensor:
        """Repeat points (B, Lq, L, 2) for each head and sample: (B, Lq, M, L, P, 2), contiguous for fast arithmetic."""
        return points[:, :, None, :, None].expand(-1, -1, self.num_heads, -1, self.num_points, -1).contiguous()
