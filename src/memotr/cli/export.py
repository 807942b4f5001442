"""The command `memotr export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.cli.options import Configuration, Overrides
from memotr.terminal import say


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Weights file (the authors' or ours), or the name of a preset.")],
    files: Annotated[
        list[Path], typer.Argument(help="Files to write; each name ends in .onnx or .pt2 (torch.export).")
    ],
    config: Configuration = None,
    overrides: Overrides = None,
) -> None:
    """Export the frame step as ONNX or as a PyTorch program, for images of any size.

    The step takes an image and the tracks and returns the new tracks; births, deaths and memory are part of it. Each
    file is checked against PyTorch on a synthetic video before it gets its name. Run it with
    `memotr track VIDEO --checkpoint FILE.onnx`.
    """
    from memotr.export.run import export_model
    from memotr.weights.tracker import load_model

    model = load_model(checkpoint, config=config, settings=overrides or (), device="cpu", kernel="reference")
    export_model(model, files, say)
