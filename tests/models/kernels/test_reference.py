"""The PyTorch form against plain loops, finite differences and itself after an export."""

import pytest
import torch

from memotr.models.kernels.reference import deformable_attention
from tests.models.kernels.problems import SHAPES, Problem, gradients, random_problem, slow_attention


@pytest.mark.parametrize("M", [1, 3])
@pytest.mark.parametrize("L", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_loops(M, L, seed):
    problem = random_problem(M=M, L=L, dtype=torch.float64, seed=seed)
    torch.testing.assert_close(deformable_attention(*problem), slow_attention(problem))


def test_a_pixel_centre_reads_that_pixel():
    value = torch.arange(12.0).view(1, 12, 1, 1)
    locations = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 3]).view(1, 1, 1, 1, 1, 2)  # column 2, row 1 of 3×4
    output = deformable_attention(value, [(3, 4)], locations, torch.ones(1, 1, 1, 1, 1))
    torch.testing.assert_close(output.item(), 6.0)


def test_derivatives_equal_differences():
    value, locations, weights = random_problem(B=1, Lq=3, dtype=torch.float64).tensors()
    inputs = (value, locations, weights)
    assert torch.autograd.gradcheck(lambda v, x, w: deformable_attention(v, SHAPES[:2], x, w), inputs)
    assert torch.autograd.gradgradcheck(lambda v, x, w: deformable_attention(v, SHAPES[:2], x, w), inputs)


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_point_that_is_nowhere_counts_nothing(nonsense, axis):
    problem = random_problem()
    broken = problem.locations.clone()
    broken[:, 2:4, ..., 1, axis] = nonsense
    dropped = problem.weights.clone()
    dropped[:, 2:4, ..., 1] = 0
    grad_output = torch.randn(2, 6, 8)
    after = gradients(deformable_attention, problem._replace(locations=broken), grad_output)
    expected = gradients(deformable_attention, problem._replace(weights=dropped), grad_output)
    torch.testing.assert_close(after[0], expected[0])
    torch.testing.assert_close(after[1], expected[1])
    assert after[2][:, 2:4, ..., 1, :].eq(0).all()
    assert after[3][:, 2:4, ..., 1].eq(0).all()


@pytest.mark.parametrize(("B", "Lq"), [(1, 0), (0, 3)])
def test_nothing_to_do(B, Lq):
    problem = random_problem(B=B, Lq=Lq)
    output, grad_value, *_ = gradients(deformable_attention, problem, torch.zeros(B, Lq, 8))
    assert output.shape == (B, Lq, 8)
    assert grad_value.eq(0).all()


class Operator(torch.nn.Module):
    """The operator as something that can be exported."""

    def forward(self, value, locations, weights):
        return deformable_attention(value, SHAPES[:2], locations, weights)


def exported(problem: Problem) -> torch.export.ExportedProgram:
    queries = torch.export.Dim("queries", min=0, max=1000)
    inputs = (problem.value, problem.locations, problem.weights)
    return torch.export.export(Operator(), inputs, dynamic_shapes=({}, {1: queries}, {1: queries}))


def test_exports_with_any_number_of_queries():
    program = exported(random_problem(B=1, Lq=5)).module()
    for Lq in (2, 5, 17):
        other = random_problem(B=1, Lq=Lq, seed=Lq)
        torch.testing.assert_close(
            program(other.value, other.locations, other.weights), deformable_attention(*other), atol=1e-6, rtol=1e-6
        )


@pytest.mark.slow
def test_onnx_gives_the_same_numbers(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "operator.onnx"
    torch.onnx.export(exported(random_problem(B=1, Lq=5)), dynamo=True, verbose=False).save(path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    for Lq in (2, 17):
        other = random_problem(B=1, Lq=Lq, seed=Lq)
        inputs = (other.value.numpy(), other.locations.numpy(), other.weights.numpy())
        (output,) = session.run(None, dict(zip(names, inputs, strict=True)))
        torch.testing.assert_close(torch.from_numpy(output), deformable_attention(*other), atol=1e-5, rtol=1e-5)
