"""The benchmark's baseline is a formulation of its own, so it is one more opinion on the numbers."""

import pytest
import torch

from benchmarks.deformable_attention import layer_inputs, levels_of, per_channel, stacked
from memotr.models.kernels import deformable_attention
from tests.models.kernels.problems import Problem, gradients


@pytest.mark.parametrize("queries", [0, 20])
def test_the_baseline_gives_the_same_numbers(queries):
    inputs = layer_inputs(levels_of(64, 96), queries, spread=3.0, dtype=torch.float64)
    torch.testing.assert_close(stacked(*inputs), deformable_attention(*inputs, kernel="reference"))
    torch.testing.assert_close(stacked(*inputs), deformable_attention(*inputs, kernel="numba"))


@pytest.mark.cuda
@pytest.mark.skipif(not hasattr(torch.cuda, "_compile_kernel"), reason="needs PyTorch 2.8")
def test_a_thread_for_each_channel_gives_the_same_numbers():
    value, shapes, locations, weights = layer_inputs(levels_of(64, 96), 20, spread=3.0, dtype=torch.float32)
    problem = Problem(value.cuda(), shapes, locations.cuda(), weights.cuda())
    grad_output = torch.randn(1, 20, 256, device="cuda")
    ours = gradients(per_channel, problem, grad_output)
    theirs = gradients(lambda *inputs: deformable_attention(*inputs, kernel="reference"), problem, grad_output)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_levels_are_those_of_the_network():
    assert levels_of(448, 800) == [(56, 100), (28, 50), (14, 25), (7, 13)]
