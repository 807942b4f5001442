"""CUDA implementation of ``memotr::deformable_attention``, compiled by Triton at the first use.

Cost: a point reads 4 pixels of D channels and does 2·4·D operations on them, one operation per byte in half precision.
An H100 can do 20 operations per byte, so memory traffic is the limit. All maps of an image (12 MB for the encoder at
800×1422 in bfloat16) stay in the L2 cache, so each tensor is read from memory about once. The cost that remains is the
gather from L2, 4·D·(bytes per number) per point, and the instructions around it. Therefore:

- Channels of a pixel are contiguous. Neighbouring threads read them in blocks of 16 bytes, in half precision if the
  values are, and a point's location, weight and pixel addresses are computed per block, not per channel.
- Many loads are in flight at once: with few queries those of a level's points, in the backward pass those of all.
- Sums stay in registers, in float32. Only results are written.

The backward pass gathers the same pixels and sums their gradients in a float32 buffer by atomic additions. Their order
varies between runs, and so do the last bits of the result. The gradients of a point are sums over its channels within
one program. The forward pass is bitwise reproducible. The first call with new D, L, P or dtype compiles the kernel:
make this call before a CUDA graph is captured.
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
NUM_WARPS = 4
"""Warps per program."""
BLOCK_SIZE = 1024
"""Number of values per program: queries × points × channels."""
MANY_QUERIES = 2048
"""Number of queries from which one point at a time per program keeps all multiprocessors busy."""


@functools.cache
def triton_problem(device: torch.device, dtype: torch.dtype, channels: int) -> str | None:
    """Return the reason why the kernel cannot run on a device, as one line; None if it can.

    The check compiles the kernel, or loads it from disk, and runs it once.

    Args:
        device: device of the tensors.
        dtype: dtype of the values.
        channels: D, number of channels of a head.

    Raises:
        RuntimeError: the check is not possible, because a CUDA graph is being captured or the device is out of memory.
    """
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("deformable attention: call it once before a CUDA graph is captured")
    try:
        # In a separate thread: while PyTorch traces, tensors made in this one may have no memory.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_test_kernel, device, dtype, channels).result()
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # imports, driver and compilers may raise anything; "reference" can replace it
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


def _test_kernel(device: torch.device, dtype: torch.dtype, channels: int) -> None:
    """Run the kernel for one pixel and one point at its centre, and check the result."""
    value = torch.ones((1, 1, 1, channels), dtype=dtype, device=device)
    locations = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
    output = _forward(value, (1, 1), locations, torch.ones_like(locations[..., 0]))
    if not output.eq(1).all():
        raise RuntimeError("wrong result")


def _blocks(direction: str, Lq: int, D: int, L: int, P: int) -> dict[str, int]:
    """Return the block sizes of a program: queries, points whose loads are in flight together, and all channels."""
    channels = _power_of_2(D)
    in_flight = 16 if direction == "backward" else 1 if Lq >= MANY_QUERIES else 4
    points = min(_power_of_2(L * P if direction == "backward" else P), in_flight, max(1, BLOCK_SIZE // channels))
    return {"BLOCK_Q": max(1, BLOCK_SIZE // (points * channels)), "BLOCK_P": points, "BLOCK_D": channels}


def _power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is at least ``number``."""
    return 1 << (number - 1).bit_length()


def _launch(direction: str, tensors: Sequence[Tensor], value: Tensor, sizes: Sequence[int], weights: Tensor) -> None:
    """Run the kernel on contiguous tensors, with the shapes of `value` and `weights`."""
    import triton  # imported late: it may be missing

    from memotr.models.kernels import triton_kernels

    (B, S, M, D), (_, Lq, _, L, P) = value.shape, weights.shape
    kernel = {"forward": triton_kernels.forward_kernel, "backward": triton_kernels.backward_kernel}[direction]
    blocks = _blocks(direction, Lq, D, L, P)
    real = triton.language.float64 if value.dtype == torch.float64 else triton.language.float32
    grid = (-(-Lq // blocks["BLOCK_Q"]), M, B)
    constants = {"M": M, "D": D, "L": L, "P": P, "REAL": real, **blocks}
    with torch.cuda.device_of(value):
        kernel[grid](*tensors, tuple(map(float, sizes)), S, Lq, **constants, num_warps=NUM_WARPS)


def _check(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> None:
    """Raise ValueError or TypeError for inputs that the kernel cannot read, because it does not check them itself."""
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
