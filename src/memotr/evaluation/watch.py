"""Every checkpoint of a running training, evaluated as it comes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_fabric import Fabric

from memotr.config import load_config
from memotr.errors import UserError
from memotr.evaluation.checkpoints import Evaluation, GoneError
from memotr.evaluation.run_folder import METRICS
from memotr.evaluation.scoring import Scores
from memotr.files import hold_run
from memotr.training.devices import launch
from memotr.training.report import open_board
from memotr.weights.tracker import PUBLISHED_CONFIGS

SHOWN = ("TETA", "HOTA", "DetA", "AssA", "MOTA", "IDF1")
NUMBERED = re.compile(r"(?:epoch|checkpoint)_(\d+)\.(?:pt|pth|safetensors)")
POLL = 15  # seconds between two looks into the folder
SETTLED = 10  # seconds without a change, after which a file of the authors' code is taken to be written


class Numbered(NamedTuple):
    """A checkpoint that a training keeps: ``epoch_0012.pt``, or ``checkpoint_11.pth`` of the authors' code.

    Attributes:
        number: in its name: epochs done, or (the authors') the epoch it was written after, from 0.
        path: of the file.
    """

    number: int
    path: Path


def watch_training(
    evaluation: Evaluation, folder: Path, output: Path, *, once: bool, tell: Callable[[str], None]
) -> None:
    """Score every checkpoint into ``output/<name>`` and draw the curves for TensorBoard in ``output/tensorboard``.

    Args:
        evaluation: on what, and how. Called by every rank.
        folder: of the training.
        output: checkpoints that have their scores here are not evaluated again.
        once: end when there is no more checkpoint; otherwise when the training has come to its end.
        tell: takes a line for each checkpoint, also for one that is gone before it was evaluated.

    Raises:
        UserError, SystemExit: as :meth:`memotr.evaluation.checkpoints.Evaluation.track`.
    """
    numbered_checkpoints(folder)  # a folder that is not there is to be known before processes are started
    launch(evaluation.fabric)
    with hold_run(evaluation.fabric, output):
        _watch(evaluation, folder, output, once=once, tell=tell)


def _watch(evaluation: Evaluation, folder: Path, output: Path, *, once: bool, tell: Callable[[str], None]) -> None:
    for checkpoint in follow(evaluation.fabric, folder, output, once=once):
        try:
            scored = evaluation.score(checkpoint.path, output / checkpoint.path.stem, fleeting=True)
        except GoneError:  # the oldest is what comes next, here and where a training makes room
            if evaluation.fabric.is_global_zero:
                if checkpoint.path.exists():  # another machine does not see it yet
                    time.sleep(POLL)
                else:
                    tell(f"{checkpoint.path.name}: was deleted before it was evaluated")
            continue
        if scored is not None:
            values = main_scores(scored[0])
            with open_board(output / "tensorboard") as board:
                for name, value in values.items():
                    board.add_scalar(name, value, checkpoint.number)
            shown = " · ".join(f"{name} {100 * values[name]:.1f}" for name in SHOWN if name in values)
            tell(f"{checkpoint.path.name}: {shown}")


def main_scores(scores: Scores) -> dict[str, float]:
    """Of all sequences together: TrackEval's names, for BDD100K those of TETA (as ``TETA/…``), too."""
    teta = {} if scores.teta is None else scores.teta.combined.mean.summary()
    return scores.combined | {f"TETA/{name}" if name in scores.combined else name: v for name, v in teta.items()}


def numbered_checkpoints(folder: Path) -> list[Numbered]:
    """In order; those that may still be being written are left out.

    Raises:
        UserError: there is no such folder.
    """
    try:
        files = [file for file in folder.iterdir() if NUMBERED.fullmatch(file.name)]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None
    return sorted(Numbered(int(NUMBERED.fullmatch(file.name)[1]), file) for file in files if _settled(file))  # type: ignore[index]


def is_last(checkpoint: Numbered) -> bool:
    """Whether the training that wrote it had no more epochs to come, as far as its configuration tells."""
    for place in PUBLISHED_CONFIGS:
        file = checkpoint.path.parent / place
        if file.is_file():
            done = checkpoint.number + checkpoint.path.name.startswith("checkpoint")
            return done >= load_config(file).training.epochs
    return False


def follow(fabric: Fabric, folder: Path, output: Path, *, once: bool) -> Iterator[Numbered]:
    """The checkpoints that have no scores in ``output/<name>`` yet, one after the other, the same on every rank.

    Args:
        fabric: launched.
        folder: of the training.
        output: where whoever asks for the next one has put the scores of the last.
        once: end when there is no more; otherwise wait for new ones until the training has come to its end.
    """
    while True:
        there = numbered_checkpoints(folder) if fabric.is_global_zero else []
        waiting = [c for c in there if not (output / c.path.stem / METRICS).is_file()]
        over = once or any(map(is_last, there[-1:]))
        found, over = fabric.broadcast((waiting[0] if waiting else None, over))
        if found is not None:
            yield found
        elif over:
            return
        else:
            time.sleep(POLL)


def _settled(file: Path) -> bool:
    """Files of this project appear whole."""
    try:
        changed = file.stat().st_mtime
    except FileNotFoundError:
        return False
    return file.suffix != ".pth" or time.time() - changed > SETTLED
