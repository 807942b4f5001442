"""The tracker for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.terminal import say


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Weights file (the authors' or ours), or the name of a preset.")],
    files: Annotated[list[Path], typer.Argument(help="What to write: each ends in .onnx or .pt2 (torch.export).")],
    config: Annotated[
        str | None, typer.Option(help="Preset or YAML file, if it is not found with the weights.")
    ] = None,
) -> None:
    """Write the step from frame to frame as ONNX or as a program of PyTorch, for images of any size.

    Image and tracks go in, tracks come out: births, deaths and memory are inside. Each file is checked against PyTorch
    on a made-up video before it takes its name. `memotr track VIDEO --checkpoint FILE.onnx` runs it with ONNX Runtime.
    """
    from memotr.export.run import export_model
    from memotr.weights.tracker import load_model

    export_model(load_model(checkpoint, config=config, device="cpu", kernel="reference"), files, say)
