"""The Numba kernel against the PyTorch form, and as an operator of PyTorch."""

import pytest
import torch
from torch import Tensor

from memotr.models.kernels import cpu, deformable_attention, fused, reference
from tests.models.kernels.problems import SHAPES, Problem, encoder_problem, gradients, random_problem

OPERATOR = torch.ops.memotr.deformable_attention
NAMES = ("output", "value", "locations", "weights")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """PyTorch's number of threads, which is the kernel's too."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def assert_same(problem: Problem, atol: float, rtol: float) -> None:
    """Output and gradients of the kernel are those of the reference in double precision, relative to the largest."""
    B, Lq, M, _, _ = problem.weights.shape
    grad_output = torch.randn(B, Lq, M * problem.value.shape[-1], dtype=problem.value.dtype)
    ours = gradients(fused.deformable_attention, problem, grad_output)
    theirs = gradients(reference.deformable_attention, problem.to(torch.float64), grad_output.double())
    for name, one, other in zip(NAMES, ours, theirs, strict=True):
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(
            one.double() / scale, other / scale, atol=atol, rtol=rtol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("D", [1, 4, 16, 32])
@pytest.mark.parametrize(("M", "L", "P"), [(1, 1, 1), (2, 2, 3), (3, 4, 2), (8, 3, 4), (5, 1, 4), (8, 4, 4)])
def test_equals_the_reference(M, L, P, D):
    assert_same(random_problem(M=M, L=L, P=P, D=D, Lq=9, seed=M + D), atol=1e-5, rtol=0)
    assert_same(random_problem(M=M, L=L, P=P, D=D, Lq=9, seed=M + D, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("D", [3, 7, 33, 96])
def test_any_number_of_channels(D):
    assert_same(random_problem(D=D), atol=1e-5, rtol=0)


def test_equals_the_reference_on_several_threads(threads):
    problem = encoder_problem()
    assert cpu._num_threads(problem.weights.numel()) == threads
    assert_same(problem, atol=1e-5, rtol=0)
    assert_same(encoder_problem(B=3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("B", [1, 3])
def test_gives_the_same_bits_for_any_number_of_threads(B):
    problem, before = encoder_problem(B=B), torch.get_num_threads()
    grad_output = torch.randn(B, problem.value.shape[1], 256)
    results = []
    try:
        for count in (1, 2, 2, 5):
            torch.set_num_threads(count)
            results.append(gradients(fused.deformable_attention, problem, grad_output))
    finally:
        torch.set_num_threads(before)
    for again in results[1:]:
        assert all(one.equal(other) for one, other in zip(results[0], again, strict=True))


def test_derivatives_equal_differences():
    value, locations, weights = random_problem(B=2, Lq=3, dtype=torch.float64).tensors()
    assert torch.autograd.gradcheck(
        lambda v, x, w: fused.deformable_attention(v, SHAPES[:2], x, w), (value, locations, weights)
    )


def test_borders_and_pixel_centres():
    """Where the derivative jumps, both kernels take the same side; sizes are powers of two, so nothing is rounded."""
    H, W = 4, 8
    steps = torch.arange(-6.0, 2 * W + 7) / 2  # pixel coordinates by halves, beyond both borders
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    locations = torch.stack(((x + 0.5) / W, (y + 0.5) / H), -1).view(1, -1, 1, 1, 1, 2)
    Lq = locations.shape[1]
    problem = Problem(torch.randn(1, H * W, 1, 4), [(H, W)], locations, torch.rand(1, Lq, 1, 1, 1))
    assert_same(problem, atol=1e-6, rtol=0)


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 2e9, -2e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_locations_may_be_anything(nonsense, dtype):
    problem = random_problem(Lq=12, M=4, L=3, P=4, dtype=dtype)
    problem.locations[:, ::2, :, :, 1, 0] = nonsense
    problem.locations[:, 1::3, :, :, 2, 1] = nonsense
    assert_same(problem, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("B", "Lq"), [(1, 0), (0, 3), (2, 0), (3, 1)])
def test_few_or_no_queries(B, Lq):
    assert_same(random_problem(B=B, Lq=Lq), atol=1e-5, rtol=0)


def test_other_memory_layouts():
    problem = random_problem(B=3, Lq=5, M=4, D=8)

    def scattered(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, 1).contiguous().transpose(0, 1).repeat_interleave(2, -1)[..., ::2]

    apart = Problem(scattered(problem.value), problem.shapes, scattered(problem.locations), scattered(problem.weights))
    assert not any(t.is_contiguous() for t in (apart.value, apart.locations, apart.weights))
    grad_output = torch.randn(1, 1, 32).expand(3, 5, 32)
    ours, theirs = (gradients(fused.deformable_attention, p, grad_output) for p in (apart, problem))
    assert all(one.equal(other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kernel", ["numba", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_single(kernel, dtype):
    """Only the rounding of inputs and output is that of the half type."""
    value, shapes, locations, weights = random_problem(Lq=20, M=4, L=4, P=4, D=16)
    half = (value.to(dtype), shapes, locations, weights.to(dtype))
    output = deformable_attention(*half, kernel=kernel)
    exact = reference.deformable_attention(half[0].double(), shapes, locations.double(), half[3].double())
    assert output.dtype == dtype
    torch.testing.assert_close(output, exact.to(dtype), atol=1e-4, rtol=torch.finfo(dtype).eps)


def test_half_precision_has_gradients():
    problem = random_problem(D=16).to(torch.bfloat16)
    _, *ours = gradients(lambda *args: deformable_attention(*args, kernel="numba"), problem, torch.ones(2, 6, 32))
    _, *exact = gradients(reference.deformable_attention, problem.to(torch.float64), torch.ones(2, 6, 32))
    for one, other in zip(ours, exact, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other.bfloat16(), atol=1e-3, rtol=2e-2)


def flat(problem: Problem) -> tuple[Tensor, list[int], Tensor, Tensor]:
    value, locations, weights = problem.tensors()
    return value, [size for shape in problem.shapes for size in shape], locations, weights


@pytest.mark.parametrize("Lq", [0, 1, 6])
def test_is_a_proper_operator(Lq):
    torch.library.opcheck(OPERATOR, flat(random_problem(Lq=Lq)))
    value, shapes, locations, weights = (
        t.detach() if isinstance(t, Tensor) else t for t in flat(random_problem(Lq=Lq))
    )
    grad_output = torch.randn(2, Lq, 8)
    backward = torch.ops.memotr.deformable_attention_backward
    torch.library.opcheck(backward, (grad_output, value, shapes, locations, weights))


def test_has_no_second_derivative():
    value, shapes, locations, weights = flat(random_problem())
    (gradient,) = torch.autograd.grad(
        OPERATOR(value, shapes, locations, weights).square().sum(), value, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": [(5, 7), (3, 5)]}, "value holds 47 pixels"),
        ({"shapes": [(47, 1), (0, 4)]}, "no heads, channels or pixels"),
        ({"shapes": [(5, 7), (6, 2), (-1, 0)]}, "no heads, channels or pixels"),
        ({"shapes": [(1, 2**24 + 1)]}, "or too many"),
        ({"shapes": [(47, 1)]}, "sampling_locations are"),
        ({"locations": torch.zeros(2, 6, 2, 2, 3, 3)}, "sampling_locations are"),
        ({"weights": torch.zeros(2, 6, 2, 2, 4)}, "attention_weights are"),
        ({"weights": torch.zeros(2, 6, 2, 6)}, "4 dimensions"),
    ],
)
@pytest.mark.parametrize("function", [deformable_attention, fused.deformable_attention])
def test_shapes_that_do_not_fit_are_refused(function, change, message):
    with pytest.raises(ValueError, match=message):
        function(*random_problem()._replace(**change))


def test_mixed_dtypes_never_reach_the_kernel():
    value, shapes, locations, weights = random_problem()
    with pytest.raises(TypeError, match="three float32 or three float64"):
        fused.deformable_attention(value, shapes, locations.double(), weights)
    output = deformable_attention(value, shapes, locations.double(), weights, kernel="numba")
    assert output.dtype == torch.float32


class Operator(torch.nn.Module):
    """Some layer around the operator."""

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value * 2, SHAPES[:2], locations, weights) + 1


def test_compiles_as_one_graph():
    problem = random_problem()
    grad_output = torch.randn(2, 6, 8)
    compiled = torch.compile(Operator(), fullgraph=True, backend="aot_eager")  # inductor would need a C++ compiler
    ours = gradients(lambda v, _, x, w: compiled(v, x, w), problem, grad_output)
    plain = gradients(lambda v, _, x, w: Operator()(v, x, w), problem, grad_output)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_exports_as_one_node_with_any_number_of_queries():
    value, _, locations, weights = random_problem(B=1)
    queries = torch.export.Dim("queries")
    program = torch.export.export(
        Operator(), (value, locations, weights), dynamic_shapes=({}, {1: queries}, {1: queries})
    )
    assert [n.target for n in program.graph.nodes].count(OPERATOR.default) == 1
    for Lq in (2, 17):
        value, _, locations, weights = random_problem(B=1, Lq=Lq)
        assert program.module()(value, locations, weights).equal(Operator()(value, locations, weights))
