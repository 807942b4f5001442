"""PyTorch operator ``memotr::deformable_attention``; `cpu` and `cuda` implement it.

With its fake implementation and its registered gradient, it is one node for `torch.compile` and `torch.export`. It is
registered with `torch.library.define`, not with `custom_op`, whose first call imports all of `torch._dynamo` (two
seconds).

The output has the dtype of ``value``, each gradient the dtype of its input. Autocast does not change the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FORWARD = "memotr::deformable_attention"
BACKWARD = "memotr::deformable_attention_backward"


def deformable_attention(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Call the operator with the arguments of `memotr.models.kernels.deformable_attention`.

    The device's implementation checks the dtypes.
    """
    sizes = [size for shape in spatial_shapes for size in shape]  # an operator takes a flat list of integers
    output: Tensor = torch.ops.memotr.deformable_attention(value, sizes, sampling_locations, attention_weights)
    return output


def _fake_forward(value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    B, _, M, D = value.shape
    return value.new_empty((B, locations.shape[1], M * D))


def _fake_backward(
    grad_output: Tensor, value: Tensor, spatial_shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    value, ctx.spatial_shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _gradient(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, locations, weights = ctx.saved_tensors
    backward = torch.ops.memotr.deformable_attention_backward
    grad_value, grad_locations, grad_weights = backward(grad_output, value, ctx.spatial_shapes, locations, weights)
    return grad_value, None, grad_locations, grad_weights


def _no_second_gradient(ctx: Any, *gradients: Tensor) -> None:
    raise NotImplementedError("compiled deformable attention has no second derivative: use kernel='reference'")


torch.library.define(
    FORWARD,
    "(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights) -> Tensor",
)
torch.library.define(
    BACKWARD,
    "(Tensor grad_output, Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.register_fake(FORWARD, _fake_forward)
torch.library.register_fake(BACKWARD, _fake_backward)
torch.library.register_autograd(FORWARD, _gradient, setup_context=_save_inputs)
torch.library.register_autograd(BACKWARD, _no_second_gradient)
