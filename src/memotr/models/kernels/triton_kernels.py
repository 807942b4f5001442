"""Triton kernels of deformable attention and its gradients: one program computes a block of queries of one head.

Shapes. Tensors are contiguous; shapes are not checked. Locations may have any value, NaN and infinity included.
    value (B, S, M, D), locations (B, Lq, M, L, P, 2), weights (B, Lq, M, L, P), output (B, Lq, M, D).
`shapes` is (H_1, W_1, …, H_L, W_L) as floats, which are exact up to 2^24. Triton would compile again for integers that
are 1 or divisible by 16; for floats it does not, so images of all sizes share one compilation. REAL is the type of all
arithmetic. Blocks of points and channels may be larger than P and D; the excess is masked.
"""

# Triton infers the types in here, not mypy.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _interpolate(location, size):
    """Interpolate linearly along one axis of `size` pixels.

    Returns the first of the two pixels, their weights, and whether each is inside the map.
    """
    coordinate = location * size - 0.5
    near = (coordinate >= -1) & (coordinate < size)  # false for NaN
    coordinate = tl.where(near, coordinate, 0.0)  # the cast below is undefined for numbers beyond int32
    floor = tl.floor(coordinate)
    fraction = coordinate - floor
    return floor.to(tl.int32), 1 - fraction, fraction, near & (floor >= 0), near & (floor + 1 < size)


@triton.jit
def _offsets(pixel, exists, channel, M: tl.constexpr, D: tl.constexpr):
    """Return the offsets of the channels of pixels (BLOCK_Q, BLOCK_P) from their map's first number, and their mask."""
    offsets = pixel.to(tl.int64)[:, :, None] * (M * D) + channel[None, None, :]
    return offsets, exists[:, :, None] & (channel < D)[None, None, :]  # (BLOCK_Q, BLOCK_P, BLOCK_D)


@triton.jit
def _weighted(maps, pixel, exists, weight, channel, M: tl.constexpr, D: tl.constexpr, REAL: tl.constexpr):
    """Return the channels of the pixels times their weights; zero outside of the map."""
    offsets, mask = _offsets(pixel, exists, channel, M, D)
    return weight[:, :, None] * tl.load(maps + offsets, mask=mask, other=0.0).to(REAL)


@triton.jit
def _maps_of(level, shapes, L: tl.constexpr):
    """Return height, width and first pixel of the map of each point, from its `level`."""
    height, width = tl.full(level.shape, 1.0, tl.float32), tl.full(level.shape, 1.0, tl.float32)
    first, start = tl.zeros(level.shape, tl.int32), 0
    for i in tl.static_range(L):
        height, width = tl.where(level == i, shapes[2 * i], height), tl.where(level == i, shapes[2 * i + 1], width)
        first = tl.where(level == i, start, first)
        start += tl.cast(shapes[2 * i], tl.int32) * tl.cast(shapes[2 * i + 1], tl.int32)
    return height[None, :], width[None, :], first[None, :]  # (1, BLOCK_P) each


