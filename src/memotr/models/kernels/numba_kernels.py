"""Numba kernels of deformable attention and its gradients for one batch element, compiled at the first use.

A query takes two steps. `_prepare` computes the four pixels and their weights for all sampling points of the query; it
has no branches, so LLVM vectorises it over the points. Then rows of channels are gathered, point after point. The
functions release the GIL and start no threads; `cpu` distributes the work.

Shapes, in all functions. Arrays are C-contiguous; shapes are not checked. Locations may have any value, NaN and
infinity included.
    value (S, M, D), levels (L, 2) int32 heights and widths, locations (Lq, 2N), weights (Lq, N), output (Lq, M, D),
where N = M·L·P. A kernel is compiled for one D and one dtype, float32 or float64.
"""

# Numba infers the types in here, not mypy.
# mypy: ignore-errors

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

# error_model: division by zero gives infinity as in NumPy, without a branch. No fast-math: comparisons with NaN must be
# false, and a vectorised loop must give the same bits as its scalar remainder, so that results do not depend on how
# the work is split.
OPTIONS = {"nogil": True, "error_model": "numpy"}

# ---------------------------------------------------------------------------------------------------------------------
# Rows: the D channels of a pixel as one value that is loaded, multiplied and stored as a whole.
#
# Without them, LLVM vectorises the loop over the channels but checks for overlapping arrays and keeps the running sum
# in memory, at every pixel. With a value of vector type, the sum over all pixels of a query stays in registers, and the
# gather takes a third of the time. Any D works; LLVM splits a row into the registers of the processor.


class Row(types.Type):
    """Numba type of `width` contiguous numbers of type `dtype`."""

    def __init__(self, dtype: types.Float, width: int) -> None:
        self.dtype, self.width = dtype, width
        super().__init__(f"Row({dtype}, {width})")


@register_model(Row)
class RowModel(models.PrimitiveModel):
    """Representation of a row as an LLVM vector."""

    def __init__(self, manager, row: Row) -> None:
        super().__init__(manager, row, ir.VectorType(manager.lookup(row.dtype).get_value_type(), row.width))


def _address(context, builder, array_type, array, index, vector):
    """Return the address of row `index` in an array whose last dimension is one row wide."""
    start = builder.mul(index, ir.Constant(index.type, vector.count))
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load_row(typing_context, array, index, width):
    """Load row `index` of a C-contiguous array; `width`, its last dimension, is a constant."""
    row = Row(array.dtype, width.literal_value)

    def generate(context, builder, signature, args):
        loaded = builder.load(_address(context, builder, array, *args[:2], context.get_value_type(row)))
        loaded.align = array.dtype.bitwidth // 8  # bytes of one number: arrays have a smaller alignment than vectors
        return loaded

    return row(array, types.intp, width), generate


@intrinsic
def store_row(typing_context, array, index, row):
    """Overwrite row `index` of a C-contiguous array whose last dimension is as wide as `row`."""

    def generate(context, builder, signature, args):
        stored = builder.store(args[2], _address(context, builder, array, *args[:2], args[2].type))
        stored.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, row), generate


@intrinsic(prefer_literal=True)
def zero_row(typing_context, array, width):
    """Return a row of zeros in the dtype of the array."""
    row = Row(array.dtype, width.literal_value)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(row), [0.0] * row.width)

    return row(array, width), generate


@intrinsic
def multiply_add(typing_context, scale, row, addend):
    """Return scale · row + addend, fused if the processor supports it."""

    def generate(context, builder, signature, args):
        factor, vector, total = args
        undefined = ir.Constant(vector.type, ir.Undefined)
        factors = builder.shuffle_vector(
            builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0)),
            undefined,
            ir.Constant(ir.VectorType(ir.IntType(32), row.width), [0] * row.width),
        )
        return builder.fadd(builder.fmul(factors, vector, flags=("contract",)), total, flags=("contract",))

    return row(row.dtype, row, addend), generate


