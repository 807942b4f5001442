"""The application that every command registers with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="memotr",
    help="End-to-end multi-object tracking with long-term memory (MeMOTR).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
