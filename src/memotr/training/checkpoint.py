"""What a training run needs to go on where it stopped: tensors and plain values, so that reading runs no code."""

from __future__ import annotations

import os
import random
import re
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memotr.errors import UserError
from memotr.files import replacing
from memotr.weights.checkpoint import HEADER, Kind, make_header, read_checkpoint
from memotr.weights.files import read_torch, write_torch

LAST = "last.pt"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: the epoch being trained, from 0: so many are finished.
        clips: of it that all ranks together have seen.
        steps: of the optimiser since the beginning, those skipped included.
        skipped: steps without effect because loss or gradient were not finite.
        skipped_in_a_row: the last of them, if the last step was one.
        best: what the best validation gave so far.
        outcome_due: an epoch is over and saved, but not exported, drawn and validated yet.
    """

    epoch: int = 0
    clips: int = 0
    steps: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best: float | None = None
    outcome_due: bool = False


@dataclass(frozen=True, eq=False)
class RunState:
    """A run between two steps.

    There is nothing to say of the learning rates: they follow from the settings and the epoch.

    Attributes:
        settings: the configuration, as plain values.
        progress: how far it is.
        model: tensors by their published names.
        optimizer: state of the optimiser.
        scaler: of the loss scale for float16; empty without.
        average: moving average of the weights; None without.
        ranks: what each rank has of its own: its random number generators, its sums since the last line of metrics.
    """

    settings: dict[str, Any]
    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Any] | None
    ranks: list[dict[str, Any]]


def write_state(path: Path, state: RunState) -> None:
    """Write beside ``path`` and take its place once complete. Raises UserError, with the old file in place."""
    content = {field.name: getattr(state, field.name) for field in fields(state)}
    header = make_header(content.pop("settings"), state.progress.epoch) | {"iterations": state.progress.steps}
    write_torch(path, {HEADER: header, **content, "progress": asdict(state.progress)})


def read_state(path: Path) -> RunState:
    """Read the checkpoint of a run, or the last one in the folder of a run.

    Raises:
        UserError: nothing there, or a file of weights that is no checkpoint of a run: what it is, and what takes it; or
            a checkpoint of a version of this package that kept something else.
    """
    if path.is_dir():
        if not (path / LAST).is_file():
            raise UserError(f"{path}: holds no {LAST}, so no run of memotr can be resumed from there")
        path = path / LAST
    kind = read_checkpoint(path).kind
    if kind is not Kind.TRAINING:
        raise UserError(
            f"{path}: is a {kind} without the state of its training; to start a new training from its weights use "
            f"--pretrained {path}"
        )
    content = read_torch(path)
    settings = content[HEADER]["config"]
    known = [field.name for field in fields(RunState) if field.name not in ("settings", "progress")]
    try:
        return RunState(settings, Progress(**content["progress"]), **{name: content[name] for name in known})
    except KeyError as error:
        problem = f"it has no {error}"
    except TypeError as error:
        problem = f"progress: {str(error).removeprefix('Progress.__init__() ')}"
    raise UserError(
        f"{path}: the state of its training is not one that this memotr can go on from ({problem}); take the version "
        f"that wrote it, or start a new training from its weights with --pretrained {path}"
    )


def keep_epoch(folder: Path, epoch: int, keep_last: int, keep_every: int) -> None:
    """Keep ``last.pt`` as the checkpoint after so many epochs, and drop older ones.

    Later ones, of a run that went on from an earlier epoch, stay until their turn comes again.

    Args:
        folder: of the run.
        epoch: number of epochs finished.
        keep_last: how many epochs' checkpoints stay.
        keep_every: those of every so many epochs stay for good; 0: none.
    """
    kept = folder / f"epoch_{epoch:04d}.pt"
    with replacing(kept) as beside:
        beside.unlink()
        try:
            os.link(folder / LAST, beside)  # one file, two names: the next checkpoint replaces a name only
        except OSError:  # the file system has no such links
            shutil.copyfile(folder / LAST, beside)
    numbered = {
        int(found[1]): file for file in folder.iterdir() if (found := re.fullmatch(r"epoch_(\d+)\.pt", file.name))
    }
    for number in sorted(number for number in numbered if number <= epoch)[:-keep_last]:
        if not keep_every or number % keep_every:
            numbered[number].unlink()


def generator_states() -> dict[str, Any]:
    """States of this process's random number generators: PyTorch's, NumPy's and Python's."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 (others may draw from it)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (algorithm, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Make the generators go on from where :func:`generator_states` found them."""
    random.setstate(states["python"])
    algorithm, keys, *rest = states["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
