"""What a file of weights is, and the same weights in another layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.terminal import say


@app.command()
def info(
    file: Annotated[
        Path,
        typer.Argument(help="A checkpoint, an exported tracker, a preset with weights, or a Hugging Face folder."),
    ],
) -> None:
    """Say what a file of weights is, and which command takes it."""
    from memotr.export.engines import choose_engine
    from memotr.export.info import describe_export
    from memotr.weights import describe

    show_table(describe(file) if choose_engine(file, "auto") == "torch" else describe_export(file))


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="A tracker's checkpoint, a preset with weights, or a Hugging Face folder.")
    ],
    target: Annotated[Path, typer.Argument(help="Ends in .safetensors (memotr's layout), .pth or .pt (the authors').")],
    config: Annotated[str | None, typer.Option(help="Configuration, where it is not found.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
) -> None:
    """Rewrite weights in another layout; the source stays as it is."""
    from memotr.weights import convert as convert_weights

    say(f"wrote {convert_weights(source, target, config=config, half=half)}")


def show_table(lines: dict[str, str]) -> None:
    """Topics and texts as a table; as plain lines where nobody looks."""
    if not sys.stdout.isatty():
        for topic, text in lines.items():
            say(f"{topic}: {text}")
        return
    from rich.table import Table

    from memotr.consoles import console

    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for topic, text in lines.items():
        table.add_row(topic, text)
    console().print(table)