@triton.jit(do_not_specialize=["S", "Lq"])
def forward_kernel(
    value,
    locations,
    weights,
    output,
    shapes,
    S,
    Lq,
    M: tl.constexpr,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    REAL: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Fill the outputs. The grid is (blocks of queries, M, B)."""
    query, channel = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row = (image * Lq + query) * M + head  # (BLOCK_Q,)
    maps = value + (image * S * M + head) * D
    total = tl.zeros((BLOCK_Q, BLOCK_P, BLOCK_D), REAL)
    for level in tl.static_range(L):
        height, width = shapes[2 * level], shapes[2 * level + 1]
        columns = tl.cast(width, tl.int32)
        for first in range(0, P, BLOCK_P):
            point = first + tl.arange(0, BLOCK_P)
            valid = (query < Lq)[:, None] & (point < P)[None, :]  # (BLOCK_Q, BLOCK_P)
            index = row[:, None] * (L * P) + (level * P + point)[None, :]
            # −1 is outside of every map, so that nothing is read for invalid points.
            x = tl.load(locations + 2 * index, mask=valid, other=-1.0).to(REAL)
            y = tl.load(locations + 2 * index + 1, mask=valid, other=-1.0).to(REAL)
            weight = tl.load(weights + index, mask=valid, other=0.0).to(REAL)
            left, at_left, at_right, has_left, has_right = _interpolate(x, width)
            top, at_top, at_bottom, has_top, has_bottom = _interpolate(y, height)
            pixel, on_top, on_bottom = top * columns + left, weight * at_top, weight * at_bottom
            total += _weighted(maps, pixel, has_top & has_left, on_top * at_left, channel, M, D, REAL)
            total += _weighted(maps, pixel + 1, has_top & has_right, on_top * at_right, channel, M, D, REAL)
            pixel += columns
            total += _weighted(maps, pixel, has_bottom & has_left, on_bottom * at_left, channel, M, D, REAL)
            total += _weighted(maps, pixel + 1, has_bottom & has_right, on_bottom * at_right, channel, M, D, REAL)
        maps += tl.cast(height, tl.int64) * columns * (M * D)
    mask = (query < Lq)[:, None] & (channel < D)[None, :]
    result = tl.sum(total, axis=1).to(output.dtype.element_ty)  # (BLOCK_Q, BLOCK_D)
    tl.store(output + row[:, None] * D + channel[None, :], result, mask=mask)


@triton.jit(do_not_specialize=["S", "Lq"])
def backward_kernel(
    grad_output,
    value,
    locations,
    weights,
    grad_value,
    grad_locations,
    grad_weights,
    shapes,
    S,
    Lq,
    M: tl.constexpr,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    REAL: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add to the gradient of value, of type REAL, and fill those of locations and weights.

    The grid is (blocks of queries, M, B).

    Points of all levels form one block, and all loads are issued before the first addition, so that a program waits for
    memory once and not once per pixel.
    """
    query, channel = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row = (image * Lq + query) * M + head  # (BLOCK_Q,)
    start = (image * S * M + head) * D
    maps, grad_maps = value + start, grad_value + start
    mask = (query < Lq)[:, None] & (channel < D)[None, :]
    g = tl.load(grad_output + row[:, None] * D + channel[None, :], mask=mask, other=0.0).to(REAL)[:, None, :]
    for begin in range(0, L * P, BLOCK_P):
        point = begin + tl.arange(0, BLOCK_P)
        valid = (query < Lq)[:, None] & (point < L * P)[None, :]  # (BLOCK_Q, BLOCK_P)
        index = row[:, None] * (L * P) + point[None, :]
        # −1 is outside of every map, so that nothing is read for invalid points.
        x = tl.load(locations + 2 * index, mask=valid, other=-1.0).to(REAL)
        y = tl.load(locations + 2 * index + 1, mask=valid, other=-1.0).to(REAL)
        weight = tl.load(weights + index, mask=valid, other=0.0).to(REAL)
        height, width, first = _maps_of(point // P, shapes, L)
        left, at_left, at_right, has_left, has_right = _interpolate(x, width)
        top, at_top, at_bottom, has_top, has_bottom = _interpolate(y, height)
        columns = width.to(tl.int32)
        pixel = first + top * columns + left
        top_left, in_top_left = _offsets(pixel, has_top & has_left, channel, M, D)
        top_right, in_top_right = _offsets(pixel + 1, has_top & has_right, channel, M, D)
        bottom_left, in_bottom_left = _offsets(pixel + columns, has_bottom & has_left, channel, M, D)
        bottom_right, in_bottom_right = _offsets(pixel + columns + 1, has_bottom & has_right, channel, M, D)
        v_top_left = tl.load(maps + top_left, mask=in_top_left, other=0.0)
        v_top_right = tl.load(maps + top_right, mask=in_top_right, other=0.0)
        v_bottom_left = tl.load(maps + bottom_left, mask=in_bottom_left, other=0.0)
        v_bottom_right = tl.load(maps + bottom_right, mask=in_bottom_right, other=0.0)
        on_top, on_bottom = weight * at_top, weight * at_bottom
        _add(grad_maps + top_left, on_top * at_left, g, in_top_left)
        _add(grad_maps + top_right, on_top * at_right, g, in_top_right)
        _add(grad_maps + bottom_left, on_bottom * at_left, g, in_bottom_left)
        _add(grad_maps + bottom_right, on_bottom * at_right, g, in_bottom_right)
        top_left = tl.sum(g * v_top_left.to(REAL), axis=2)  # (BLOCK_Q, BLOCK_P): g · v
        top_right = tl.sum(g * v_top_right.to(REAL), axis=2)
        bottom_left = tl.sum(g * v_bottom_left.to(REAL), axis=2)
        bottom_right = tl.sum(g * v_bottom_right.to(REAL), axis=2)
        by_x = width * (on_top * (top_right - top_left) + on_bottom * (bottom_right - bottom_left))
        by_y = height * weight * (at_left * (bottom_left - top_left) + at_right * (bottom_right - top_right))
        mean = at_top * (at_left * top_left + at_right * top_right)
        mean += at_bottom * (at_left * bottom_left + at_right * bottom_right)
        tl.store(grad_weights + index, mean.to(grad_weights.dtype.element_ty), mask=valid)
        number = 2 * begin + tl.arange(0, 2 * BLOCK_P)  # x and y of all points, interleaved
        places = grad_locations + row[:, None] * (2 * L * P) + number[None, :]
        both = tl.interleave(by_x, by_y).to(grad_locations.dtype.element_ty)  # (BLOCK_Q, 2 BLOCK_P)
        tl.store(places, both, mask=(query < Lq)[:, None] & (number < 2 * L * P)[None, :])


@triton.jit
def _add(places, weight, gradient, exists):
    """Add weight · gradient to the gradients of pixels, atomically because several programs may add to the same one."""
    tl.atomic_add(places, weight[:, :, None] * gradient, mask=exists, sem="relaxed")
