"""The operator in plain PyTorch: any device, any floating dtype, differentiable twice, exportable; slow on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def deformable_attention(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """See `memotr.models.kernels.deformable_attention`; the three tensors share one dtype here."""
    B, _, M, D = value.shape
    Lq = sampling_locations.shape[1]
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # (B*M, D, S)
    locations = _harmless(sampling_locations).transpose(1, 2).flatten(0, 1)  # (B*M, Lq, L, P, 2)
    weights = attention_weights.transpose(1, 2).flatten(0, 1)  # (B*M, Lq, L, P)
    output = value.new_zeros((B * M, D, Lq))
    start = 0
    for level, (H, W) in enumerate(spatial_shapes):
        samples = F.grid_sample(
            maps[..., start : start + H * W].unflatten(-1, (H, W)),  # (B*M, D, H, W)
            2 * locations[:, :, level] - 1,  # (B*M, Lq, P, 2)
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )  # (B*M, D, Lq, P)
        output = output + (samples * weights[:, None, :, level]).sum(-1)
        start += H * W
    return output.view(B, M * D, Lq).transpose(1, 2)  # (B, Lq, M*D)


def _harmless(locations: Tensor) -> Tensor:
    """Locations that grid_sample would turn into NaN, or cast to an integer past its range, moved to where no pixel is.

    One map's width to either side of the map is outside, and so is everything further out.
    """
    return locations.nan_to_num(nan=-1.0, posinf=2.0, neginf=-1.0).clamp(-1.0, 2.0)
