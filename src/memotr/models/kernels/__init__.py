r"""Kernels of multi-scale deformable attention (Zhu et al., ICLR 2021, eq. 3) behind one function.

For query q and head m the function samples P points in each of L feature maps and sums them with the attention
weights A:

    output[q, m] = Σ_l Σ_p A[q, m, l, p] · value_l,m(x, y)        (x, y) = locations[q, m, l, p] · (W_l, H_l) − ½

value_l,m(x, y) is the bilinear interpolation of the four pixels around (x, y), where pixel (i, j) has its centre at
(j, i) and pixels outside the map count as zero. It is a product of two linear interpolations, w_y · w_x over the rows
and columns ⌊·⌋ and ⌊·⌋ + 1, so its derivative with respect to x has the same form, with −1 and +1 in place of w_x. With
g = ∂loss/∂output[q, m] and v the four pixels, all three gradients follow from the four products g · v:

    ∂loss/∂A    = Σ w_y w_x (g · v)
    ∂loss/∂x    = A W_l Σ w_y (±1) (g · v)        and for y likewise
    ∂loss/∂v   += A w_y w_x g

`reference` implements it in plain PyTorch for every device; `fused` is one operator, implemented by `cpu` and `cuda`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from memotr.errors import UserError, warn
from memotr.models.kernels import cpu, cuda, fused, reference
from memotr.models.kernels.reference import check_shapes
from memotr.vocabulary import Kernel

__all__ = ["check_kernel", "deformable_attention"]


def deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    kernel: Kernel = "auto",
) -> Tensor:
    """Return weighted sums of bilinear samples of several feature maps (formula: see the module).

    Args:
        value: (B, S, M, D) features of M heads; the maps are flattened row by row and concatenated.
        spatial_shapes: (H_l, W_l) of the L maps, plain integers; S = Σ H_l·W_l.
        sampling_locations: (B, Lq, M, L, P, 2), x then y, in [0, 1] of the (padded) map. Points outside the map, NaN
            and infinity are allowed and sample zeros.
        attention_weights: (B, Lq, M, L, P), usually softmaxed over the L·P points.
        kernel: "auto" selects the fastest kernel that works on the device. "reference" can be exported to ONNX; in a
            traced graph the others appear as a custom operator (``memotr::deformable_attention``).

    Returns:
        (B, Lq, M·D) in the dtype of ``value``. Sums are computed in float32, or in float64 if any input is float64.

    Raises:
        ValueError: the shapes do not fit together.
        UserError: the kernel is unknown, or does not run on this machine or device.
    """
    check_shapes(value, spatial_shapes, sampling_locations, attention_weights)
    choice = _choose(kernel, value)
    tensors = (value, sampling_locations, attention_weights)
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    if choice != "triton" or dtype == torch.float64:  # the Triton kernel reads half precision directly
        tensors = (value.to(dtype), sampling_locations.to(dtype), attention_weights.to(dtype))
    run = reference.deformable_attention if choice == "reference" else fused.deformable_attention
    output = run(tensors[0], spatial_shapes, *tensors[1:])
    return output.to(value.dtype)  # (B, Lq, M*D)


def check_kernel(kernel: Kernel, device: torch.device) -> None:
    """Raise UserError if a kernel is unknown or does not support a type of device."""
    if kernel not in get_args(Kernel):
        raise UserError(
            f"unknown kernel {kernel!r} for deformable attention: choose from {', '.join(get_args(Kernel))}"
        )
    needed, place = {"numba": ("cpu", "the CPU"), "triton": ("cuda", "CUDA devices")}.get(kernel, (device.type, ""))
    if device.type != needed:
        raise UserError(f"kernel {kernel!r} runs on {place}, but the tensors are on {device}: choose kernel 'auto'")


def _choose(kernel: Kernel, value: Tensor) -> Kernel:
    """Resolve "auto" for the device, dtype and channels of ``value``. Raises UserError if the kernel does not run."""
    device, dtype, channels = value.device, value.dtype, value.shape[-1]
    check_kernel(kernel, device)
    if kernel == "auto":
        if device.type == "cpu":
            return "numba" if _numba_works(channels) else "reference"
        return "triton" if device.type == "cuda" and _triton_works(device, dtype, channels) else "reference"
    if kernel == "reference":
        return "reference"
    problem = cpu.numba_problem(channels) if kernel == "numba" else cuda.triton_problem(device, dtype, channels)
    if problem is not None:
        raise UserError(
            f"kernel {kernel!r} does not run here ({problem}): pip install {kernel}, or choose kernel 'reference'"
        )
    return kernel


def _numba_works(channels: int) -> bool:
    """Return whether the CPU kernel runs here; warn once if it does not."""
    return _works("Numba", cpu.numba_problem(channels))


def _triton_works(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Return whether the CUDA kernel runs on a device; warn once if it does not."""
    return _works("Triton", cuda.triton_problem(device, dtype, channels))


def _works(library: str, problem: str | None) -> bool:
    """Return True if ``problem`` is None; otherwise warn once."""
    if problem is not None:
        _warn_once(f"deformable attention uses the slow PyTorch kernel because {library} does not work here: {problem}")
    return problem is None


# The attribute that torch.compiler.assume_constant_result sets, without its slow import of torch._dynamo: torch.compile
# calls these functions while tracing, and does not trace into them.
_numba_works._dynamo_marked_constant = True  # type: ignore[attr-defined]
_triton_works._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _warn_once(message: str) -> None:
    warn(message)
