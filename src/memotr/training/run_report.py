"""Report of a run on the terminal, in TensorBoard and in a file of metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from memotr.consoles import console, progress_bar
from memotr.documents import DocumentError, parse_json, read_text
from memotr.errors import UserError
from memotr.files import append_line, replacing, reported
from memotr.terminal import log
from memotr.training.metrics import StepMetrics

METRICS = "metrics.jsonl"


class Report:
    """Report of a run on its first rank. Used as a context manager, it shows a progress bar on a terminal.

    Args:
        folder: folder of the run.
        steps: number of finished steps; metrics of later steps from an interrupted run are removed.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._metrics = folder / METRICS
        _drop_after(self._metrics, steps)
        self._boards = ExitStack()
        self._board = self._boards.enter_context(open_board(folder / "tensorboard", purge_step=steps + 1))
        self._bar = progress_bar(console(stderr=True), "{task.fields[metrics]}", time_left=False, transient=False)
        self._task = self._bar.add_task("", metrics="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        with suppress(UserError):  # a full disk ended the run; every line of metrics was flushed
            self._boards.close()

    def print_line(self, text: str) -> None:
        """Print text above the progress bar."""
        if self._bar.disable:
            log(text)
        else:
            self._bar.console.print(text, soft_wrap=True)

    def begin_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Start the bar of an epoch of ``steps`` steps, of which ``done`` are finished."""
        self._name = f"epoch {epoch + 1}/{epochs}"
        self._steps = steps
        self._bar.update(self._task, description=self._name, total=steps, completed=done)

    def step(self) -> None:
        """Advance the bar by a step."""
        self._bar.update(self._task, advance=1)

    def metrics(self, metrics: StepMetrics) -> None:
        """Report the metrics of the steps since the last call."""
        self._bar.update(self._task, metrics=metrics.as_text())
        if self._bar.disable:
            done = int(self._bar.tasks[0].completed)
            self.print_line(f"{self._name} · step {done}/{self._steps} · {metrics.as_text()}")
        self._write(metrics.as_dict())
        for name, value in metrics.means.items():
            self._board.add_scalar(f"train/{name}", value, metrics.step)
        for name, value in metrics.rates.items():
            self._board.add_scalar(f"rate/{name}", value, metrics.step)
        self._board.add_scalar("run/skipped steps", metrics.skipped, metrics.step)
        self._board.add_scalar("run/seconds per step", metrics.seconds, metrics.step)
        self._board.add_scalar("run/memory in MB", metrics.memory, metrics.step)

    def validation(self, values: Mapping[str, float], step: int, epochs: int) -> None:
        """Report the scores of a validation."""
        self.print_line(
            f"after epoch {epochs}: " + " · ".join(f"{name} {100 * value:.1f}" for name, value in values.items())
        )
        self._write({"step": step, "epochs": epochs, "validation": dict(values)})
        for name, value in values.items():
            self._board.add_scalar(f"validation/{name}", value, step)

    def figure(self, figure: Figure, step: int, epochs: int) -> None:
        """Write a figure as a file and to TensorBoard."""
        with replacing(self._folder / "figures" / f"epoch_{epochs:04d}.png") as beside:
            figure.savefig(beside, format="png")
        self._board.add_figure("predictions", figure, step)

    def _write(self, line: Mapping[str, Any]) -> None:
        append_line(self._metrics, json.dumps(_known(line), allow_nan=False))
        self._board.flush()


def _known(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line with None in place of non-finite numbers, which JSON cannot represent."""

    def known(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _known(value)
        return None if isinstance(value, float) and not isfinite(value) else value

    return {key: known(value) for key, value in line.items()}


@contextmanager
def open_board(folder: Path, purge_step: int | None = None) -> Iterator[SummaryWriter]:
    """Yield a writer of TensorBoard event files.

    If the writer's thread fails, ``flush`` raises OSError, the end of the context raises UserError, and the thread
    prints no traceback.
    """
    usual = threading.excepthook

    def report(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, OSError) or not type(failed.thread).__module__.startswith("tensorboard."):
            usual(failed)

    threading.excepthook = report
    try:
        with reported(folder), closing(SummaryWriter(str(folder), purge_step=purge_step)) as board:
            yield board
    finally:
        threading.excepthook = usual


def _drop_after(file: Path, steps: int) -> None:
    """Remove lines of later steps and an incomplete last line; create the file if it is missing."""
    try:
        text = read_text(file) if file.is_file() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in whole if parse_json(line, file)["step"] <= steps]
    except (DocumentError, KeyError, TypeError):
        raise UserError(f"{file}: has lines that are not metrics of a run; move it away to continue the run") from None
    with replacing(file) as beside:
        beside.write_text("".join(kept))
