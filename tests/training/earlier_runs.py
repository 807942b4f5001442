"""Checkpoints of runs that an earlier commit interrupted, records of its networks, and the code that wrote both.

``python -m tests.training.earlier_runs`` writes all of them again. Do this only if the names, groups and order in saved
files are meant to change.

The sums of a run are of the commit that interrupted it. Its digests are of the last commit that changed the order of
sums in a step, and with it the last bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from memotr.build import build_model
from memotr.config import OptimizerConfig, load_config
from memotr.evaluation.run_record import fingerprint
from memotr.training.engine import Training
from memotr.training.optim import make_optimizer
from memotr.training.resume import resolve_run
from memotr.training.run_state import LAST, read_state
from memotr.training.train import train
from memotr.weights.published_names import published, published_state
from tests.training.builders import SMALL, write_videos

VARIANTS = ("dab", "deformable-detr")
RUNS = Path(__file__).parents[1] / "fixtures" / "earlier_runs"
RECORDS = Path(__file__).parent / "published"
STOPPED_AFTER = 7
"""Steps, in the middle of the second of three epochs."""

# Every group trains at a rate of its own, the last epoch trains the memory alone, and the average is another model.
SETTINGS = [
    *SMALL,
    "model.num_decoder_layers=2",
    "model.num_levels=2",
    "model.backbone.width=4",
    "training.ema_decay=0.9",
    "training.epochs=3",
    "training.drop_rate=0.2",
    "training.insert_rate=0.3",
    "training.optimizer={lr_backbone: 2.0e-4, lr_points: 5.0e-5, lr_query_updater: 4.0e-4, only_query_updater_from: 2}",
]


def earlier_run(variant: str) -> Path:
    """Return the checkpoint of a run, under a name that a run never gives."""
    return RUNS / f"{variant}.pt"


def earlier_record(variant: str) -> Path:
    """Return the JSON file of what :func:`describe` and :func:`outcome` said then."""
    return RECORDS / f"{variant}.json"


def one_line_a_name(record: dict) -> str:
    """Return JSON of which only mappings are broken into lines."""
    text = json.dumps(record, indent=1)
    return re.sub(r"\[\s+(.*?),\s+(.*?),\s+(.*?)\s+\]", r"[\1, \2, \3]", text) + "\n"


def machine() -> dict[str, str]:
    """Return the properties of the machine that determine the last bits of a result."""
    return {"torch": torch.__version__, "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of names and values, whatever their order."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def sums(tensors: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return a number for each tensor, in their order, that is the same on all machines but for rounding."""
    return {name: round(tensor.double().abs().sum().item(), 4) for name, tensor in tensors.items()}


def make_network(variant: str):
    """Build a small network with frozen parameters and buffers, and its optimiser."""
    settings = [f"model.variant={variant}", "model.backbone.norm=frozen", "model.backbone.frozen_stages=2"]
    config = load_config("tiny", [*settings, "model.num_decoder_layers=2", "model.num_queries=30"])
    torch.manual_seed(5)
    model = build_model(config)
    return model, make_optimizer(model, OptimizerConfig())


def describe(model, optimizer) -> dict:
    """Return what saved files and runs depend on, by published names and in their order."""
    positions, number = {}, 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            positions[parameter] = (group["name"], number)
            number += 1
    parameters = {
        name: [*positions.get(parameter, (None, None)), parameter.requires_grad]
        for name, parameter in published(model.named_parameters()).items()
    }
    state = published_state(model)
    return {
        "parameters": parameters,
        "state": sums(state),
        "digest": digest(state),
        "fingerprint": fingerprint(with_plain_values(model)),
    }


def with_plain_values(model):
    """Give every tensor values that no machine rounds otherwise, in the order of the published names."""
    for number, (_, tensor) in enumerate(sorted(published_state(model).items())):
        tensor.copy_((torch.arange(tensor.numel()) % 97 + number).view(tensor.shape) / 128)
    return model


def outcome(folder: Path) -> dict:
    """Return what a finished run left: its weights, their average and the moments of the optimiser by position."""
    state = read_state(folder)
    moments = {
        f"{number} {key}": tensor for number, own in state.optimizer["state"].items() for key, tensor in own.items()
    }
    parts = {"model": state.model, "average": state.average["average"], "moments": moments}
    return {
        "digests": {part: digest(tensors) for part, tensors in parts.items()},
        "sums": {part: sums(tensors) for part, tensors in parts.items()},
    }


def interrupt(folder: Path, variant: str, data: Path) -> None:
    """Train until :data:`STOPPED_AFTER`; the folder then holds the checkpoint."""
    step = Training.step

    def stop(self, clips):
        if self.progress.steps == STOPPED_AFTER - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, clips)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "step", stop)
        config = load_config("tiny", [*SETTINGS, f"model.variant={variant}", f"data.root={data}"])
        assert train(config, folder, device="cpu") == 128 + signal.SIGTERM


def resume(folder: Path, data: Path) -> None:
    """Train on to the last epoch, with the data wherever it lies now."""
    config, output, state = resolve_run(None, [f"data.root={data}"], {}, None, folder)
    assert state.progress.steps == STOPPED_AFTER
    assert train(config, output, state=state, device="cpu") == 0


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        data = write_videos(Path(temporary) / "data")
        for variant in VARIANTS:
            run = Path(temporary) / variant
            interrupt(run, variant, data)
            shutil.copyfile(run / LAST, earlier_run(variant))
            resume(run, data)
            network = describe(*make_network(variant))
            record = {"machine": machine(), "network": network, "run": outcome(run)}
            earlier_record(variant).write_text(one_line_a_name(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
