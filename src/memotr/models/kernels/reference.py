"""Deformable attention in plain PyTorch, for any device and floating dtype.

It is twice differentiable and can be exported, but slow on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def deformable_attention(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Compute `memotr.models.kernels.deformable_attention` for three tensors of one dtype."""
    B, _, M, D = value.shape
    Lq = sampling_locations.shape[1]
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # (B*M, D, S)
    locations = _clamp(sampling_locations).transpose(1, 2).flatten(0, 1)  # (B*M, Lq, L, P, 2)
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


def _clamp(locations: Tensor) -> Tensor:
    """Move NaN, infinity and locations far outside of the map to one map size outside, where samples are also zero.

    Otherwise grid_sample would return NaN, or cast numbers to integers that cannot represent them.
    """
    return locations.nan_to_num(nan=-1.0, posinf=2.0, neginf=-1.0).clamp(-1.0, 2.0)


MAX_SIZE = 2**24
"""Maximum width and height of a map: float32 represents all integers up to this number."""


def check_shapes(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> None:
    """Raise ValueError if the shapes do not fit together. Compiled kernels access memory without further checks."""
    if value.ndim != 4 or sampling_locations.ndim != 6 or attention_weights.ndim != 5:
        raise ValueError(
            "deformable_attention takes value (B, S, M, D), sampling_locations (B, Lq, M, L, P, 2) and "
            f"attention_weights (B, Lq, M, L, P), not {value.ndim}, {sampling_locations.ndim} and "
            f"{attention_weights.ndim} dimensions"
        )
    B, S, M, D = value.shape
    Lq, L, P = sampling_locations.shape[1], len(spatial_shapes), sampling_locations.shape[4]
    if M < 1 or D < 1 or any(not 1 <= size <= MAX_SIZE for shape in spatial_shapes for size in shape):
        raise ValueError(
            f"no heads, channels or pixels, or too many: {M=}, {D=}, spatial_shapes {list(spatial_shapes)}"
        )
    pixels = sum(H * W for H, W in spatial_shapes)
    if pixels != S:
        raise ValueError(f"value holds {S} pixels, but spatial_shapes {list(spatial_shapes)} make {pixels}")
    if sampling_locations.shape != (B, Lq, M, L, P, 2):
        raise ValueError(f"sampling_locations are {_text(sampling_locations)}, not (B={B}, Lq, M={M}, L={L}, P, 2)")
    if attention_weights.shape != (B, Lq, M, L, P):
        raise ValueError(f"attention_weights are {_text(attention_weights)}, not {(B, Lq, M, L, P)}")


def _text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
