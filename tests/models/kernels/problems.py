"""Inputs of the operator, and the operator once more: as slow and obvious as can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ((5, 7), (3, 4), (1, 1), (2, 9))


class Problem(NamedTuple):
    """What `deformable_attention` takes."""

    value: Tensor
    shapes: Sequence[tuple[int, int]]
    locations: Tensor
    weights: Tensor

    def to(self, dtype: torch.dtype) -> Problem:
        return Problem(self.value.to(dtype), self.shapes, self.locations.to(dtype), self.weights.to(dtype))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Copies of the three tensors, to be differentiated by."""
        return tuple(t.detach().clone().requires_grad_() for t in (self.value, self.locations, self.weights))


def random_problem(B=2, Lq=6, M=2, D=4, L=2, P=3, shapes=None, dtype=torch.float32, seed=0) -> Problem:
    """Most points on the maps, some beside them, one in twenty very far away."""
    random = torch.Generator().manual_seed(seed)
    shapes = SHAPES[:L] if shapes is None else shapes
    S = sum(H * W for H, W in shapes)
    value = torch.randn(B, S, M, D, generator=random, dtype=torch.float64)
    locations = torch.rand(B, Lq, M, len(shapes), P, 2, generator=random, dtype=torch.float64) * 1.6 - 0.3
    far = torch.rand(locations.shape, generator=random) < 0.05
    locations = torch.where(far, locations * 1e4, locations)
    weights = torch.randn(B, Lq, M, len(shapes) * P, generator=random, dtype=torch.float64).softmax(-1)
    return Problem(value, shapes, locations, weights.unflatten(-1, (len(shapes), P))).to(dtype)


def encoder_problem(shapes=((16, 24), (8, 12), (4, 6), (2, 3)), B=1, M=8, D=32, P=4, dtype=torch.float32) -> Problem:
    """One query a pixel that looks around itself, as in an encoder layer; enough points for two threads."""
    random = torch.Generator().manual_seed(1)
    centres = [
        torch.stack(torch.meshgrid((torch.arange(W) + 0.5) / W, (torch.arange(H) + 0.5) / H, indexing="xy"), -1)
        for H, W in shapes
    ]  # each (H, W, 2)
    S, L = sum(H * W for H, W in shapes), len(shapes)
    reference = torch.cat([c.flatten(0, 1) for c in centres])  # (S, 2)
    size = torch.tensor([(W, H) for H, W in shapes])  # (L, 2)
    offsets = 3 * torch.randn(B, S, M, L, P, 2, generator=random) / size[:, None]
    weights = torch.randn(B, S, M, L * P, generator=random).softmax(-1).unflatten(-1, (L, P))
    value = torch.randn(B, S, M, D, generator=random)
    return Problem(value, shapes, reference[:, None, None, None] + offsets, weights).to(dtype)


def slow_attention(problem: Problem) -> Tensor:
    """Loops over everything, pixel by pixel, in Python's floating point."""
    value, shapes, locations, weights = problem
    B, _, M, D = value.shape
    _, Lq, _, L, P = weights.shape
    output = torch.zeros(B, Lq, M, D, dtype=torch.float64)
    for b in range(B):
        for q in range(Lq):
            for m in range(M):
                for level in range(L):
                    for p in range(P):
                        x, y = locations[b, q, m, level, p].tolist()
                        sample = slow_sample(value[b, :, m].double(), shapes, level, x, y)
                        output[b, q, m] += float(weights[b, q, m, level, p]) * sample
    return output.flatten(2)


def slow_sample(value: Tensor, shapes: Sequence[tuple[int, int]], level: int, x: float, y: float) -> Tensor:
    """Bilinear sample (D,) of one level of value (S, D) at x, y in [0, 1]."""
    start = sum(H * W for H, W in shapes[:level])
    H, W = shapes[level]
    column, row = x * W - 0.5, y * H - 0.5
    sample = torch.zeros(value.shape[-1], dtype=torch.float64)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < H and 0 <= j < W:
                sample += (1 - abs(row - i)) * (1 - abs(column - j)) * value[start + i * W + j]
    return sample


def gradients(function, problem: Problem, grad_output: Tensor) -> tuple[Tensor, ...]:
    """Output and the gradients of value, locations and weights."""
    value, locations, weights = problem.tensors()
    output = function(value, problem.shapes, locations, weights)
    return output.detach(), *torch.autograd.grad(output, (value, locations, weights), grad_output)
