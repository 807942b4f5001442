"""The operator for CPU tensors: ``memotr::deformable_attention``, compiled by Numba and run on threads of its own.

Threads. Numba's own are no good here: its default layer aborts the process when two Python threads enter it at once,
and the OpenMP one ends forked children such as data-loader workers. Instead the kernels are serial and without the GIL,
and a small pool of Python threads runs them on parts of the work. That is safe for any number of callers; a forked
process gets a pool of its own; and `torch.set_num_threads` says how many there are (one, in data-loader workers).

Both directions give the same bits for any number of threads: an output row is computed by one call, and the gradient of
a head's values is summed up by one call, query after query.
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

# Waking another thread pays from about 0.2 ms of work on.
POINTS_PER_THREAD = 16_384
# More parts than threads, for cores that are busy with something else.
PARTS_PER_THREAD = 4


@functools.cache
def numba_problem(channels: int) -> str | None:
    """Why the kernel cannot run here, in a line; None if it can. Compiles it, or loads it from the disk."""
    try:
        _compiled("forward", channels, torch.float32)
    except Exception as problem:  # an import, LLVM or the processor may fail in any way: there is another kernel
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    return None


@functools.cache
def _compiled(direction: str, channels: int, dtype: torch.dtype) -> Callable[..., None]:
    """The machine code for D channels, compiled, and kept on disk where that is possible."""
    from memotr.models.kernels import numba_kernels  # not before it is needed: it takes a third of a second

    make = {"forward": numba_kernels.forward_kernel, "backward": numba_kernels.backward_kernel}[direction]
    try:
        return _tried(make(channels, cache=True), direction, channels, dtype)
    except Exception:  # no folder that can be written to, a full disk, a damaged file; anything else happens again
        return _tried(make(channels, cache=False), direction, channels, dtype)


def _tried(kernel: Callable[..., None], direction: str, channels: int, dtype: torch.dtype) -> Callable[..., None]:
    """The kernel after a call for one pixel and one point: that is when Numba compiles."""
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
    """Helping threads of this process: threads do not survive a fork, so a forked child asks for others."""
    return ThreadPoolExecutor(threads, thread_name_prefix="memotr")


def _num_threads(points: int) -> int:
    """How many threads so many sampling points are worth."""
    return max(1, min(torch.get_num_threads(), points // POINTS_PER_THREAD))


def _run(parts: Sequence[Callable[[], None]], threads: int) -> None:
    """Run all parts on so many threads, the calling one included."""
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
    # When the caller comes here all parts are taken. It waits only for helpers that have begun, so that callers which
    # share the pool never wait for each other.
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _ranges(length: int, parts: int) -> list[tuple[int, int]]:
    """0…length in at most `parts` pieces of nearly equal size, none of them empty."""
    parts = min(parts, length)
    return list(itertools.pairwise(length * i // parts for i in range(parts + 1))) if parts else []


def _kernel_inputs(
    value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], int]]:
    """What every kernel takes first, for each batch element; see `numba_kernels` for the shapes, which are checked."""
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
    """The tensor's memory, a copy of it only where it is not contiguous."""
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
