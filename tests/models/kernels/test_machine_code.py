"""Machine code on disk: kept, found again without Numba, and never trusted when damaged."""

import numpy as np
import pytest

from memotr.models.kernels import cpu, machine_code, numba_kernels
from tests.models.kernels.problems import random_problem
from tests.models.kernels.test_choice import run

RESULT = """
import sys, warnings
warnings.simplefilter("error")
if {missing}:
    sys.modules["numba"] = None
if {full}:
    from memotr.models.kernels import machine_code
    def full(*arguments): raise OSError(28, "No space left on device")
    machine_code.Path.write_bytes = full
import torch
from memotr.models.kernels import fused
from tests.models.kernels.problems import gradients, random_problem
for result in gradients(fused.deformable_attention, random_problem(D=7), torch.ones(2, 6, 14)):
    print(result.double().sum().item())
print("numba" in sys.modules)
"""


def results(folder, missing=False, full=False) -> list[str]:
    """Sums of the operator's output and gradients in a process with this folder, and whether it imported Numba."""
    return run(RESULT.format(missing=missing, full=full), NUMBA_CACHE_DIR=str(folder)).splitlines()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder that a first process filled, and what that process printed."""
    folder = tmp_path_factory.mktemp("kernels")
    return folder, results(folder)


def test_a_second_process_needs_no_numba(kept):
    folder, (*numbers, numba) = kept
    assert numba == "True"
    assert sorted(file.name.rsplit("-", 1)[0] for file in folder.iterdir()) == ["backward-7-32", "forward-7-32"]
    assert results(folder, missing=True) == [*numbers, "True"]  # "numba" is the name of nothing there
    assert results(folder) == [*numbers, "False"]


@pytest.mark.parametrize("full", [False, True])
def test_code_that_cannot_be_kept_is_no_error(kept, tmp_path, full):
    folder = tmp_path / "cache"
    if not full:
        folder.write_text("a file where a folder should be, which stops an administrator too")
    assert results(folder, full=full) == kept[1]
    assert not folder.is_dir() or not list(folder.iterdir())


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Names of the kernels that were compiled instead of read from the disk."""
    names = []
    compile_kernel = machine_code._compile
    monkeypatch.setattr(machine_code, "_compile", lambda *kernel: names.append(kernel) or compile_kernel(*kernel))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    cpu._compiled.cache_clear()
    yield names
    cpu._compiled.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "empty", "one bit", "longer"])
def test_a_damaged_file_is_compiled_again(compiled, tmp_path, damage):
    problem = random_problem()
    expected = cpu._forward(problem.value, [5, 7, 3, 4], problem.locations, problem.weights)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    file.write_bytes({"cut": whole[:-1], "empty": b"", "one bit": bytes(damaged), "longer": whole + b"\0"}[damage])
    cpu._compiled.cache_clear()
    again = cpu._forward(problem.value, [5, 7, 3, 4], problem.locations, problem.weights)
    assert again.equal(expected)
    assert compiled == [("forward", 4, 32)] * 2
    assert machine_code._read(file)


def test_each_kernel_is_compiled_once(compiled):
    for _ in range(2):
        for channels, bits in ((4, 32), (4, 64), (8, 32)):
            machine_code.load("forward", channels, bits)
    assert compiled == [("forward", 4, 32), ("forward", 4, 64), ("forward", 8, 32)]


def test_code_for_another_machine_or_version_is_not_used(monkeypatch):
    import llvmlite.binding as llvm

    keys = [machine_code._machine()]
    assert machine_code._machine() == keys[0]
    for target, name, value in (
        (machine_code, "version", {"numba": "0.1", "llvmlite": "0.1"}.__getitem__),
        (llvm, "get_host_cpu_name", lambda: "a processor of tomorrow"),
        (llvm, "get_host_cpu_features", lambda: llvm.FeatureMap(avx=False)),
    ):
        monkeypatch.setattr(target, name, value)
        keys.append(machine_code._machine())
    monkeypatch.setenv("NUMBA_OPT", "0")
    keys.append(machine_code._machine())
    assert len(set(keys)) == len(keys) == 5


def test_the_folder_is_the_users_and_not_that_of_shared_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMOTR_HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert tmp_path not in machine_code.folder().parents
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert machine_code.folder() == tmp_path


def test_code_that_needs_numba_is_refused(monkeypatch, compiled):
    """LLVM would end the process when it loads a function that calls another one that is not there."""

    def forward(channels, number):
        def kernel(value, points, locations, weights, output, pixels, pixel_weights, heads, N, first, last):
            for i in range(N):
                output[i] = np.ones(N)[i]  # allocates memory

        return kernel

    monkeypatch.setattr(numba_kernels, "forward", forward)
    with pytest.raises(RuntimeError, match=r"Numba's code needs .*NRT"):
        machine_code.load("forward", 4, 32)
    cpu.numba_problem.cache_clear()
    try:
        assert cpu.numba_problem(4).startswith("RuntimeError: Numba's code needs")
    finally:
        cpu.numba_problem.cache_clear()
