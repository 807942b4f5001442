"""The benchmark's baseline is a formulation of its own, so it is one more opinion on the numbers."""

import pytest
import torch

from benchmarks.deformable_attention import layer_inputs, levels_of, stacked
from memotr.models.kernels import deformable_attention


@pytest.mark.parametrize("queries", [0, 20])
def test_the_baseline_gives_the_same_numbers(queries):
    inputs = layer_inputs(levels_of(64, 96), queries, spread=3.0, dtype=torch.float64)
    torch.testing.assert_close(stacked(*inputs), deformable_attention(*inputs, kernel="reference"))
    torch.testing.assert_close(stacked(*inputs), deformable_attention(*inputs, kernel="numba"))


def test_levels_are_those_of_the_network():
    assert levels_of(448, 800) == [(56, 100), (28, 50), (14, 25), (7, 13)]
