"""The commands `memotr info`, `memotr convert` and `memotr export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.cli.shared_options import Configuration, Overrides
from memotr.terminal import say


@app.command()
def info(
    file: Annotated[
        str,
        typer.Argument(help="A checkpoint, an exported tracker, a name of weights, or a Hugging Face folder."),
    ],
) -> None:
    """Describe a weights file and the commands that accept it."""
    from memotr.export.engines import choose_engine
    from memotr.export.info import describe_export
    from memotr.tracking.precision import resolve_precision
    from memotr.weights.describe import describe
    from memotr.weights.model_files import choose_device

    if choose_engine(file, "auto") != "torch":
        show_table(describe_export(file))
        return
    lines = describe(file)
    if "tracking" in lines:  # else no tracker
        device = choose_device("auto")
        lines["tracks with"] = f"--precision {resolve_precision('auto', device)} by default on {device.type} here"
    show_table(lines)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A tracker's checkpoint, a name of weights, or a Hugging Face folder.")],
    target: Annotated[
        Path, typer.Argument(help="File to write: .safetensors (memotr's layout), .pth or .pt (the authors').")
    ],
    config: Annotated[
        str | None,
        typer.Option(
            help="Preset or YAML file with the configuration, if none is found in the weights file or its folder."
        ),
    ] = None,
    overrides: Overrides = None,
    half: Annotated[bool, typer.Option("--half", help="Store tensors as float16, which halves the file size.")] = False,
) -> None:
    """Write weights in another layout; the source is not changed."""
    from memotr.weights.convert import convert as convert_weights

    say(f"wrote {convert_weights(source, target, config=config, settings=overrides or (), half=half)}")


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(help="Weights file (the authors' or ours), a name of weights, or hf://OWNER/NAME.")
    ],
    files: Annotated[
        list[Path], typer.Argument(help="Files to write; each name ends in .onnx or .pt2 (torch.export).")
    ],
    config: Configuration = None,
    overrides: Overrides = None,
) -> None:
    """Export the frame step as ONNX or as a PyTorch program, for images of any size.

    The step takes an image and the tracks and returns the new tracks; births, deaths and memory are part of it. Each
    file is compared with PyTorch on a synthetic video before it is written to its final name. Run it with
    `memotr track VIDEO --checkpoint FILE.onnx`.
    """
    from memotr.export.export_model import export_model
    from memotr.weights.model_files import open_model

    model = open_model(checkpoint, config=config, settings=overrides or (), device="cpu", kernel="reference")
    export_model(model, files, say)


def show_table(lines: dict[str, str]) -> None:
    """Print topics and texts as a table, or as plain lines if standard output is not a terminal."""
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
