"""Which kernel runs, and what happens where Numba or Triton is missing or broken, or Numba may not write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from memotr.errors import MemotrWarning, UserError
from memotr.models import kernels
from memotr.models.kernels import cuda, deformable_attention
from tests.models.kernels.problems import SHAPES, random_problem


@pytest.mark.parametrize(("kernel", "fused"), [("auto", True), ("numba", True), ("reference", False)])
def test_the_kernel_that_was_asked_for_runs(kernel, fused):
    with torch.profiler.profile() as profile:
        deformable_attention(*random_problem(), kernel=kernel)
    names = {event.key for event in profile.key_averages()}
    assert ("memotr::deformable_attention" in names) is fused
    assert ("aten::grid_sampler" in names) is not fused


def test_an_unknown_kernel_is_refused():
    with pytest.raises(UserError, match=r"unknown kernel 'cuda'.*choose from auto, reference, numba, triton"):
        deformable_attention(*random_problem(), kernel="cuda")


@pytest.mark.filterwarnings("error")  # they have no kernel that could fail
def test_other_devices_take_the_reference():
    value, shapes, locations, weights = random_problem()
    on_meta = (value.to("meta"), shapes, locations.to("meta"), weights.to("meta"))
    assert deformable_attention(*on_meta).shape == (2, 6, 8)
    with pytest.raises(UserError, match="'numba' runs on the CPU, but the tensors are on meta"):
        deformable_attention(*on_meta, kernel="numba")


@pytest.mark.cuda
def test_cuda_gives_the_numbers_of_the_cpu():
    value, shapes, locations, weights = random_problem()
    output = deformable_attention(value.cuda(), shapes, locations.cuda(), weights.cuda())
    torch.testing.assert_close(output.cpu(), deformable_attention(value, shapes, locations, weights), atol=1e-5, rtol=0)


@pytest.fixture
def far_value():
    """Features on a CUDA device that is not there."""
    with FakeTensorMode():
        yield torch.empty(2, 47, 2, 4, dtype=torch.bfloat16, device="cuda:0")


@pytest.fixture
def triton_says(monkeypatch):
    """Sets what is wrong with Triton; keeps the questions."""

    def say(problem):
        questions = []
        monkeypatch.setattr(cuda, "triton_problem", lambda *question: questions.append(question) or problem)
        return questions

    kernels._warn_once.cache_clear()
    yield say
    kernels._warn_once.cache_clear()


@pytest.mark.parametrize("kernel", ["auto", "triton"])
def test_cuda_takes_triton_where_it_works(far_value, triton_says, kernel):
    questions = triton_says(None)
    locations = torch.empty(2, 6, 2, 2, 3, 2, device="cuda:0")
    weights = torch.empty(2, 6, 2, 2, 3, device="cuda:0")
    with Operators() as operators:
        output = deformable_attention(far_value, SHAPES[:2], locations, weights, kernel=kernel)
    assert (output.shape, output.dtype, output.device.type) == ((2, 6, 8), torch.bfloat16, "cuda")
    # Nothing is cast before it, so that half precision is read as it is.
    assert operators.first == torch.ops.memotr.deformable_attention.default
    assert questions == [(torch.device("cuda:0"), torch.bfloat16, 4)]


def test_cuda_takes_the_reference_after_one_warning_where_triton_does_not_work(far_value, triton_says):
    triton_says("RuntimeError: no C compiler")
    with pytest.warns(
        MemotrWarning, match=r"slow PyTorch kernel because Triton does not work.*no C compiler"
    ) as caught:
        assert [kernels._choose("auto", far_value) for _ in range(2)] == ["reference"] * 2
    assert len(caught) == 1
    assert kernels._choose("reference", far_value) == "reference"
    with pytest.raises(UserError, match=r"'triton' does not run here \(RuntimeError: no C compiler\)"):
        kernels._choose("triton", far_value)
    with pytest.raises(UserError, match="'numba' runs on the CPU, but the tensors are on cuda:0"):
        kernels._choose("numba", far_value)


def test_triton_is_for_cuda_only():
    with pytest.raises(UserError, match="'triton' runs on CUDA devices, but the tensors are on cpu"):
        deformable_attention(*random_problem(), kernel="triton")


class Operators(TorchDispatchMode):
    """Keeps the first operator that PyTorch runs, apart from those that only ask."""

    first = None

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator.namespace != "prim" and self.first is None:
            self.first = operator
        return operator(*args, **(kwargs or {}))


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter prints that runs this code."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


MISSING = """
import sys, warnings
sys.modules["numba"] = None  # what an import of a missing package finds
import torch
from memotr.errors import UserError
from memotr.models.kernels import deformable_attention
from tests.models.kernels.problems import random_problem

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    outputs = [deformable_attention(*random_problem(D=D)) for D in (4, 4, 8)]
print([(w.category.__name__, str(w.message)) for w in caught])
print(outputs[0].equal(deformable_attention(*random_problem(), kernel="reference")))
try:
    deformable_attention(*random_problem(), kernel="numba")
except UserError as error:
    print(error)
"""


def test_without_numba_the_reference_runs_after_one_warning(tmp_path):
    warning, same, error = run(MISSING, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert warning.count("MemotrWarning") == 1
    assert "slow PyTorch kernel" in warning
    assert same == "True"
    assert error.startswith("kernel 'numba' does not run here (ModuleNotFoundError")
    assert "pip install numba" in error


TRITON_MISSING = """
import sys
sys.modules["triton"] = None
import torch
from memotr.models.kernels import cuda
print(cuda.triton_problem(torch.device("cpu"), torch.float32, 4))
"""


def test_without_triton_the_reason_is_reported():
    assert run(TRITON_MISSING).startswith("ModuleNotFoundError: import of triton")


LOADED = """
import sys
import memotr.models.kernels
print("llvmlite" in sys.modules)
from tests.models.kernels.problems import random_problem
memotr.models.kernels.deformable_attention(*random_problem(), kernel="numba")
print("triton" in sys.modules, "torch._dynamo" in sys.modules)
"""


def test_compilers_are_loaded_when_needed():
    assert run(LOADED).splitlines() == ["False", "False False"]


TRACED_FIRST = """
import sys, warnings
if {missing}:
    sys.modules["numba"] = None
    warnings.simplefilter("ignore")
import torch
import memotr.models.kernels
from memotr.models.kernels import deformable_attention
from tests.models.kernels.problems import SHAPES, random_problem
value, _, locations, weights = random_problem()
compiled = torch.compile(lambda v, x, w: deformable_attention(v, SHAPES[:2], x, w), fullgraph=True, backend="aot_eager")
torch.testing.assert_close(compiled(value, locations, weights), deformable_attention(*random_problem()))
print(memotr.models.kernels._choose("auto", value))
"""


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_tracing_chooses_as_running_does(missing, tmp_path):
    """The choice works while PyTorch traces, also when nothing has been compiled before."""
    chosen = "reference" if missing else "numba"
    assert run(TRACED_FIRST.format(missing=missing), NUMBA_CACHE_DIR=str(tmp_path)) == f"{chosen}\n"