@intrinsic
def dot(typing_context, left, right):
    """Return the inner product of two rows, summed in the order of a fixed tree."""

    def generate(context, builder, signature, args):
        vector = args[0].type
        name = f"llvm.vector.reduce.fadd.v{vector.count}f{left.dtype.bitwidth}"
        add_up = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector.element, [vector.element, vector]), name
        )
        neutral = ir.Constant(vector.element, -0.0)  # adding it changes no number, not even −0
        # Without "reassoc" the sum would be computed one number after the other.
        return builder.call(add_up, [neutral, builder.fmul(*args)], fastmath=("reassoc",))

    return left.dtype(left, right), generate


# ---------------------------------------------------------------------------------------------------------------------
# Sampling points. LLVM vectorises the loops over them only if there are at most six arrays, flat and read from their
# beginning. Therefore related values share an array, and callers slice.


@njit(**OPTIONS)
def _list_points(levels, heads, points):
    """Return width, height and first pixel of the level of each of a query's N points, in one flat array (3N,)."""
    table = np.empty(heads * levels.shape[0] * points * 3, np.int32)
    i = 0
    for _ in range(heads):
        start = 0
        for level in range(levels.shape[0]):
            height, width = levels[level, 0], levels[level, 1]
            for _ in range(points):
                table[i], table[i + 1], table[i + 2] = width, height, start
                i += 3
            start += height * width
    return table


@njit(**OPTIONS)
def _interpolate(location, size):
    """Interpolate linearly along one axis of `size` pixels.

    Returns the two pixels (always inside the map), their weights, and the derivatives of the weights with respect to
    the location. For a pixel outside of the map, the nearest one inside is returned with weight and derivative zero.
    """
    real = type(location)
    coordinate = location * real(size) - real(0.5)
    near = (coordinate >= real(-1)) & (coordinate < real(size))  # false for NaN
    coordinate = coordinate if near else real(0)  # the cast below is undefined for numbers beyond int32
    floor = np.floor(coordinate)
    fraction = coordinate - floor
    first = np.int32(floor)
    second = np.int32(first + np.int32(1))
    has_first, has_second = near & (first >= np.int32(0)), near & (second < size)
    return (
        max(first, np.int32(0)),
        min(second, np.int32(size - np.int32(1))),
        real(1) - fraction if has_first else real(0),
        fraction if has_second else real(0),
        -real(size) if has_first else real(0),
        real(size) if has_second else real(0),
    )


@njit(**OPTIONS)
def _prepare(table, locations, weights, pixels, pixel_weights):
    """Fill `pixels` with the four pixels of each point, and `pixel_weights` with their weights; both (4N,)."""
    for i in range(weights.size):
        width, height, start = table[3 * i], table[3 * i + 1], table[3 * i + 2]
        left, right, at_left, at_right, _, _ = _interpolate(locations[2 * i], width)
        top, bottom, at_top, at_bottom, _, _ = _interpolate(locations[2 * i + 1], height)
        weight = weights[i]
        pixels[4 * i] = start + top * width + left
        pixels[4 * i + 1] = start + top * width + right
        pixels[4 * i + 2] = start + bottom * width + left
        pixels[4 * i + 3] = start + bottom * width + right
        pixel_weights[4 * i] = weight * at_top * at_left
        pixel_weights[4 * i + 1] = weight * at_top * at_right
        pixel_weights[4 * i + 2] = weight * at_bottom * at_left
        pixel_weights[4 * i + 3] = weight * at_bottom * at_right


