"""Evaluation of the checkpoints of a training run as soon as they are written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_fabric import Fabric

from memotr.config import load_config
from memotr.errors import UserError
from memotr.evaluation.checkpoints import CheckpointDeletedError, Evaluation
from memotr.evaluation.run_folder import METRICS
from memotr.evaluation.scoring import Scores
from memotr.files import hold_run
from memotr.training.devices import launch
from memotr.training.run_report import open_board
from memotr.weights.model_files import PUBLISHED_CONFIGS

SHOWN = ("TETA", "HOTA", "DetA", "AssA", "MOTA", "IDF1")
NUMBERED = re.compile(r"(?:epoch|checkpoint)_(\d+)\.(?:pt|pth|safetensors)")
POLL_SECONDS = 15  # seconds between two reads of the folder
COMPLETE_AFTER_SECONDS = 10  # seconds without a change after which a file of the authors' code counts as complete


class NumberedCheckpoint(NamedTuple):
    """Checkpoint file of a training run with a number: ``epoch_0012.pt``, or the authors' ``checkpoint_11.pth``.

    Attributes:
        number: number in its name: completed epochs, or (authors' code) the epoch, from 0, after which it was written.
        path: path of the file.
    """

    number: int
    path: Path


def watch_training(
    evaluation: Evaluation, folder: Path, output: Path, *, once: bool, report: Callable[[str], None]
) -> None:
    """Score every checkpoint, with output in ``output/<name>`` and TensorBoard curves in ``output/tensorboard``.

    Args:
        evaluation: settings of the evaluation. Call this function on every rank.
        folder: folder of the training run.
        output: folder for scores; checkpoints with scores in it are not evaluated again.
        once: return when there are no more checkpoints, rather than at the end of the training.
        report: function called with a line for each checkpoint, including deleted ones.

    Raises:
        UserError, SystemExit: as for :meth:`memotr.evaluation.checkpoints.Evaluation.track`.
    """
    numbered_checkpoints(folder)  # raises for a missing folder, before processes are started
    launch(evaluation.fabric)
    with hold_run(evaluation.fabric, output):
        _watch(evaluation, folder, output, once=once, report=report)


def _watch(evaluation: Evaluation, folder: Path, output: Path, *, once: bool, report: Callable[[str], None]) -> None:
    for checkpoint in follow(evaluation.fabric, folder, output, once=once):
        try:
            scored = evaluation.score(checkpoint.path, output / checkpoint.path.stem, may_be_deleted=True)
        except CheckpointDeletedError:  # training deletes the oldest checkpoint first, which may be this one
            if evaluation.fabric.is_global_zero:
                if checkpoint.path.exists():  # not visible on another machine yet: retry
                    time.sleep(POLL_SECONDS)
                else:
                    report(f"{checkpoint.path.name}: was deleted before it was evaluated")
            continue
        if scored is not None:
            values = main_scores(scored[0])
            with open_board(output / "tensorboard") as board:
                for name, value in values.items():
                    board.add_scalar(name, value, checkpoint.number)
            shown = " · ".join(f"{name} {100 * values[name]:.1f}" for name in SHOWN if name in values)
            for line in (shown, *scored[0].notes):
                report(f"{checkpoint.path.name}: {line}")


def main_scores(scores: Scores) -> dict[str, float]:
    """Return combined scores under TrackEval's names; for BDD100K also those of TETA (name clashes as ``TETA/…``)."""
    teta = {} if scores.teta is None else scores.teta.combined.mean.summary()
    return scores.combined | {f"TETA/{name}" if name in scores.combined else name: v for name, v in teta.items()}


def numbered_checkpoints(folder: Path) -> list[NumberedCheckpoint]:
    """Return the complete checkpoints of a folder in order, without those that are perhaps still being written.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        matches = [(NUMBERED.fullmatch(file.name), file) for file in folder.iterdir()]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
    return sorted(NumberedCheckpoint(int(match[1]), file) for match, file in matches if match and _is_complete(file))


def is_last(checkpoint: NumberedCheckpoint) -> bool:
    """Return whether a checkpoint is from the last epoch, according to the configuration in its folder."""
    for place in PUBLISHED_CONFIGS:
        file = checkpoint.path.parent / place
        if file.is_file():
            done = checkpoint.number + checkpoint.path.name.startswith("checkpoint")
            return done >= load_config(file).training.epochs
    return False


def follow(fabric: Fabric, folder: Path, output: Path, *, once: bool) -> Iterator[NumberedCheckpoint]:
    """Yield each checkpoint that has no scores in ``output/<name>``, the same on every rank.

    Args:
        fabric: launched fabric.
        folder: folder of the training run.
        output: folder where the caller must write the scores of a checkpoint before it requests the next one.
        once: stop when there are no more checkpoints, rather than wait for new ones until the end of the training.
    """
    while True:
        complete = numbered_checkpoints(folder) if fabric.is_global_zero else []
        waiting = [c for c in complete if not (output / c.path.stem / METRICS).is_file()]
        over = once or any(map(is_last, complete[-1:]))
        found, over = fabric.broadcast((waiting[0] if waiting else None, over))
        if found is not None:
            yield found
        elif over:
            return
        else:
            time.sleep(POLL_SECONDS)


def _is_complete(file: Path) -> bool:
    """Return whether a file is complete. Files written by this package always are; ``.pth`` may be incomplete."""
    try:
        changed = file.stat().st_mtime
    except FileNotFoundError:
        return False
    return file.suffix != ".pth" or time.time() - changed > COMPLETE_AFTER_SECONDS
