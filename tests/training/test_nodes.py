"""Two nodes of two ranks each, here on one machine (gloo): started by torchrun and by SLURM, and one of them lost."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.kill_runs import MarkedProcess
from memotr.training.run_state import read_state
from tests.training.builders import SMALL, write_videos
from tests.training.test_distributed import PATIENCE, assert_gradients_of_one_process
from tests.training.test_distributed import start as start_one
from tests.training.two_ranks import CLIPS, VARIANTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes as Linux lists them"),
]
NODES, RANKS = 2, 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_by_torchrun(logs: Path, *command: object) -> list[MarkedProcess]:
    """Start torchrun on each node."""
    options = ["--nnodes", NODES, "--nproc-per-node", RANKS, "--rdzv-backend", "c10d"]
    options += ["--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1"]
    each = [sys.executable, "-m", "torch.distributed.run", *map(str, options), "-m", *map(str, command)]
    return [MarkedProcess(each, logs / f"node{node}.log", OMP_NUM_THREADS="1") for node in range(NODES)]


def start_by_slurm(logs: Path, *command: object) -> list[MarkedProcess]:
    """Start each rank with the variables that srun sets."""
    common = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": str(free_port()), "SLURM_NTASKS": str(NODES * RANKS), "SLURM_NNODES": str(NODES)}
    common |= {"SLURM_NTASKS_PER_NODE": str(RANKS), "OMP_NUM_THREADS": "1"}
    ranks = []
    for rank in range(NODES * RANKS):
        node, place = divmod(rank, RANKS)
        own = {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(node), "SLURM_LOCALID": str(place)}
        each = [sys.executable, "-m", *map(str, command)]
        ranks.append(MarkedProcess(each, logs / f"rank{rank}.log", **common, **own))
    return ranks


def codes_of(processes: list[MarkedProcess]) -> list[int]:
    """Wait for all processes and return their exit codes; none may outlive this."""
    try:
        return [process.process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill_all()


def logs_in(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))


@pytest.mark.parametrize("start", [start_by_torchrun, start_by_slurm])
def test_gradients_are_those_of_one_process_with_all_clips(start, tmp_path):
    file = tmp_path / "gradients.pt"
    codes = codes_of(start(tmp_path, "tests.training.two_ranks", file))
    assert set(codes) == {0}, logs_in(tmp_path)
    found = torch.load(file, weights_only=True)
    for variant in VARIANTS:
        for name in CLIPS:
            assert_gradients_of_one_process(found[variant, name], variant, name, NODES * RANKS)


def test_a_run_that_lost_a_node_resumes_on_one_node(tmp_path):
    """The other node ends, too, and the resumed run trains on the remaining clips of the epoch."""
    write_videos(tmp_path / "data", length=30)
    folder = tmp_path / "run"
    settings = [*SMALL, "training.batch_size=1", "training.epochs=2", "training.output.save_every=1"]
    own = ["--data-root", tmp_path / "data", "--output", folder, "--device", "cpu"]
    nodes = start_by_torchrun(tmp_path, "memotr", "train", "tiny", *settings, *own)
    try:
        while not (folder / "last.pt").is_file() or len((folder / "metrics.jsonl").read_text().splitlines()) < 2:
            assert all(node.process.poll() is None for node in nodes), logs_in(tmp_path)
        nodes[1 if b"GROUP_RANK=0" in environment_of_a_rank(nodes[0]) else 0].kill_all()
        survivor = next(node for node in nodes if node.process.poll() is None)
        assert survivor.process.wait(PATIENCE) != 0
    finally:
        for node in nodes:
            node.kill_all()
    before = read_state(folder).progress
    clips = int(re.search(r"(\d+) clips in the first of 2 epochs", logs_in(tmp_path)).group(1))
    assert before.epoch == 0
    assert 0 < before.clips < clips
    seen = len((folder / "metrics.jsonl").read_text().splitlines())
    assert before.steps <= seen <= before.steps + 1

    start_one("memotr", "train", "--resume", folder, "--device", "cpu", "--devices", "2")
    after = read_state(folder).progress
    assert after.epoch == 2
    left = (clips - before.clips) // 2
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [line["epoch"] for line in lines if "loss" in line]
    assert epochs.count(0) == before.steps + left
    assert len(read_state(folder).ranks) == 2


def environment_of_a_rank(node: MarkedProcess) -> bytes:
    """Return the environment of one of the ranks that a node has started."""
    found = [Path(f"/proc/{process}/environ").read_bytes() for process in node.alive()]
    return next(each for each in found if b"LOCAL_RANK=" in each)
