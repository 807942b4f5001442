"""Benchmark of deformable attention, forward and backward, with the shapes of an encoder and of a decoder layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from memotr.bench.baseline import stacked_attention
from memotr.bench.measure import Contender, Row, Timed, alternate, rows
from memotr.bench.options import Options, Size
from memotr.bench.per_channel import available, per_channel_attention
from memotr.bench.report import Table
from memotr.models.kernels import deformable_attention
from memotr.models.levels import Shapes, level_shapes
from memotr.models.resnet import ResNetBackbone

Operator = Callable[[Tensor, Sequence[tuple[int, int]], Tensor, Tensor], Tensor]

JUMPS = (
    "The derivative by the location jumps at pixel centres. Rounding may move a point across one, so the largest "
    "difference of the gradients is that of such a point."
)

POINT_SPREAD = 3.0
"""Standard deviation of the distance of a point from its query in pixels of its level, as in trained layers."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs of the operator for one image, see :func:`memotr.models.kernels.deformable_attention`."""

    value: Tensor
    shapes: tuple[tuple[int, int], ...]
    locations: Tensor
    weights: Tensor

    def forward(self, operator: Operator) -> Tensor:
        """Run an operator without gradients."""
        with torch.no_grad():
            return operator(self.value, self.shapes, self.locations, self.weights)


class Backward:
    """Backward pass of an operator.

    Args:
        operator: the operator.
        inputs: its inputs.
    """

    def __init__(self, operator: Operator, inputs: Inputs) -> None:
        self.operator, self.inputs = operator, inputs

    def prepare(self) -> None:
        """Run the forward pass."""
        tensors = (self.inputs.value, self.inputs.locations, self.inputs.weights)
        self.leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        output = self.operator(self.leaves[0], self.inputs.shapes, *self.leaves[1:])
        self.run = partial(torch.autograd.grad, output, self.leaves, torch.ones_like(output))

    def __call__(self) -> tuple[Tensor, ...]:
        """Run the backward pass, after :meth:`prepare`, and return the gradients."""
        return self.run()


def measure(options: Options) -> Iterator[Table]:
    """Yield a table for an encoder layer and one for a decoder layer, for each size."""
    c = options.config.model
    for size in options.sizes:
        shapes = padded_shapes(size, c.num_levels)
        pixels = sum(height * width for height, width in shapes)
        for layer, queries in (("encoder", None), ("decoder", c.num_queries + options.crowd)):
            points = c.num_encoder_points if layer == "encoder" else c.num_decoder_points
            dims = c.num_heads, c.hidden_dim // c.num_heads, points
            table = [
                row
                for dtype in (torch.float32, torch.bfloat16)
                for row in compare(make_inputs(shapes, queries, dims, dtype, options.device), options.rounds)
            ]
            title = f"Operator, a layer of the {layer} at {size[0]}×{size[1]}"
            note = f"{queries or pixels:,} queries, {pixels:,} pixels in {len(shapes)} levels. {JUMPS}"
            yield Table(title, table, note)


def compare(inputs: Inputs, rounds: int) -> list[Row]:
    """Return a row for each operator that runs on the device, forward and backward.

    The largest difference is that of the output, or of any gradient, from the baseline's.
    """
    operators, device = operators_on(inputs.value.device), inputs.value.device
    table = []
    for direction in ("forward", "backward"):
        contenders = []
        for name, operator in operators.items():
            if direction == "forward":
                contenders.append(Contender(name, partial(inputs.forward, operator)))
            else:
                backward = Backward(operator, inputs)
                contenders.append(Contender(name, backward, backward.prepare))
        timed = alternate(contenders, rounds, device, kernels_alone=True)
        first_columns: Row = {"direction": direction, "values": str(inputs.value.dtype).removeprefix("torch.")}
        table += [
            first_columns | row | {"largest difference": _difference(each, timed[0])}
            for row, each in zip(rows(timed), timed, strict=True)
        ]
    return table


def operators_on(device: torch.device) -> dict[str, Operator]:
    """Return name → operator for the operators that run on a device, the baseline first and ours last."""
    operators: dict[str, Operator] = {"stacked (baseline)": stacked_attention}
    operators["reference"] = partial(deformable_attention, kernel="reference")
    if device.type == "cuda" and available():
        operators["a thread per channel"] = per_channel_attention
    return operators | {"ours": deformable_attention}


def padded_shapes(size: Size, num_levels: int) -> Shapes:
    """Return (H_l, W_l) of every level for an image of this size after padding."""
    height, width = (-(-side // 32) * 32 for side in size)
    return level_shapes(height, width, ResNetBackbone.strides, num_levels)


def make_inputs(
    shapes: tuple[tuple[int, int], ...],
    queries: int | None,
    dims: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device | str,
) -> Inputs:
    """Return random inputs, with sampling points normally distributed around the reference of their query.

    Args:
        shapes: (H_l, W_l) of the levels.
        queries: number of queries at random positions; None: one query at each pixel.
        dims: numbers of heads M, channels per head D and points P.
        dtype: dtype of the values. Locations and weights are float32, as under autocast, or float64.
        device: device of the tensors.
    """
    torch.manual_seed(0)
    (M, D, P), L, S = dims, len(shapes), sum(H * W for H, W in shapes)
    if queries is not None:
        reference = torch.rand(queries, 2)  # (Lq, 2)
    else:
        pixels = [torch.cartesian_prod((torch.arange(H) + 0.5) / H, (torch.arange(W) + 0.5) / W) for H, W in shapes]
        reference = torch.cat(pixels).flip(-1)  # (S, 2), x then y
    size = torch.tensor([(W, H) for H, W in shapes])  # (L, 2)
    offsets = POINT_SPREAD * torch.randn(1, len(reference), M, L, P, 2) / size[:, None]
    locations = reference[:, None, None, None] + offsets  # (1, Lq, M, L, P, 2)
    weights = torch.randn(1, len(reference), M, L * P).softmax(-1).unflatten(-1, (L, P))
    exact = torch.promote_types(dtype, torch.float32)
    value = torch.randn(1, S, M, D).to(device, dtype)
    return Inputs(value, shapes, locations.to(device, exact), weights.to(device, exact))


def _difference(one: Timed, base: Timed) -> float:
    """Return the largest difference between the tensors of two results."""
    both = zip(_tensors(one.result), _tensors(base.result), strict=True)
    return max((a.float() - b.float()).abs().max().item() for a, b in both)


def _tensors(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result
