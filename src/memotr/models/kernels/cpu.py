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

import numpy as np
import torch
from torch import Tensor

from memotr.models.kernels import machine_code
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
def _compiled(name: machine_code.Name, channels: int, dtype: torch.dtype) -> Callable[..., None]:
    """Return the kernel for D channels."""
    return machine_code.load(name, channels, 32 if dtype == torch.float32 else 64)


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


def _check(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> tuple[tuple[int, int], ...]:
    """Return the shapes of the L maps. Kernels access memory without further checks.

    Raises:
        ValueError: the shapes do not fit together.
        TypeError: the dtypes are not those of a kernel.
    """
    shapes = tuple(zip(sizes[::2], sizes[1::2], strict=True))
    check_shapes(value, shapes, locations, weights)
    if value.dtype not in (torch.float32, torch.float64) or {locations.dtype, weights.dtype} != {value.dtype}:
        raise TypeError(
            "memotr::deformable_attention takes three float32 or three float64 tensors, not "
            f"{value.dtype}, {locations.dtype} and {weights.dtype}"
        )
    return shapes


@functools.lru_cache(maxsize=64)
def _points(shapes: tuple[tuple[int, int], ...], heads: int, points: int) -> Tensor:
    """Return (M·L·P, 3) int32: width, height and first pixel of the level of each sampling point of a query."""
    starts = itertools.accumulate((H * W for H, W in shapes), initial=0)
    levels = np.array([(W, H, start) for (H, W), start in zip(shapes, starts, strict=False)], np.int32)  # (L, 3)
    return torch.from_numpy(np.tile(np.repeat(levels, points, axis=0), (heads, 1)))


def _scratch(points: int, *dtypes: torch.dtype) -> list[Tensor]:
    """Return memory for four numbers of each dtype per sampling point."""
    return [torch.empty(4 * points, dtype=dtype, device="cpu") for dtype in dtypes]


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _forward(value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    shapes = _check(value, spatial_shapes, locations, weights)
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    B, _, M, D = value.shape
    _, Lq, _, L, P = weights.shape
    output = value.new_empty((B, Lq, M * D))
    points = _points(shapes, M, P)  # (M*L*P, 3)
    kernel, threads = _compiled("forward", D, value.dtype), _num_threads(weights.numel())

    def run(arrays: list[int], first: int, last: int) -> None:
        scratch = _scratch(M * L * P, torch.int32, value.dtype)
        kernel(*arrays, *_addresses(*scratch), M, L * P, first, last)

    queries = _ranges(Lq, 1 if threads == 1 else math.ceil(PARTS_PER_THREAD * threads / B))
    images = [_addresses(v, points, xy, w, o) for v, xy, w, o in zip(value, locations, weights, output, strict=True)]
    _run([partial(run, arrays, *part) for arrays in images for part in queries], threads)
    return output


def _backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = _check(value, spatial_shapes, locations, weights)
    inputs = [t.contiguous() for t in (grad_output, value, locations, weights)]
    B, _, M, D = value.shape
    _, Lq, _, L, P = weights.shape
    points = _points(shapes, M, P)  # (M*L*P, 3)
    outputs = [value.new_zeros(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)]
    kernel = _compiled("backward", D, value.dtype)

    def run(b: int, head: int) -> None:
        g, v, xy, w, *gradients = images[b]
        scratch = _scratch(L * P, torch.int32, value.dtype, value.dtype)
        kernel(g, v, points.data_ptr(), xy, w, *gradients, *_addresses(*scratch), M, L * P, Lq, head)

    images = [_addresses(*arrays) for arrays in zip(*inputs, *outputs, strict=True)]
    _run([partial(run, b, head) for b in range(B) for head in range(M)], _num_threads(weights.numel()))
    grad_value, grad_locations, grad_weights = outputs
    return grad_value, grad_locations, grad_weights


torch.library.impl(FORWARD, "CPU", _forward)
torch.library.impl(BACKWARD, "CPU", _backward)
