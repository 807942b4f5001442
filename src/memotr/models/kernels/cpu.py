"""CPU implementation of ``memotr::deformable_attention``, compiled by Numba.

Threads: Numba's own thread layers are not used. The default layer aborts the process when two Python threads enter it
at once, and the OpenMP layer kills forked children such as data-loader workers. Instead, kernels are serial and release
the GIL, and a small pool of Python threads runs them on parts of the work. This is safe for any number of callers, a
forked process creates its own pool, and `torch.set_num_threads` sets the number of threads (one in data-loader
workers).

Outputs and gradients are bitwise equal for any number of threads: one call computes an output row, and one call sums
the gradient of a head's values, query after query.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.models.kernels.fused import BACKWARD, FORWARD
from memotr.models.kernels.reference import check_shapes

POINTS_PER_THREAD = 16_384
"""Minimum number of sampling points per thread: about 0.2 ms of work. With less, waking a thread costs more time."""
PARTS_PER_THREAD = 4
"""Parts of the work per thread; more than one balances the load when cores are busy with other programs."""


@functools.cache
def numba_problem(channels: int) -> str | None:
    """Return the reason why the kernel cannot run on this machine, as one line; None if it can.

    The check compiles the kernel, or loads it from disk.

    Args:
        channels: D, number of channels of a head.
    """
    try:
        _compiled("forward", channels, torch.float32)
    except Exception as problem:  # imports and LLVM may raise anything, and the reference kernel can replace this one
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


@functools.cache
def _compiled(direction: str, channels: int, dtype: torch.dtype) -> Callable[..., None]:
    """Return the compiled kernel for D channels, cached on disk if possible."""
    from memotr.models.kernels import numba_kernels  # imported late, because it takes a third of a second

    make = {"forward": numba_kernels.forward_kernel, "backward": numba_kernels.backward_kernel}[direction]
    try:
        return _compile(make(channels, cache=True), direction, channels, dtype)
    except Exception:  # the disk cache failed: read-only folder, full disk or damaged file; others occur again
        return _compile(make(channels, cache=False), direction, channels, dtype)


def _compile(kernel: Callable[..., None], direction: str, channels: int, dtype: torch.dtype) -> Callable[..., None]:
    """Return the kernel after a first call with one pixel and one point, during which Numba compiles it."""
    numbers = np.float32 if dtype == torch.float32 else np.float64
    value, locations, weights = (np.zeros(shape, numbers) for shape in ((1, 1, channels), (1, 2), (1, 1)))
    inputs = (value, np.ones((1, 2), np.int32), locations, weights, 1)
    if direction == "forward":
        kernel(*inputs, value.copy(), 0, 1)
    else:
        kernel(value.copy(), *inputs, value.copy(), locations.copy(), weights.copy(), 0)
    return kernel


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the helper threads of a process. A forked process needs its own, because threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="memotr")


def _num_threads(points: int) -> int:
    """Return the number of threads for a number of sampling points."""
    return max(1, min(torch.get_num_threads(), points // POINTS_PER_THREAD))


def _run(parts: Sequence[Callable[[], None]], threads: int) -> None:
    """Run all parts on a number of threads, including the calling one."""
    waiting = deque(parts)

    def work() -> None:
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            part()

    helpers = [_pool(os.getpid(), torch.get_num_threads() - 1).submit(work) for _ in range(threads - 1)]
    work()
    # Now all parts are finished or running. Helpers that have not started are cancelled, so that callers that share the
    # pool do not wait for each other.
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _ranges(length: int, parts: int) -> list[tuple[int, int]]:
    """Split 0…length into at most `parts` ranges of nearly equal size, none empty."""
    parts = min(parts, length)
    return list(itertools.pairwise(length * i // parts for i in range(parts + 1))) if parts else []


def _kernel_inputs(
    value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], int]]:
    """Check the inputs and return the first arguments of a kernel for each batch element (shapes: `numba_kernels`)."""
    shapes = list(zip(sizes[::2], sizes[1::2], strict=True))
    check_shapes(value, shapes, locations, weights)
    if value.dtype not in (torch.float32, torch.float64) or {locations.dtype, weights.dtype} != {value.dtype}:
        raise TypeError(
            "memotr::deformable_attention takes three float32 or three float64 tensors, not "
            f"{value.dtype}, {locations.dtype} and {weights.dtype}"
        )
    levels = np.array(shapes, dtype=np.int32).reshape(-1, 2)  # (L, 2)
    arrays = zip(_array(value), _array(locations.flatten(2)), _array(weights.flatten(2)), strict=True)
    return [(v, levels, xy, w, weights.shape[-1]) for v, xy, w in arrays]  # (S, M, D), (L, 2), (Lq, 2N), (Lq, N)


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return the tensor as an array that shares its memory if it is contiguous, and is a copy otherwise."""
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _forward(value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    inputs = _kernel_inputs(value, spatial_shapes, locations, weights)
    B, _, M, D = value.shape
    Lq = weights.shape[1]
    output = value.new_empty((B, Lq, M * D))
    rows = output.unflatten(-1, (M, D)).numpy()  # (B, Lq, M, D)
    kernel, threads = _compiled("forward", D, value.dtype), _num_threads(weights.numel())
    queries = _ranges(Lq, 1 if threads == 1 else math.ceil(PARTS_PER_THREAD * threads / B))
    _run([partial(kernel, *inputs[b], rows[b], *part) for b in range(B) for part in queries], threads)
    return output


def _backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = _kernel_inputs(value, spatial_shapes, locations, weights)
    B, _, M, D = value.shape
    rows = _array(grad_output.unflatten(-1, (M, D)))  # (B, Lq, M, D)
    grad_value = value.new_zeros(value.shape)  # (B, S, M, D)
    grad_locations = locations.new_empty(locations.shape)  # (B, Lq, M, L, P, 2)
    grad_weights = weights.new_empty(weights.shape)  # (B, Lq, M, L, P)
    outputs = [t.numpy() for t in (grad_value, grad_locations.flatten(2), grad_weights.flatten(2))]
    kernel = _compiled("backward", D, value.dtype)
    parts = [
        partial(kernel, rows[b], *inputs[b], *(o[b] for o in outputs), head) for b in range(B) for head in range(M)
    ]
    _run(parts, _num_threads(weights.numel()))
    return grad_value, grad_locations, grad_weights


torch.library.impl(FORWARD, "CPU", _forward)
torch.library.impl(BACKWARD, "CPU", _backward)
