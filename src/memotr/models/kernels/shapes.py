"""What must hold between the shapes of the operator's inputs, whichever kernel runs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

LARGEST_SIZE = 2**24  # of a map's side: up to here float32 has all integers


def check_shapes(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> None:
    """Raise ValueError where the shapes do not fit together; compiled kernels read memory on the strength of this."""
    if value.ndim != 4 or sampling_locations.ndim != 6 or attention_weights.ndim != 5:
        raise ValueError(
            "deformable_attention takes value (B, S, M, D), sampling_locations (B, Lq, M, L, P, 2) and "
            f"attention_weights (B, Lq, M, L, P), not {value.ndim}, {sampling_locations.ndim} and "
            f"{attention_weights.ndim} dimensions"
        )
    B, S, M, D = value.shape
    Lq, L, P = sampling_locations.shape[1], len(spatial_shapes), sampling_locations.shape[4]
    if M < 1 or D < 1 or any(not 1 <= size <= LARGEST_SIZE for shape in spatial_shapes for size in shape):
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
