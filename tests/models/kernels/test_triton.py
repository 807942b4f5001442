"""The CUDA kernel against the PyTorch form: on a CPU in Triton's interpreter, and on a device where there is one.

Every check is a function of the device. For the interpreter it runs in a process of its own, because Triton must be
told before it is imported; there the two directions are called one by one, since on a CPU the operator is Numba's.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from memotr.models.kernels import cuda, deformable_attention, reference
from tests.models.kernels.problems import SHAPES, Problem, gradients, random_problem
from tests.parity import golden
from tests.parity.harness import FOLDER, Fixture

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")

NAMES = ("output", "value", "locations", "weights")


@pytest.fixture(scope="module")
def interpreter():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            patch.setenv("OMP_NUM_THREADS", "1")
            process.submit(os.getpid).result()  # it has begun, with this environment
        yield process


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.cuda)])
def everywhere(request):
    """Calls a check with the device before its other arguments."""
    if request.param == "cuda":
        return lambda check, *args: check("cuda", *args)
    process = request.getfixturevalue("interpreter")
    return lambda check, *args: process.submit(check, "cpu", *args).result()


def on(device: str, problem: Problem) -> Problem:
    value, shapes, locations, weights = problem
    return Problem(value.to(device), shapes, locations.to(device), weights.to(device))


def triton_gradients(problem: Problem, grad_output: Tensor) -> tuple[Tensor, ...]:
    """As `gradients`, by the kernel."""
    value, shapes, locations, weights = problem
    if value.is_cuda:
        return gradients(lambda *inputs: deformable_attention(*inputs, kernel="triton"), problem, grad_output)
    inputs = (value, [size for shape in shapes for size in shape], locations, weights)
    return cuda._forward(*inputs), *cuda._backward(grad_output, *inputs)


def assert_same(problem: Problem, tolerance: float) -> None:
    """All results are those of the reference in double precision, relative to the largest, and of the right dtype."""
    B, Lq, M, _, _ = problem.weights.shape
    value = problem.value
    grad_output = torch.randn(B, Lq, M * value.shape[-1]).to(value)
    ours = triton_gradients(problem, grad_output)
    theirs = gradients(reference.deformable_attention, problem.to(torch.float64), grad_output.double())
    dtypes = (value.dtype, *(t.dtype for t in (value, problem.locations, problem.weights)))
    for name, one, other, dtype in zip(NAMES, ours, theirs, dtypes, strict=True):
        assert one.dtype == dtype, name
        scale = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(
            one.double() / scale, other / scale, atol=tolerance, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def last_bit(dtype: torch.dtype) -> float:
    """What rounding may take off 1: half a bit, and all of one where Triton's interpreter cuts bfloat16 off."""
    return (1.0 if dtype == torch.bfloat16 else 0.5) * torch.finfo(dtype).eps + 1e-6


