"""The CPU kernel beside PyTorch's threads, from several Python threads at once, and in forked and spawned processes."""

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from memotr.models.kernels import cpu, fused
from tests.models.kernels.problems import Problem, encoder_problem, gradients

PATIENCE = 120  # seconds after which a process that should have answered counts as hanging


@pytest.fixture(autouse=True)
def two_threads():
    """PyTorch's own threads and the kernel's exist, and have worked, before every test."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.randn(512, 512) @ torch.randn(512, 512)
    run_operator(0)
    yield
    torch.set_num_threads(before)


def run_operator(index: int) -> tuple[Tensor, ...]:
    """Output and gradients of a problem that is large enough for two threads; its values depend on the index."""
    problem = encoder_problem()
    problem = problem._replace(value=problem.value + index)
    return gradients(fused.deformable_attention, problem, torch.ones(1, problem.value.shape[1], 256))


def equal(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return all(one.equal(other) for one, other in zip(ours, theirs, strict=True))


def test_the_problem_is_shared_by_threads(monkeypatch):
    calls = []
    run = cpu._run
    monkeypatch.setattr(cpu, "_run", lambda parts, threads: calls.append((len(parts), threads)) or run(parts, threads))
    run_operator(0)
    assert calls == [(2 * cpu.PARTS_PER_THREAD, 2), (8, 2)]  # forward: ranges of queries; backward: heads


def test_many_python_threads_at_once():
    expected = [run_operator(index) for index in range(4)]
    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(run_operator, [0, 1, 2, 3] * 8))
    assert all(equal(result, expected[i % 4]) for i, result in enumerate(results))


def test_a_part_that_fails_is_reported():
    def fail() -> None:
        raise RuntimeError("a part failed")

    for parts in ([fail] * 8, [fail], [fail, lambda: None]):
        with pytest.raises(RuntimeError, match="a part failed"):
            cpu._run(parts, threads=2)


class Operators(Dataset):
    """A data set whose every sample is computed by the operator."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return run_operator(index)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_data_loader_workers(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    loader = DataLoader(Operators(), batch_size=None, num_workers=2, multiprocessing_context=start, timeout=PATIENCE)
    results = list(loader)
    assert len(results) == 4
    for index, result in enumerate(results):
        assert equal(tuple(result), run_operator(index))


def answer(connection: Connection, problem: Problem) -> None:
    """In a forked process: nothing but the operator, for PyTorch's own threads would hang."""
    output = fused.deformable_attention(*problem).numpy()
    connection.send((output, [thread.name for thread in threading.enumerate()]))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # that is what is tested
def test_a_forked_process_has_threads_of_its_own():
    problem, context = encoder_problem(), multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs, problem), daemon=True)
    process.start()
    try:
        assert ours.poll(PATIENCE), "the forked process hangs"
        output, threads = ours.recv()
        assert fused.deformable_attention(*problem).equal(torch.from_numpy(output))
        assert "memotr_0" in threads
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()


FIRST_USE = """
import warnings
warnings.simplefilter("error")
from tests.models.kernels.test_concurrency import run_operator
print(float(run_operator(1)[0].sum()))
"""


@pytest.mark.slow
def test_several_processes_compile_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    processes = [
        subprocess.Popen([sys.executable, "-c", FIRST_USE], stdout=subprocess.PIPE, text=True, cwd=root())
        for _ in range(3)
    ]
    answers = {process.communicate(timeout=PATIENCE)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert answers == {f"{float(run_operator(1)[0].sum())}\n"}
    assert list(tmp_path.glob("*.o")), "nothing was kept on disk"


def root() -> Path:
    return Path(__file__).parents[3]
