"""The operator for CUDA tensors: ``memotr::deformable_attention``, compiled by Triton at the first use.

What it must move. A point reads 4 pixels of D channels and does 2·4·D operations on them, one for every byte in half
precision, where an H100 has bytes and operations at 1 : 20: only traffic counts. All maps of an image (12 MB for the
encoder at 800×1422 in bfloat16) stay in the second-level cache, so memory sees every tensor about once; what is left is
the gather from that cache, of 4·D·(bytes a number) for a point, and the instructions around it. Hence
- the channels of a pixel lie innermost: neighbouring threads read them in pieces of 16 bytes, in half precision if the
  values are, and a point's location, weight and pixel addresses are computed for a piece and not for a channel;
- many loads are under way at once: where queries are few, those of a level's points; in the backward pass those of all;
- sums stay in registers, in float32: nothing is written but results.
The backward pass gathers the same pixels and adds their gradients up in a float32 buffer by atomic additions, whose
order changes from run to run and with it the last bits. The gradients of a point are sums over its channels, within one
program. The forward pass is the same to the bit every time. Call once before capturing a CUDA graph: the first call of
a D, L, P and dtype compiles.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from memotr.models.kernels.fused import BACKWARD, FORWARD
from memotr.models.kernels.reference import check_shapes

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WARPS, NUMBERS = 4, 1024  # of a program; a number is one channel of one point of one query
MANY = 2048  # queries, from which on there are programs enough for every multiprocessor without points side by side


@functools.cache
def triton_problem(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    """Why the kernel cannot run there, in a line; None if it can. Compiles it, or loads it from the disk.

    Raises:
        RuntimeError: a CUDA graph is being captured, or the device is full: then there is no telling.
    """
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("deformable attention: call it once before a CUDA graph is captured")
    try:
        # In a thread of its own: while PyTorch traces, tensors made in this one may have no memory.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_try, device, dtype, channels).result()
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # an import, the driver or a compiler may fail in any way: there is another kernel
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


def _try(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    """Run the kernel for one pixel and one point at its centre."""
    value = torch.ones((1, 1, 1, channels), dtype=dtype, device=device)
    locations = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
    output = _forward(value, (1, 1), locations, torch.ones_like(locations[..., 0]))
    if not output.eq(1).all():
        raise RuntimeError("wrong result")


def _blocks(direction: str, Lq: int, D: int, L: int, P: int) -> dict[str, int]:
    """Queries, points and channels of a program: channels all, points as many as wait for memory together."""
    channels = _power_of_2(D)
    together = 16 if direction == "backward" else 1 if Lq >= MANY else 4
    points = min(_power_of_2(L * P if direction == "backward" else P), together, max(1, NUMBERS // channels))
    return {"BLOCK_Q": max(1, NUMBERS // (points * channels)), "BLOCK_P": points, "BLOCK_D": channels}


def _power_of_2(number: int) -> int:
    """The least that is not below."""
    return 1 << (number - 1).bit_length()


def _launch(direction: str, tensors: Sequence[Tensor], value: Tensor, sizes: Sequence[int], weights: Tensor) -> None:
    """Run the kernel on contiguous tensors, for the shapes of `value` and `weights`."""
    import triton  # not before it is needed: it may be missing

    from memotr.models.kernels import triton_kernels

    (B, S, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
    kernel = {"forward": triton_kernels.forward_kernel, "backward": triton_kernels.backward_kernel}[direction]
    blocks = _blocks(direction, Lq, D, L, P)
    real = triton.language.float64 if value.dtype == torch.float64 else triton.language.float32
    grid = (-(-Lq // blocks["BLOCK_Q"]), M, B)
    constants = {"M": M, "D": D, "L": L, "P": P, "REAL": real, **blocks}
    with torch.cuda.device_of(value):
        kernel[grid](*tensors, tuple(map(float, sizes)), S, Lq, **constants, num_warps=WARPS)


def _check(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> None:
    """Raise for what the kernel, which trusts its inputs, could not read."""
    check_shapes(value, list(zip(sizes[::2], sizes[1::2], strict=True)), locations, weights)
    tensors = (value, locations, weights)
    if any(t.dtype not in DTYPES for t in tensors) or len({t.device for t in tensors}) > 1:
        raise TypeError(
            "memotr::deformable_attention takes floating-point tensors of one device, not "
            + ", ".join(f"{t.dtype} on {t.device}" for t in tensors)
        )


def _forward(value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    _check(value, spatial_shapes, locations, weights)
    B, _, M, D = value.shape
    shape = (B, weights.shape[1], M * D)
    if not weights.numel():  # no query, or no point
        return value.new_zeros(shape)
    output = value.new_empty(shape)
    tensors = (*(t.contiguous() for t in (value, locations, weights)), output)
    _launch("forward", tensors, value, spatial_shapes, weights)
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
        _launch("backward", tensors, value, spatial_shapes, weights)
    return grad_value.to(value.dtype), grad_locations, grad_weights


torch.library.impl(FORWARD, "CUDA", _forward)
torch.library.impl(BACKWARD, "CUDA", _backward)