@njit(**OPTIONS)
def _point_gradients(table, locations, weights, dots, grad_locations, grad_weights):
    """Fill the gradients of the points' locations and weights from `dots` (4N,), the products g · v of their pixels."""
    for i in range(weights.size):
        width, height = table[3 * i], table[3 * i + 1]
        _, _, at_left, at_right, by_left, by_right = _interpolate(locations[2 * i], width)
        _, _, at_top, at_bottom, by_top, by_bottom = _interpolate(locations[2 * i + 1], height)
        top = at_left * dots[4 * i] + at_right * dots[4 * i + 1]
        bottom = at_left * dots[4 * i + 2] + at_right * dots[4 * i + 3]
        slope_top = by_left * dots[4 * i] + by_right * dots[4 * i + 1]
        slope_bottom = by_left * dots[4 * i + 2] + by_right * dots[4 * i + 3]
        weight = weights[i]
        grad_locations[2 * i] = weight * (at_top * slope_top + at_bottom * slope_bottom)
        grad_locations[2 * i + 1] = weight * (by_top * top + by_bottom * bottom)
        grad_weights[i] = at_top * top + at_bottom * bottom


# ---------------------------------------------------------------------------------------------------------------------
# Kernels.


def forward_kernel(channels: int, cache: bool) -> Callable[..., None]:
    """Return the forward kernel, which Numba compiles at its first call.

    ``kernel(value, levels, locations, weights, points, output, first, last)`` fills the outputs of the queries
    first…last; ``points`` is P.

    Args:
        channels: D.
        cache: keep the machine code on disk.
    """

    @njit(cache=cache, **OPTIONS)
    def deformable_attention(value, levels, locations, weights, points, output, first, last):
        heads = value.shape[1]
        N = levels.shape[0] * points  # points of one head
        table = _list_points(levels, heads, points)
        pixels, pixel_weights = np.empty(4 * N * heads, np.int32), np.empty(4 * N * heads, weights.dtype)
        for query in range(first, last):
            _prepare(table, locations[query], weights[query], pixels, pixel_weights)
            for head in range(heads):
                # Two sums, so that consecutive additions do not depend on each other.
                total, other = zero_row(value, channels), zero_row(value, channels)
                for i in range(4 * N * head, 4 * N * (head + 1), 2):
                    row, next_row = pixels[i] * heads + head, pixels[i + 1] * heads + head
                    total = multiply_add(pixel_weights[i], load_row(value, row, channels), total)
                    other = multiply_add(pixel_weights[i + 1], load_row(value, next_row, channels), other)
                store_row(output, query * heads + head, multiply_add(weights.dtype.type(1), other, total))

    return deformable_attention


def backward_kernel(channels: int, cache: bool) -> Callable[..., None]:
    """Return the backward kernel, which Numba compiles at its first call.

    ``kernel(grad_output, value, levels, locations, weights, points, grad_value, grad_locations, grad_weights, head)``
    adds to the gradient of value and fills those of locations and weights, all of one head, query after query. Calls
    for different heads write to different memory.

    Args:
        channels: D.
        cache: keep the machine code on disk.
    """

    @njit(cache=cache, **OPTIONS)
    def deformable_attention_backward(
        grad_output, value, levels, locations, weights, points, grad_value, grad_locations, grad_weights, head
    ):
        heads = value.shape[1]
        N = levels.shape[0] * points  # points of one head
        first, last = head * N, (head + 1) * N
        table = _list_points(levels, 1, points)
        pixels, pixel_weights = np.empty(4 * N, np.int32), np.empty(4 * N, weights.dtype)
        dots = np.empty(4 * N, weights.dtype)
        for query in range(locations.shape[0]):
            xy, weight = locations[query, 2 * first : 2 * last], weights[query, first:last]
            grad_xy, grad_weight = grad_locations[query, 2 * first : 2 * last], grad_weights[query, first:last]
            _prepare(table, xy, weight, pixels, pixel_weights)
            gradient = load_row(grad_output, query * heads + head, channels)
            for i in range(4 * N):
                row = pixels[i] * heads + head
                dots[i] = dot(gradient, load_row(value, row, channels))
                total = load_row(grad_value, row, channels)
                store_row(grad_value, row, multiply_add(pixel_weights[i], gradient, total))
            _point_gradients(table, xy, weight, dots, grad_xy, grad_weight)

    return deformable_attention_backward
