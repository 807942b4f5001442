"""Rich consoles and progress bars that are safe for any text: no markup, no control characters."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from memotr.terminal import printable


class SafeConsole(Console):
    """Rich console without markup that escapes control characters in everything it renders."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, with control characters escaped in texts from outside."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:  # Rich itself adds line feeds between the lines of a table
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


def console(*, stderr: bool = False, width: int | None = None) -> SafeConsole:
    """Return a console for tables and progress bars.

    Args:
        stderr: write to standard error.
        width: number of columns where the stream is not a terminal; None: Rich's default of 80.
    """
    stream = sys.stderr if stderr else sys.stdout
    return SafeConsole(stderr=stderr, width=None if stream.isatty() else width)


def progress_bar(
    target: SafeConsole | None,
    *details: str,
    title: str = "{task.description}",
    time_left: bool = True,
    transient: bool = True,
    visible: bool | None = None,
) -> Progress:
    """Return a progress bar: a title, the bar, the count, details and the time left.

    Args:
        target: console to draw on; None draws nothing.
        details: templates of the texts after the count, such as ``"{task.fields[speed]}"``. Fields may hold any text.
        title: template of the text before the bar.
        time_left: end with an estimate of the remaining time.
        transient: remove the bar at the end.
        visible: draw the bar; None draws it if ``target`` is a terminal.
    """
    if visible is None:
        visible = target is not None and target.is_terminal
    return Progress(
        TextColumn(title, markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        *(TextColumn(detail, markup=False) for detail in details),
        *([TimeRemainingColumn()] if time_left else ()),
        console=target,
        expand=True,
        transient=transient,
        disable=not visible,
    )
