"""How work on many files shows on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from memotr.consoles import console, progress_bar


class ScoringProgress:
    """A bar on stderr, told of every sequence that is scored; gone when all are, and none where it is no terminal."""

    def __init__(self, doing: str = "scoring") -> None:
        self._bar = progress_bar(console(stderr=True), "{task.description}", title=doing)
        self._task = self._bar.add_task("reading", total=None)

    def __call__(self, name: str, total: int) -> None:
        """One more sequence of ``total`` is done."""
        self._bar.update(self._task, advance=1, total=total, description=name)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
