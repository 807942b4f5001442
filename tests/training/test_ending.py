"""End of training: no process survives it, however it ends, even without the garbage collector."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kill_runs import GRACE, MarkedProcess
from memotr.config import Config, load_config
from memotr.errors import UserError
from memotr.signals import STOP_SIGNALS
from memotr.training.engine import Training
from memotr.training.run_state import read_state
from memotr.training.train import explain_lost_resource, train
from tests.training.builders import SMALL

PATIENCE = 300  # seconds, after which something hangs


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def with_workers(data: Path, workers: int, epochs: int) -> Config:
    return load_config("tiny", [*SMALL, f"data.workers={workers}", f"training.epochs={epochs}", f"data.root={data}"])


def bad_data() -> None:
    raise UserError("an image cannot be read")


def broken() -> None:
    raise ZeroDivisionError


def asked(number: signal.Signals, times: int = 1) -> None:
    for _ in range(times):
        signal.raise_signal(number)


ENDINGS = {
    "nothing": (lambda: None, 0),
    "user error": (bad_data, UserError),
    "error": (broken, ZeroDivisionError),
    "a signal": (lambda: asked(signal.SIGHUP), 128 + signal.SIGHUP),
    "Ctrl-C twice": (lambda: asked(signal.SIGINT, 2), 128 + signal.SIGINT),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("ending", ENDINGS)
def test_workers_end_with_the_training(data, tmp_path, monkeypatch, no_collector, ending):
    happen, outcome = ENDINGS[ending]
    count_skipped, running = Training.count_skipped, []

    def at_third_step(self, finite):
        if self.progress.steps == 3:
            running.extend(multiprocessing.active_children())
            happen()
        count_skipped(self, finite)

    monkeypatch.setattr(Training, "count_skipped", at_third_step)
    if isinstance(outcome, int):
        assert train(with_workers(data, 2, 2), tmp_path, device="cpu") == outcome
    else:
        with pytest.raises(outcome):
            train(with_workers(data, 2, 2), tmp_path, device="cpu")
    assert len(running) == 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(24, "Too many open files"), "ulimit -n"),
        (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), "--shm-size"),
        (OSError(28, "No space left on device"), "--shm-size"),  # of a lock, which has no file
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. Out of shared memory."),
            "0 needs no shared memory",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "3 of them need too much memory"),
        (ConnectionResetError(104, "Connection reset by peer"), "3 of them need too much memory"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), "another rank"),
    ],
)
def test_a_lost_resource_is_named_with_its_remedy(error, reason):
    assert reason in explain_lost_resource(error, 3)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_lacked_shared_memory_is_not_reported_as_lack_of_memory(error):
    """A bus error ends it; training may see its closed socket first."""
    reason = explain_lost_resource(error, 3, lacked_shared_memory=True)
    assert reason.startswith("there is too little shared memory (/dev/shm)")
    assert "3 of them need too much memory: lower data.workers" in explain_lost_resource(error, 3)


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGBUS, "too little shared memory"), (signal.SIGKILL, "too much memory")]
)
def test_the_cause_of_a_killed_worker_is_reported(data, tmp_path, monkeypatch, no_collector, number, reason):
    def lose_a_worker(self, finite):
        worker = multiprocessing.active_children()[0]
        os.kill(worker.pid, number)
        worker.join()
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(Training, "count_skipped", lose_a_worker)
    with pytest.raises(UserError, match=rf"{reason}.* Nothing was saved yet\.$"):
        train(with_workers(data, 1, 1), tmp_path, device="cpu")


@pytest.mark.parametrize("error", ["shapes do not match", "Caught RuntimeError in DataLoader worker process 0."])
def test_an_error_of_another_kind_keeps_its_traceback(error):
    assert explain_lost_resource(RuntimeError(error), 1) is None


def test_a_long_path_of_temporary_files_is_named(data, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(folder))
    with pytest.raises(UserError, match=r"longlong: .* sockets .* \(AF_UNIX path too long\); set .* TMPDIR to a short"):
        train(with_workers(data, 1, 1), tmp_path / "run", device="cpu")
    assert list(folder.iterdir()) == []


def start(data: Path, folder: Path, *options: str, before: str = "exec") -> MarkedProcess:
    """Run `memotr train` with the garbage collector off, its output in ``log`` and temporary files in ``tmp``."""
    temporary = tempfile.mkdtemp()  # short, because sockets are in it
    (folder / "tmp").symlink_to(temporary)
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text("import gc\ngc.disable()\n")
    command = [sys.executable, "-m", "memotr", "train", "tiny", *SMALL, *options, "--device", "cpu"]
    command += ["--data-root", str(data), "--output", str(folder / "run")]
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"}
    return MarkedProcess(["bash", "-c", f'{before} "$@"', "bash", *command], folder / "log", **environment)


def start_endless(data: Path, folder: Path, workers: int, ranks: int) -> MarkedProcess:
    """Start a training that does not end by itself, and wait until it has taken some steps."""
    run = start(data, folder, f"data.workers={workers}", "training.epochs=9999", "--devices", str(ranks))
    while (folder / "log").read_text().count(" · step ") < 3:
        assert run.process.poll() is None, (folder / "log").read_text()
    return run


def assert_ended(run: MarkedProcess, folder: Path) -> str:
    """Check that all processes and temporary files are gone; return the output."""
    try:
        assert run.all_gone(GRACE)
    finally:
        run.kill_all()
    assert [path for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor")] == []
    shutil.rmtree((folder / "tmp").resolve())
    assert not list(Path("/dev/shm").glob(f"torch_{run.process.pid}_*"))
    return (folder / "log").read_text()


each_size = pytest.mark.parametrize(("workers", "ranks"), [(1, 1), (1, 2), (2, 1), (2, 2)])
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes as Linux lists them")


@linux
@pytest.mark.slow
@each_size
def test_a_run_exits_by_itself(data, tmp_path, workers, ranks):
    run = start(data, tmp_path, f"data.workers={workers}", "training.epochs=2", "--devices", str(ranks))
    assert run.process.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    assert "wrote " in assert_ended(run, tmp_path)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_a_run_and_its_processes(data, tmp_path, number, ranks):
    run = start_endless(data, tmp_path, 1, ranks)
    run.process.send_signal(number)
    assert run.process.wait(PATIENCE) == 128 + number, (tmp_path / "log").read_text()
    assert f"stopped by {number.name}" in assert_ended(run, tmp_path)
    assert read_state(tmp_path / "run").progress.steps >= 3


@linux
@pytest.mark.slow
@each_size
def test_a_killed_run_leaves_no_process(data, tmp_path, workers, ranks):
    run = start_endless(data, tmp_path, workers, ranks)
    assert len(run.alive()) >= ranks * (1 + workers)
    run.process.kill()
    run.process.wait()
    assert_ended(run, tmp_path)


@linux
@pytest.mark.slow
def test_a_killed_rank_ends_the_others_with_one_line(data, tmp_path):
    run = start_endless(data, tmp_path, 1, 2)
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    (rank,) = (pid for pid in children if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(int(rank), signal.SIGKILL)
    assert run.process.wait(PATIENCE) in (2, -signal.SIGKILL)  # Fabric kills what it sees first
    assert "Traceback" not in assert_ended(run, tmp_path)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("limit", [12, 16, 79])
def test_few_file_handles_are_one_line(data, tmp_path, limit):
    run = start(data, tmp_path, "data.workers=1", "training.epochs=2", before=f"ulimit -n {limit}; exec")
    assert run.process.wait(PATIENCE) == 2
    last = assert_ended(run, tmp_path).splitlines()[-1]
    assert last.startswith("memotr: data.workers needs 80 open files"), last
    assert "Traceback" not in (tmp_path / "log").read_text()
