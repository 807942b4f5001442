"""What the parity tests share: finding fixtures and building the models that they were computed with."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from memotr.build import build_model
from memotr.config import make_config
from memotr.published import read_published_config
from memotr.weights.published_names import load_published, published_state
from tests.parity import golden

FOLDER = Path(os.environ.get("MEMOTR_GOLDEN_DIR", Path(__file__).parents[1] / "golden"))


@dataclass
class Fixture:
    """One file of golden numbers: ``fixture[name]`` is an array, ``meta`` says how they came about."""

    path: Path

    def __post_init__(self):
        with np.load(self.path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def __contains__(self, name):
        return name in self.arrays


def golden_state_dict(shapes, seed, overwrite=None):
    """State dict with a golden value for every name; shared box heads take the name of the outer one."""
    state = {}
    for name, shape in shapes.items():
        shared = name.replace("transformer.decoder.bbox_embed.", "bbox_embed.")
        state[name] = torch.from_numpy(golden.weight(shared, shape, seed))
    return {**state, **(overwrite or {})}


def model_of(fixture, device="cpu"):
    """Return the model of a fixture, with its golden weights."""
    meta = fixture.meta
    raw = read_published_config(dict(meta["config"]), fixture.path.name)
    raw["classes"] = [f"class {i}" for i in range(meta["num_classes"])]
    model = build_model(make_config(raw, fixture.path.name))
    overwrite = {n.removeprefix("weights/"): fixture[n] for n in fixture.arrays if n.startswith("weights/")}
    shapes = {name: tuple(value.shape) for name, value in published_state(model).items()}
    load_published(model, golden_state_dict(shapes, meta["seed"], overwrite))
    return model.to(device)
