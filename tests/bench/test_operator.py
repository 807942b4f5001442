"""The operator has the same results as its baselines, which are independent formulations."""

from functools import partial

import pytest
import torch

from memotr.bench.baseline import stacked_attention
from memotr.bench.operator import make_inputs, padded_shapes
from memotr.bench.per_channel import available, per_channel_attention
from memotr.models.kernels import deformable_attention
from tests.models.kernels.problems import Problem, gradients

DIMS = (8, 32, 4)
SHAPES = padded_shapes((64, 96), 4)


@pytest.mark.parametrize("queries", [None, 20])
def test_the_baseline_gives_the_same_numbers(queries):
    inputs = make_inputs(SHAPES, queries, DIMS, torch.float64, "cpu")
    expected = inputs.forward(stacked_attention)
    torch.testing.assert_close(inputs.forward(partial(deformable_attention, kernel="reference")), expected)
    torch.testing.assert_close(inputs.forward(partial(deformable_attention, kernel="numba")), expected)


@pytest.mark.cuda
def test_a_thread_for_each_channel_gives_the_same_numbers():
    if not available():
        pytest.skip("needs PyTorch 2.8")
    inputs = make_inputs(SHAPES, 20, DIMS, torch.float32, "cuda")
    problem = Problem(inputs.value, inputs.shapes, inputs.locations, inputs.weights)
    grad_output = torch.randn(1, 20, 256, device="cuda")
    ours = gradients(per_channel_attention, problem, grad_output)
    theirs = gradients(partial(deformable_attention, kernel="reference"), problem, grad_output)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_levels_are_those_of_a_padded_image():
    assert padded_shapes((448, 800), 4) == ((56, 100), (28, 50), (14, 25), (7, 13))
    assert padded_shapes((800, 1422), 4) == padded_shapes((800, 1440), 4) == ((100, 180), (50, 90), (25, 45), (13, 23))
    assert padded_shapes((64, 96), 2) == ((4, 6), (2, 3))