def check_random(device, sizes, dtype, tolerance):
    torch.manual_seed(0)
    assert_same(on(device, random_problem(**sizes, dtype=dtype)), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize(
    "sizes",
    [
        {"D": 1, "M": 1, "L": 1, "P": 1, "B": 1, "Lq": 1},
        {"D": 5, "L": 2, "P": 3},
        {"D": 8, "M": 3, "L": 3, "P": 4, "Lq": 9},
        {"D": 32, "L": 4, "P": 4, "B": 1, "Lq": 19},  # more than one block of queries
        {"D": 48, "L": 1, "P": 9, "B": 1, "Lq": 5},  # more than one block of points
    ],
    ids=str,
)
def test_equals_the_reference(everywhere, sizes, dtype, tolerance):
    everywhere(check_random, sizes, dtype, tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("D", [5, 32])
def test_half_precision_rounds_only_results(everywhere, D, dtype):
    """The largest number is off by no more than its last bit, so everything was summed up in float32."""
    everywhere(check_random, {"D": D, "L": 4, "P": 4, "B": 1}, dtype, last_bit(dtype))


def check_mixed(device, dtype):
    problem = on(device, random_problem(D=8))
    problem = problem._replace(value=problem.value.to(dtype))
    assert_same(problem, last_bit(dtype))
    value, shapes, locations, weights = problem
    inputs = (value, [size for shape in shapes for size in shape], locations, weights)
    _, _, by_location, by_weight = triton_gradients(problem, torch.ones(2, 6, 16, device=device, dtype=dtype))
    operator = torch.ops.memotr.deformable_attention_backward
    meta = [t.to("meta") if isinstance(t, Tensor) else t for t in inputs]
    fake = operator(torch.ones(2, 6, 16, device="meta", dtype=dtype), *meta)
    assert [t.dtype for t in fake] == [dtype, by_location.dtype, by_weight.dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_values_at_exact_locations(everywhere, dtype):
    """What autocast makes of a layer; gradients of float32 inputs are float32, in a traced graph too."""
    everywhere(check_mixed, dtype)


def check_nowhere(device, nonsense):
    torch.manual_seed(0)
    problem = random_problem(Lq=12, M=2, L=3, P=2)
    problem.locations[:, ::2, :, :, 1, 0] = nonsense
    problem.locations[:, 1::3, :, :, 0, 1] = nonsense
    assert_same(on(device, problem), 1e-6)


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -float("inf"), 1e30, -2e9])
def test_locations_may_be_anything(everywhere, nonsense):
    everywhere(check_nowhere, nonsense)


def check_borders(device):
    torch.manual_seed(0)
    H, W = 4, 8
    steps = torch.arange(-6.0, 2 * W + 7) / 2  # pixel coordinates by halves, beyond both borders
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    locations = torch.stack(((x + 0.5) / W, (y + 0.5) / H), -1).view(1, -1, 1, 1, 1, 2)
    weights = torch.rand(1, locations.shape[1], 1, 1, 1)
    assert_same(on(device, Problem(torch.randn(1, H * W, 1, 4), [(H, W)], locations, weights)), 1e-6)


def test_borders_and_pixel_centres(everywhere):
    """Where the derivative jumps, both take the same side; sizes are powers of two, so nothing is rounded."""
    everywhere(check_borders)


@pytest.mark.parametrize("sizes", [{"Lq": 0}, {"B": 0}, {"P": 0}], ids=str)
def test_nothing_to_do(everywhere, sizes):
    everywhere(check_random, sizes, torch.float32, 0.0)


def check_few(device, many, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "MANY_QUERIES", many)
        check_random(device, sizes, torch.float32, 1e-6)


@pytest.mark.parametrize("many", [0, 10_000])
@pytest.mark.parametrize(
    "sizes", [{"D": 8, "P": 3}, {"D": 32, "L": 4, "P": 9, "B": 1}, {"D": 80, "L": 2, "P": 2}], ids=str
)
def test_results_do_not_depend_on_block_sizes(everywhere, many, sizes):
    everywhere(check_few, many, sizes)


def test_blocks():
    encoder, decoder = (23_924, 32, 4, 4), (330, 32, 4, 4)
    assert cuda._blocks("forward", *encoder) == {"BLOCK_Q": 32, "BLOCK_P": 1, "BLOCK_D": 32}
    assert cuda._blocks("forward", *decoder) == {"BLOCK_Q": 8, "BLOCK_P": 4, "BLOCK_D": 32}
    assert cuda._blocks("backward", *encoder) == {"BLOCK_Q": 2, "BLOCK_P": 16, "BLOCK_D": 32}
    assert cuda._blocks("backward", 5, 1, 1, 1) == {"BLOCK_Q": 1024, "BLOCK_P": 1, "BLOCK_D": 1}
    assert cuda._blocks("backward", 5, 300, 4, 4) == {"BLOCK_Q": 1, "BLOCK_P": 2, "BLOCK_D": 512}


def check_layouts(device):
    problem = on(device, random_problem(B=3, Lq=5, M=2, D=8))

    def scattered(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, 1).contiguous().transpose(0, 1).repeat_interleave(2, -1)[..., ::2]

    apart = Problem(scattered(problem.value), problem.shapes, scattered(problem.locations), scattered(problem.weights))
    assert not any(t.is_contiguous() for t in (apart.value, apart.locations, apart.weights))
    grad_output = torch.randn(1, 1, 16, device=device).expand(3, 5, 16)
    for one, other in zip(triton_gradients(apart, grad_output), triton_gradients(problem, grad_output), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)  # atomic additions come in any order


def test_other_memory_layouts(everywhere):
    everywhere(check_layouts)


def check_golden(device, name):
    fixture = Fixture(FOLDER / f"{name}.npz")
    meta = fixture.meta
    shapes, heads, dim = [tuple(shape) for shape in meta["spatial_shapes_hw"]], meta["heads"], meta["channels_per_head"]
    value = golden.tensor("value", (meta["batch"], sum(H * W for H, W in shapes), heads, dim), meta["seed"])
    grad_output = golden.tensor("grad_output", (meta["batch"], meta["queries"], heads * dim), meta["seed"])
    weights = fixture["attention_weights"]
    problem = on(device, Problem(torch.from_numpy(value), shapes, fixture["sampling_locations"], weights))
    ours = triton_gradients(problem, torch.from_numpy(grad_output).to(device))
    keys = ("output", "grad_value", "grad_sampling_locations", "grad_attention_weights")
    for key, one in zip(keys, ours, strict=True):
        expected = fixture[key]
        tolerance = 1e-4 * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(
            one.cpu(), expected, atol=tolerance, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize(
    "name", [pytest.param("deformable_attention_a", marks=pytest.mark.slow), "deformable_attention_b"]
)
def test_golden_numbers(everywhere, name):
    everywhere(check_golden, name)


def check_works(device):
    assert cuda.triton_problem(torch.device(device), torch.float32, 5) is None


def test_the_check_of_the_kernel_passes(everywhere):
    everywhere(check_works)


@pytest.mark.cuda
def test_is_a_proper_operator():
    value, shapes, locations, weights = on("cuda", random_problem())
    sizes = [size for shape in shapes for size in shape]
    leaves = (value.requires_grad_(), sizes, locations.requires_grad_(), weights.requires_grad_())
    torch.library.opcheck(torch.ops.memotr.deformable_attention, leaves)


@pytest.mark.cuda
def test_a_cuda_graph_replays_it():
    problem = on("cuda", random_problem())
    before = deformable_attention(*problem, kernel="triton")  # nothing is left to be compiled or measured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = deformable_attention(*problem, kernel="triton")
    problem.value.mul_(2)
    graph.replay()
    torch.testing.assert_close(output, 2 * before)


class Machine(NamedTuple):
    """As much of a driver as Triton asks for to compile."""

    capability: int

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability  # what is compiled for one device is not taken for another

    def get_current_stream(self, device):
        return 0


@pytest.fixture
def compile_for(tmp_path, monkeypatch):
    """Compiles for a machine that is not there."""
    import triton
    from triton.runtime.driver import driver

    from memotr.models.kernels import triton_kernels

    def compile_for(capability: int, direction: str, problem: Problem):
        monkeypatch.setattr(driver, "_active", Machine(capability))
        value, shapes, locations, weights = problem
        (_, S, M, D), (B, Lq, _, L, P) = value.shape, weights.shape
        output = value.new_empty(B, Lq, M * D)
        tensors = (value, locations, weights, output)
        kernel = triton_kernels.forward_kernel
        if direction == "backward":
            kernel, tensors = triton_kernels.backward_kernel, (output, *tensors[:3], value.float(), locations, weights)
        constants = {"M": M, "D": D, "L": L, "P": P, "REAL": triton.language.float32}
        blocks = cuda._blocks(direction, Lq, D, L, P)
        sizes = tuple(float(size) for shape in shapes for size in shape)
        return kernel.warmup(*tensors, sizes, S, Lq, **constants, **blocks, num_warps=cuda.NUM_WARPS, grid=(1, 1, 1))

    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(tmp_path)
        yield compile_for


def layer(shapes, Lq, dtype=torch.float32) -> Problem:
    problem = random_problem(shapes=shapes, Lq=Lq, M=8, D=32, P=4, B=1)
    return problem._replace(value=problem.value.to(dtype))


@pytest.mark.parametrize("capability", [80, 90])
def test_compiles_without_a_device(compile_for, capability):
    """For Ampere and Hopper; rows of channels are read, and on Hopper added to, in pieces of 16 bytes."""
    problem = layer(SHAPES, 2048, torch.bfloat16)
    forward, backward = (compile_for(capability, way, problem).asm["ptx"] for way in ("forward", "backward"))
    assert "ld.global.v4.b32" in forward
    assert "ld.global.v4.b32" in backward
    assert ("add.v4.f32" in backward) is (capability >= 90)


def test_compiles_once_for_images_of_all_sizes(compile_for):
    """Also where sizes are 1 or divisible by 16, for which Triton likes to have code of its own."""
    once = compile_for(90, "forward", layer(SHAPES, 7))
    assert compile_for(90, "forward", layer(((16, 32), (8, 16), (4, 8), (1, 1)), 16)) is once
    assert compile_for(90, "forward", layer(((9, 32), (5, 16), (1, 1), (1, 1)), 1)) is once
