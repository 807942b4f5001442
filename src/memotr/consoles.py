"""Rich consoles and progress bars that show text from outside as it is: no markup, no control characters."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import TextColumn
from rich.segment import Segment

from memotr.terminal import printable


class SafeConsole(Console):
    """A Rich console that takes no markup and escapes control characters in whatever it renders."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:  # line feeds are Rich's own, between the lines of a table
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


def console(*, stderr: bool = False, width: int | None = None) -> SafeConsole:
    """Return a console for tables and progress bars.

    Args:
        stderr: write to standard error.
        width: number of columns where the stream is not a terminal; None: Rich's default of 80.
    """
    stream = sys.stderr if stderr else sys.stdout
    return SafeConsole(stderr=stderr, width=None if stream.isatty() else width)


def text_column(template: str) -> TextColumn:
    """Return a column of a progress bar whose fields may hold any text."""
    return TextColumn(template, markup=False)
