r"""The operator behind multi-scale deformable attention (Zhu et al., ICLR 2021, eq. 3), one signature for every kernel.

Query q of head m reads P points in each of L feature maps and adds them up by its attention weights A:

    output[q, m] = Σ_l Σ_p A[q, m, l, p] · value_l,m(x, y)        (x, y) = locations[q, m, l, p] · (W_l, H_l) − ½

value_l,m(x, y) is the bilinear mean of the four pixels around (x, y), where pixel (i, j) has its centre at (j, i) and
pixels outside the map count as zero. It is a product of two linear interpolations, w_y · w_x over the rows
and columns ⌊·⌋ and ⌊·⌋ + 1, so its derivative by x has the same form with −1 and +1 in the place of w_x. With
g = ∂loss/∂output[q, m] and v the four pixels, all three gradients come from the four products g · v:

    ∂loss/∂A    = Σ w_y w_x (g · v)
    ∂loss/∂x    = A W_l Σ w_y (±1) (g · v)        and for y likewise
    ∂loss/∂v   += A w_y w_x g

`reference` says it in plain PyTorch and runs everywhere; `cpu` fuses it into one pass over the queries.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from memotr.errors import UserError
from memotr.models.kernels import cpu, reference
from memotr.models.kernels.shapes import check_shapes

Kernel = Literal["auto", "reference", "numba"]

__all__ = ["Kernel", "deformable_attention"]


def deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    kernel: Kernel = "auto",
) -> Tensor:
    """Sum up bilinear samples of several feature maps (the formula stands at the top of this module).

    Args:
        value: (B, S, M, D) features of M heads; the maps are flattened row by row, one after the other.
        spatial_shapes: (H_l, W_l) of the L maps, plain integers; S = Σ H_l·W_l.
        sampling_locations: (B, Lq, M, L, P, 2), x then y, in [0, 1] of the (padded) map. Points outside are allowed
            and read zeros; so are NaN and infinite ones.
        attention_weights: (B, Lq, M, L, P), usually softmaxed over the L·P points.
        kernel: "auto" takes the fastest that works for the device. "reference" can be exported to ONNX; the
            others appear as an operator of their own (``memotr::deformable_attention``) in a traced graph.

    Returns:
        (B, Lq, M·D), in the dtype of ``value``. Sums are in float32, or in float64 if any input is.

    Raises:
        ValueError: The shapes do not fit together.
        UserError: The kernel does not exist, or not on this machine or device.
    """
    check_shapes(value, spatial_shapes, sampling_locations, attention_weights)
    tensors = (value, sampling_locations, attention_weights)
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    run = cpu.deformable_attention if _takes_numba(kernel, value) else reference.deformable_attention
    output = run(value.to(dtype), spatial_shapes, sampling_locations.to(dtype), attention_weights.to(dtype))
    return output.to(value.dtype)  # (B, Lq, M*D)


def _takes_numba(kernel: Kernel, value: Tensor) -> bool:
    """Which kernel is meant; the choice for CUDA tensors belongs here too."""
    if kernel == "reference":
        return False
    if kernel not in ("auto", "numba"):
        raise UserError(f"there is no kernel {kernel!r} for deformable attention: take auto, reference or numba")
    on_cpu = value.device.type == "cpu"
    if kernel == "auto":
        return on_cpu and _numba_works(value.shape[-1])
    if not on_cpu:
        raise UserError(f"kernel 'numba' runs on the CPU, but the tensors are on {value.device}: take kernel 'auto'")
    problem = cpu.numba_problem(value.shape[-1])
    if problem is not None:
        raise UserError(f"kernel 'numba' does not run here ({problem}): pip install numba, or take kernel 'reference'")
    return True


def _numba_works(channels: int) -> bool:
    """Whether the CPU kernel runs here; warn once if it does not."""
    problem = cpu.numba_problem(channels)
    if problem is not None:
        _warn_once(f"deformable attention runs its slow PyTorch form, for Numba does not work here: {problem}")
    return problem is None


# What torch.compiler.assume_constant_result sets, without its slow import of torch._dynamo: `torch.compile` calls the
# function while it traces and does not look inside.
_numba_works._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
