"""Two processes on a CPU (gloo) have the results of one, and do not hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from memotr.errors import UserError
from memotr.training.clip_runner import ClipRunner
from memotr.training.devices import make_fabric
from memotr.training.run_state import read_state
from tests.training.builders import SMALL, write_videos
from tests.training.two_ranks import CLIPS, VARIANTS, clips, exact_model

PATIENCE = 240  # seconds, after which something hangs


def start(*command):
    """Run a Python module in a process of its own that may start others."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "SLURM"))}
    environment |= {"OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", *map(str, command)]
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, "env": environment}
    result = subprocess.run(arguments, **options, start_new_session=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    file = tmp_path_factory.mktemp("ranks") / "gradients.pt"
    start("tests.training.two_ranks", file)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_two_ranks_are_those_of_one_with_both_clips(two_ranks, variant, name):
    assert_gradients_of_one_process(two_ranks[variant, name], variant, name, 2)


def assert_gradients_of_one_process(found, variant, name, ranks):
    """Check loss and gradients of the ranks against those of one process with all clips."""
    loss, gradients = found
    model = exact_model(variant)
    total = ClipRunner(model)(clips(name, ranks)).total
    if not sum(map(sum, CLIPS[name])):
        total = total / ranks  # each rank divides by one box at least
    total.backward()
    assert loss == pytest.approx(total.item(), rel=1e-5)
    for parameter_name, parameter in model.named_parameters():
        expected, got = parameter.grad, gradients[parameter_name]
        error = (got - expected).norm() / expected.norm().clamp(min=1e-6)
        assert error < 1e-9, f"{parameter_name}: off by {error:.1e}"


def test_a_run_on_two_ranks_is_the_run_on_one_with_twice_the_clips(tmp_path):
    write_videos(tmp_path / "data")
    common = [*SMALL, f"data.root={tmp_path / 'data'}", "training.epochs=2", "training.accumulation=2"]
    run = ["memotr", "train", "tiny", *common, "--device", "cpu"]
    two = ["--output", tmp_path / "two", "training.batch_size=1", "--devices", "2"]
    ranks = start(*run, *two, "--checkpoint-activations", "backbone,encoder,decoder")
    assert "strides do not match" not in ranks.stderr, "gradients would be copied into their buckets"
    start(*run, "--output", tmp_path / "one", "training.batch_size=2")
    two, one = ([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("two", "one"))
    assert [line["step"] for line in two] == [line["step"] for line in one]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)
    assert two[0]["grad_norm"] == pytest.approx(one[0]["grad_norm"], rel=1e-4)
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-2)
    state = read_state(tmp_path / "two")
    assert len(state.ranks) == 2
    assert not state.ranks[0]["generators"]["torch"].equal(state.ranks[1]["generators"]["torch"])


def test_launchers_and_options_must_agree(monkeypatch):
    with pytest.raises(UserError, match="--precision fp16 needs CUDA, but the device is cpu"):
        make_fabric("cpu", precision="fp16")
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="--devices 2: torchrun or srun started 4"):
        make_fabric("cpu", 2)
    with pytest.raises(UserError, match="--num-nodes 3: torchrun or srun started 2"):
        make_fabric("cpu", None, 3)


def test_srun_must_know_the_ranks_of_a_node(monkeypatch):
    """Without that number PyTorch would choose the wrong device."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(UserError, match="--ntasks-per-node"):
        make_fabric("cpu")


@pytest.mark.parametrize("gathers", [True, False])
def test_ranks_share_the_statistics_of_batch_normalisation(gathers):
    options = make_fabric("cpu", 2, statistics=gathers).strategy._ddp_kwargs
    assert {value for name, value in options.items() if "buffers" in name} == {gathers}
    assert options["gradient_as_bucket_view"]
