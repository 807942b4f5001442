"""Data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memotr.cli.application import app
from memotr.errors import UserError

data_commands = typer.Typer(help="Look at data sets.", no_args_is_help=True)
app.add_typer(data_commands, name="data")


@data_commands.command("check")
def check_data(
    path: Annotated[Path, typer.Argument(help="A data set, a split of it (MOT17/val_half), or one sequence.")],
    format: Annotated[
        Literal["auto", "mot", "mot17", "motsynth", "crowdhuman", "bdd100k", "coco-video", "generated"],
        typer.Option(help="auto: what it looks like, or what its dataset.yaml says."),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="One split of PATH.", show_default="all")] = None,
    sheet: Annotated[Path, typer.Option(help="Picture of annotated frames to write.")] = Path("data-check.png"),
    full: Annotated[bool, typer.Option("--full", help="Decode every image, not a sample.")] = False,
) -> None:
    """Say what a data set holds and all that is wrong with it; exit code 2 where training would fail."""
    from rich.console import Console

    from memotr.data.check import check
    from memotr.data.contact_sheet import contact_sheet, write_png
    from memotr.data.report import print_report

    report = check(path, format=format, split=split, full=full, progress=Console(stderr=True))
    print_report(report)
    if report.sequences:
        write_png(contact_sheet(report.sequences), sheet)
        typer.echo(f"annotated frames: {sheet}")
    if report.problems.errors:
        raise UserError(f"{path}: {len(report.problems.errors)} errors, told above: training would fail")
