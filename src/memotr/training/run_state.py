"""State from which a training run continues, stored as tensors and plain values only."""

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
from memotr.weights.checkpoint import HEADER, make_header, read_checkpoint
from memotr.weights.kinds import Kind
from memotr.weights.tensor_files import check_finite, read_torch, tensors_in, write_torch

LAST = "last.pt"


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        epoch: number of finished epochs, which is the index of the current one.
        clips: number of clips of the current epoch that all ranks together have used.
        steps: number of optimiser steps since the start, including skipped ones.
        skipped: number of steps without effect because loss or gradient were not finite.
        skipped_in_a_row: number of consecutive skipped steps up to now.
        best: best validation score so far; None before the first validation.
        outcome_due: the last finished epoch is saved, but not yet exported, drawn and validated.
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
    """State of a run between two steps.

    Learning rates are not stored, because they follow from the settings and the epoch.

    Attributes:
        settings: the configuration as plain values.
        progress: progress of the run.
        model: weights and buffers by published name.
        optimizer: state of the optimiser.
        scaler: state of the loss scale for float16; empty without one.
        average: moving average of the weights; None without one.
        ranks: state of each rank: random number generators, and sums since the last line of metrics.
    """

    settings: dict[str, Any]
    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Any] | None
    ranks: list[dict[str, Any]]


def write_state(path: Path, state: RunState) -> None:
    """Write a state; an older file is replaced once the new one is complete. Raises UserError if that fails."""
    content = {field.name: getattr(state, field.name) for field in fields(state)}
    header = make_header(content.pop("settings"), state.progress.epoch) | {"iterations": state.progress.steps}
    write_torch(path, {HEADER: header, **content, "progress": asdict(state.progress)})


def read_state(path: Path) -> RunState:
    """Read the checkpoint of a run, or the last one in the folder of a run.

    Raises:
        UserError: there is no such file; it has no training state, or numbers that are not finite; or it was written by
            a version of this package with another format of the state.
    """
    if path.is_dir():
        if not (path / LAST).is_file():
            raise UserError(f"{path}: has no {LAST}, so it is not a run that can be resumed")
        path = path / LAST
    kind = read_checkpoint(path).kind
    if kind is not Kind.TRAINING:
        raise UserError(
            f"{path}: is a {kind} without a training state; to start a new run from its weights use --pretrained {path}"
        )
    content = read_torch(path)
    settings = content[HEADER]["config"]
    known = [field.name for field in fields(RunState) if field.name not in ("settings", "progress")]
    try:
        state = RunState(settings, Progress(**content["progress"]), **{name: content[name] for name in known})
        check_finite(state.model, path)
        check_finite(
            {f"tensor {k} of the optimizer": tensor for k, tensor in enumerate(tensors_in(state.optimizer))}, path
        )
        return state
    except KeyError as error:
        problem = f"it has no {error}"
    except TypeError as error:
        problem = f"progress: {str(error).removeprefix('Progress.__init__() ')}"
    raise UserError(
        f"{path}: this version of memotr cannot continue from its training state ({problem}); use the version that "
        f"wrote it, or start a new run from its weights with --pretrained {path}"
    )


def keep_epoch(folder: Path, epoch: int, keep_last: int, keep_every: int) -> None:
    """Keep ``last.pt`` as the checkpoint of an epoch and delete older ones.

    Checkpoints of later epochs, from before the run was resumed at an earlier one, are kept.

    Args:
        folder: folder of the run.
        epoch: number of finished epochs.
        keep_last: number of latest epochs whose checkpoints are kept.
        keep_every: checkpoints of every multiple of this number of epochs are never deleted; 0: all may be.
    """
    kept = folder / f"epoch_{epoch:04d}.pt"
    with replacing(kept) as beside:
        beside.unlink()
        try:
            os.link(folder / LAST, beside)  # a hard link: the next checkpoint replaces the other name only
        except OSError:  # the file system has no hard links
            shutil.copyfile(folder / LAST, beside)
    numbered = {
        int(found[1]): file for file in folder.iterdir() if (found := re.fullmatch(r"epoch_(\d+)\.pt", file.name))
    }
    for number in sorted(number for number in numbered if number <= epoch)[:-keep_last]:
        if not keep_every or number % keep_every:
            numbered[number].unlink()


def generator_states() -> dict[str, Any]:
    """Return the states of the random number generators of PyTorch, NumPy and Python."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 (other code may use it)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (algorithm, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Restore the states from :func:`generator_states`."""
    random.setstate(states["python"])
    algorithm, keys, *rest = states["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
