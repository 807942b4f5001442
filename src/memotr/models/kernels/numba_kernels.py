"""Numba kernels of deformable attention and its gradients for one batch element.

A query takes two steps. `_prepare` computes the four pixels and their weights for all sampling points of the query; it
has no branches, so LLVM vectorises it over the points. Then rows of channels are gathered, point after point. The
kernels start no threads; `cpu` distributes the work, `machine_code` compiles them.

Kernels are C functions of pointers. They use only the memory of their arguments and cannot raise, so that their machine
code needs nothing from Numba. Pointers are to contiguous arrays, whose shapes are not checked:
    value (S, M, D), points (M·N, 3) int32, locations (Lq, M·N, 2), weights (Lq, M·N), output (Lq, M, D),
where N = L·P is the number of sampling points of one head, and a row of `points` is the width, height and first pixel
of its level. Locations may have any value, NaN and infinity included. A kernel is compiled for one D and one dtype,
float32 or float64.
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
OPTIONS = {"error_model": "numpy"}

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


@intrinsic
def advance(typing_context, pointer, steps):
    """Return the pointer `steps` numbers further."""

    def generate(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), generate


def _address(builder, pointer, index, vector):
    """Return the address of row `index`."""
    start = builder.mul(index, ir.Constant(index.type, vector.count))
    return builder.bitcast(builder.gep(pointer, [start]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load_row(typing_context, pointer, index, width):
    """Load row `index` of an array whose rows have `width` numbers, a constant."""
    row = Row(pointer.dtype, width.literal_value)

    def generate(context, builder, signature, args):
        loaded = builder.load(_address(builder, *args[:2], context.get_value_type(row)))
        loaded.align = pointer.dtype.bitwidth // 8  # bytes of one number: arrays have a smaller alignment than vectors
        return loaded

    return row(pointer, types.intp, width), generate


@intrinsic
def store_row(typing_context, pointer, index, row):
    """Overwrite row `index` of an array whose rows are as wide as `row`."""

    def generate(context, builder, signature, args):
        stored = builder.store(args[2], _address(builder, *args[:2], args[2].type))
        stored.align = pointer.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(pointer, types.intp, row), generate


@intrinsic(prefer_literal=True)
def zero_row(typing_context, pointer, width):
    """Return a row of zeros of the type that the pointer points to."""
    row = Row(pointer.dtype, width.literal_value)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(row), [0.0] * row.width)

    return row(pointer, width), generate


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
# Sampling points. LLVM vectorises the loops over them only if there are at most six arrays, read from their beginning.
# Therefore related values share an array, and callers advance pointers.


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
def _prepare(points, locations, weights, count, pixels, pixel_weights):
    """Fill `pixels` with the four pixels of `count` points, and `pixel_weights` with their weights."""
    for i in range(count):
        width, height, start = points[3 * i], points[3 * i + 1], points[3 * i + 2]
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
def _point_gradients(points, locations, weights, count, dots, grad_locations, grad_weights):
    """Fill the gradients of `count` points' locations and weights from `dots`, the products g · v of their pixels."""
    for i in range(count):
        width, height = points[3 * i], points[3 * i + 1]
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
# Kernels. Scratch memory: pixels, pixel_weights and dots have four numbers per point of a query.


def forward(channels: int, number: type) -> Callable[..., None]:
    """Return the kernel that fills the outputs of the queries first…last.

    Args:
        channels: D.
        number: np.float32 or np.float64.
    """

    def kernel(value, points, locations, weights, output, pixels, pixel_weights, heads, N, first, last):
        for query in range(first, last):
            xy, weight = advance(locations, 2 * heads * N * query), advance(weights, heads * N * query)
            _prepare(points, xy, weight, heads * N, pixels, pixel_weights)
            for head in range(heads):
                # Two sums, so that consecutive additions do not depend on each other.
                total, other = zero_row(value, channels), zero_row(value, channels)
                for i in range(4 * N * head, 4 * N * (head + 1), 2):
                    row, next_row = pixels[i] * heads + head, pixels[i + 1] * heads + head
                    total = multiply_add(pixel_weights[i], load_row(value, row, channels), total)
                    other = multiply_add(pixel_weights[i + 1], load_row(value, next_row, channels), other)
                store_row(output, query * heads + head, multiply_add(number(1), other, total))

    return kernel


def backward(channels: int, number: type) -> Callable[..., None]:
    """Return the kernel that computes the gradients of one head, query after query.

    It adds to the gradient of value and fills those of locations and weights. Calls for different heads write to
    different memory. Arguments: see `forward`.
    """

    def kernel(
        grad_output, value, points, locations, weights, grad_value, grad_locations, grad_weights,
        pixels, pixel_weights, dots, heads, N, queries, head,
    ):  # fmt: skip
        for query in range(queries):
            first = (query * heads + head) * N
            xy, weight = advance(locations, 2 * first), advance(weights, first)
            _prepare(points, xy, weight, N, pixels, pixel_weights)
            gradient = load_row(grad_output, query * heads + head, channels)
            for i in range(4 * N):
                row = pixels[i] * heads + head
                dots[i] = dot(gradient, load_row(value, row, channels))
                total = load_row(grad_value, row, channels)
                store_row(grad_value, row, multiply_add(pixel_weights[i], gradient, total))
            grad_xy, grad_weight = advance(grad_locations, 2 * first), advance(grad_weights, first)
            _point_gradients(points, xy, weight, N, dots, grad_xy, grad_weight)

    return kernel
