"""Exports that are made in a second."""

import pytest
import torch

from memotr.export.description import describe
from memotr.export.frame_step import INPUTS, STATE
from memotr.export.program import _example, write_program
from tests.builders import tiny_model
from tests.export.attacks import SmallStep, rewrite, saved


@pytest.fixture(scope="session")
def model():
    return tiny_model("dab", 2)


@pytest.fixture(scope="session")
def genuine(model, tmp_path_factory):
    """A small exported program with sample inputs, as earlier versions stored them; beside it tracker.pt2 without."""
    tracks, inputs = torch.export.Dim("tracks"), _example(model)
    sizes = tuple({0: tracks} if name in STATE else None for name in INPUTS)
    program = torch.export.export(SmallStep(), inputs, dynamic_shapes=sizes)
    path = tmp_path_factory.mktemp("genuine") / "tracker.pt2"
    write_program(program, path, describe(model.config))
    old = path.with_name("old.pt2")
    rewrite(path, old, {"data/sample_inputs/model.pt": lambda _: saved((inputs, {}))})
    return old
