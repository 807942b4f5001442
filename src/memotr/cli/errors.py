"""The command `memotr errors`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.cli.options import Sequences
from memotr.terminal import note, say


@app.command()
def errors(
    run: Annotated[Path, typer.Argument(help="Folder written by `memotr score --output`.")],
    output: Annotated[Path | None, typer.Option(help="HTML page to write.", show_default="RUN/errors.html")] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder that holds the sequences' image folders.", show_default="where the ground truth is"),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Number of errors to show with pictures.")] = 24,
    sequences: Sequences = None,
) -> None:
    """Write an HTML page with the id switches, misses and false positives of a scored run."""
    from memotr.evaluation.progress_bars import ScoringProgress
    from memotr.inspection.error_page import PAGE, write_page
    from memotr.inspection.inspect_run import inspect_run

    path = run / PAGE if output is None else output
    with ScoringProgress("matching") as progress:
        inspection = inspect_run(run, only=sequences or (), progress=progress)
    with ScoringProgress("pictures") as progress:
        notes = write_page(path, inspection, images=images, worst=worst, progress=progress)
    note(*(f"note: {line}" for line in notes))
    for kind, total in (
        ("id switches", sum(len(one.switches) for one in inspection.errors)),
        ("missed boxes", sum(one.missed for one in inspection.errors)),
        ("false boxes", sum(one.false for one in inspection.errors)),
    ):
        say(f"{total:>9,} {kind}")
    say(f"wrote {path}")
