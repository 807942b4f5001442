"""Record of a run's environment, without credentials."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from memotr.bench.machine import describe_machine
from memotr.documents import read_json
from memotr.training.environment import append_environment, describe_environment
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


def test_a_recorded_command_line_can_be_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bytes of file names that are not UTF-8 included; the record is read at the next start."""
    monkeypatch.setattr(sys, "argv", ["memotr", "caf\udce9"])
    for _ in range(2):
        append_environment(tmp_path / "starts.json", describe_environment(Fabric(accelerator="cpu")))
    assert [start["command"] for start in read_json(tmp_path / "starts.json")] == [["memotr", r"caf\xe9"]] * 2
    assert describe_machine(torch.device("cpu"))["command"] == r"memotr 'caf\xe9'"


def test_metrics_that_are_no_numbers() -> None:
    line = {"step": 3, "loss": math.nan, "validation": {"HOTA": math.inf, "MOTA": -0.5}, "skipped": 0}
    expected = {"step": 3, "loss": None, "validation": {"HOTA": None, "MOTA": -0.5}, "skipped": 0}
    assert json.loads(json.dumps(_known(line), allow_nan=False)) == expected
