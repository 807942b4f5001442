"""The operator for CUDA tensors: ``memotr::deformable_attention``, compiled by Triton at the first use.

What it must move. A point reads 4 pixels of D channels and does 2·4·D operations on them, one for every byte in half
precision, where an H100 has bytes and operations at 1 : 20: only traffic counts. All maps of an image (12 MB for the
encoder at 800×1422 in bfloat16) stay in the second-level cache, so memory sees every tensor about once; what is left is
the gather from that cache, of 4·D·(bytes a number) for a point, and the instructions around it. Hence
- the channels of a pixel lie innermost: neighbouring threads read them in pieces of 16 bytes, in half precision if the
  values are, and a point's location, weight and pixel addresses are computed for a piece and not for a channel;
- the points of a level lie beside them, so that their locations are read together and many loads are under way at once;
- sums stay in registers, in float32: nothing is written but results.
The backward pass gathers the same pixels and adds their gradients up in a float32 buffer by atomic additions, whose
order changes from run to run and with it the last bits. The gradients of a point are sums over its channels, within one
program. How many queries a program takes is measured at the first call for each D, L, P and dtype: call once before
capturing a CUDA graph.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from memotr.models.kernels.fused import BACKWARD, FORWARD
from memotr.models.kernels.shapes import check_shapes

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Of a program: points of a level side by side, warps, and numbers of a sum that a thread holds. One is taken.
CANDIDATES = ((8, 4, 8), (8, 4, 16), (8, 8, 8), (1, 4, 8))
# Triton's tuner keeps the arguments of a call in itself, and autograd has a thread for every device.
LAUNCHING = threading.Lock()


@functools.cache
def triton_problem(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    """Why the kernel cannot run there, in a line; None if it can. Compiles it, or loads it from the disk."""
    try:
        # In a thread of its own: while PyTorch traces, tensors made in this one may have no memory.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_try, device, dtype, channels).result()
    except Exception as problem:  # an import, the driver or a compiler may fail in any way: there is another kernel
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


def _try(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    """Run the kernel for one pixel and one point at its centre."""
    value = torch.ones((1, 1, 1, channels), dtype=dtype, device=device)
    locations = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
    output = _forward(value, (1, 1), locations, torch.ones_like(locations[..., 0]), tuned=False)
    if not output.eq(1).all():
        raise RuntimeError("wrong result")


@functools.cache
def _compiled(direction: str, channels: int, points: int, tuned: bool) -> Any:
    """The kernel with the sizes of its blocks; `tuned` takes those that are fastest at the first call."""
    import triton

    from memotr.models.kernels import triton_kernels  # not before it is needed: Triton may be missing

    kernel = {"forward": triton_kernels.forward_kernel, "backward": triton_kernels.backward_kernel}[direction]
    interpreted = not isinstance(kernel, triton.JITFunction)  # there is nothing to be measured
    block_d = triton.next_power_of_2(channels)
    configs = []
    for most_points, warps, numbers in CANDIDATES if tuned and not interpreted else CANDIDATES[:1]:
        block_p = min(most_points, triton.next_power_of_2(points))
        block_q = max(1, 32 * warps * numbers // (block_p * block_d))
        blocks = {"BLOCK_Q": block_q, "BLOCK_P": block_p, "BLOCK_D": block_d}
        configs.append(triton.Config(blocks, num_warps=warps))
    added_to = ["grad_value"] if direction == "backward" else None  # or every measurement would add to it
    return triton.autotune(configs, key=["L", "P", "D"], reset_to_zero=added_to)(kernel)


def _launch(
    direction: str, tensors: Sequence[Tensor], value: Tensor, sizes: Sequence[int], weights: Tensor, tuned: bool
) -> None:
    """Run the kernel on contiguous tensors, for the shapes of `value` and `weights`."""
    (B, S, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
    kernel = _compiled(direction, D, P, tuned)
    import triton.language as tl

    real = tl.float64 if value.dtype == torch.float64 else tl.float32

    def grid(blocks: dict[str, Any]) -> tuple[int, int, int]:
        return -(-Lq // blocks["BLOCK_Q"]), M, B

    with LAUNCHING, torch.cuda.device_of(value):
        kernel[grid](*tensors, tuple(map(float, sizes)), S, Lq, M=M, D=D, L=L, P=P, REAL=real)


def _check(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> None:
    """Raise for what the kernel, which trusts its inputs, could not read."""
    check_shapes(value, list(zip(sizes[::2], sizes[1::2], strict=True)), locations, weights)
    tensors = (value, locations, weights)
    if any(t.dtype not in DTYPES for t in tensors) or len({t.device for t in tensors}) > 1:
        raise TypeError(
            "memotr::deformable_attention takes floating-point tensors of one device, not "
            + ", ".join(f"{t.dtype} on {t.device}" for t in tensors)
        )


def _forward(
    value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor, tuned: bool = True
) -> Tensor:
    _check(value, spatial_shapes, locations, weights)
    B, _, M, D = value.shape
    shape = (B, weights.shape[1], M * D)
    if not weights.numel():  # no query, or no point
        return value.new_zeros(shape)
    output = value.new_empty(shape)
    tensors = (*(t.contiguous() for t in (value, locations, weights)), output)
    _launch("forward", tensors, value, spatial_shapes, weights, tuned)
    return output


def _backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check(value, spatial_shapes, locations, weights)
    exact = torch.promote_types(value.dtype, torch.float32)
    grad_value = torch.zeros_like(value, dtype=exact, memory_format=torch.contiguous_format)  # (B, S, M, D)
    grad_locations = locations.new_empty(locations.shape)  # (B, Lq, M, L, P, 2)
    grad_weights = weights.new_empty(weights.shape)  # (B, Lq, M, L, P)
    if weights.numel():
        inputs = [t.contiguous() for t in (grad_output, value, locations, weights)]
        tensors = (*inputs, grad_value, grad_locations, grad_weights)
        _launch("backward", tensors, value, spatial_shapes, weights, tuned=True)
    return grad_value.to(value.dtype), grad_locations, grad_weights


torch.library.impl(FORWARD, "CUDA", _forward)
torch.library.impl(BACKWARD, "CUDA", _backward)
