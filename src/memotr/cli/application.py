"""Typer application with all commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import memotr
from memotr.terminal import say

MOST_FRAMES = 10**9
"""Upper limit of options that count frames: about a year of video."""

USE = ("demo", "track", "train", "eval", "score", "compare", "errors", "submit")
TOOLS = ("data", "info", "convert", "export", "bench")


class Commands(TyperGroup):
    """Command group that lists its commands in the order of a user's first steps."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=(*USE, *TOOLS).index)


app = typer.Typer(
    name="memotr",
    cls=Commands,
    help="End-to-end multi-object tracking with long-term memory (MeMOTR).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"memotr {memotr.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
