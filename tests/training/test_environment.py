"""What is recorded of a run's surroundings, and what is not."""

import json
import math
import sys

import pytest
import torch
from lightning_fabric import Fabric

from memotr.bench.machine import describe_machine
from memotr.training.environment import describe_environment
from memotr.training.run_report import _known


def test_a_recorded_command_line_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["memotr", "train", "--set=a.b=http://u:s3cr3t@host/x?k=s3cr3t", "http:/u:s3cr3t@h"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert describe_environment(Fabric(accelerator="cpu"))["command"] == [
        "memotr",
        "train",
        "--set=a.b=http://host/x",
        "http:/h",
    ]
    assert describe_machine(torch.device("cpu"))["command"] == "memotr train --set=a.b=http://host/x http:/h"


def test_metrics_that_are_no_numbers() -> None:
    line = {"step": 3, "loss": math.nan, "validation": {"HOTA": math.inf, "MOTA": -0.5}, "skipped": 0}
    expected = {"step": 3, "loss": None, "validation": {"HOTA": None, "MOTA": -0.5}, "skipped": 0}
    assert json.loads(json.dumps(_known(line), allow_nan=False)) == expected
