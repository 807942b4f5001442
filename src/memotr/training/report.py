"""What people see of a run: the terminal, TensorBoard, and a file of metrics that any program can read."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch.utils.tensorboard import SummaryWriter

from memotr.documents import DocumentError, parse_json, read_text
from memotr.errors import UserError
from memotr.files import replacing
from memotr.training.metrics import StepMetrics

METRICS = "metrics.jsonl"


class Report:
    """Tells of a run, on its first rank. Use as a context: it shows a progress bar where there is a terminal."""

    def __init__(self, folder: Path, steps: int) -> None:
        """Metrics that an interrupted run wrote after step ``steps`` are dropped: they come again."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._metrics = folder / METRICS
        _drop_after(self._metrics, steps)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps + 1)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
        )
        self._task = self._bar.add_task("", metrics="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        with suppress(OSError):  # a full disk ended the run; every line of metrics was flushed
            self._board.close()

    def say(self, text: str) -> None:
        """Text for whoever watches, above the progress bar."""
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """An epoch of so many steps begins, or goes on after some of them."""
        self._name = f"epoch {epoch + 1}/{epochs}"
        self._steps = steps
        self._bar.update(self._task, description=self._name, total=steps, completed=done)

    def step(self) -> None:
        """A step is done."""
        self._bar.update(self._task, advance=1)

    def metrics(self, metrics: StepMetrics) -> None:
        """The steps since the last call, in numbers."""
        self._bar.update(self._task, metrics=metrics.as_text())
        if self._bar.disable:
            done = int(self._bar.tasks[0].completed)
            self.say(f"{self._name} · step {done}/{self._steps} · {metrics.as_text()}")
        self._write(metrics.as_dict())
        for name, value in metrics.means.items():
            self._board.add_scalar(f"train/{name}", value, metrics.step)
        for name, value in metrics.rates.items():
            self._board.add_scalar(f"rate/{name}", value, metrics.step)
        self._board.add_scalar("run/skipped steps", metrics.skipped, metrics.step)
        self._board.add_scalar("run/seconds per step", metrics.seconds, metrics.step)
        self._board.add_scalar("run/memory in MB", metrics.memory, metrics.step)

    def validation(self, values: Mapping[str, float], step: int, epochs: int) -> None:
        """What validation after so many epochs gave."""
        self.say(f"after epoch {epochs}: " + " · ".join(f"{name} {100 * value:.1f}" for name, value in values.items()))
        self._write({"step": step, "epochs": epochs, "validation": dict(values)})
        for name, value in values.items():
            self._board.add_scalar(f"validation/{name}", value, step)

    def figure(self, figure: Figure, step: int, epochs: int) -> None:
        """A picture after so many epochs."""
        with replacing(self._folder / "figures" / f"epoch_{epochs:04d}.png") as beside:
            figure.savefig(beside, format="png")
        self._board.add_figure("predictions", figure, step)

    def _write(self, line: Mapping[str, Any]) -> None:
        known = {
            key: None if isinstance(value, float) and not isfinite(value) else value for key, value in line.items()
        }
        with self._metrics.open("a") as file:
            file.write(json.dumps(known) + "\n")
        self._board.flush()


def _drop_after(file: Path, steps: int) -> None:
    """Leave out the lines of later steps, and a last line that was cut off."""
    if not file.is_file():
        return
    try:
        whole = [line for line in read_text(file).splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in whole if parse_json(line, file)["step"] <= steps]
    except (DocumentError, KeyError, TypeError):
        raise UserError(f"{file}: has lines that are not a run's metrics; move it away to go on") from None
    with replacing(file) as beside:
        beside.write_text("".join(kept))
