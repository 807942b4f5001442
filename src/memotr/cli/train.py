"""Training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memotr.cli.application import app
from memotr.errors import UserError


@app.command()
def train(
    config: Annotated[
        str | None,
        typer.Argument(help="A preset, or a YAML file (ours or the authors'); with --resume it may be left out."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Single settings as key=value, such as training.epochs=10.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets.", show_default="as configured")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for all that the run leaves.", show_default="runs/NAME, or the resumed run's"),
    ] = None,
    pretrained: Annotated[
        Path | None, typer.Option(help="Weights to start from: a COCO detector, or a tracker to be trained further.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run: its folder, or one of the checkpoints in it.")
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Processes on this machine.", show_default="every CUDA device; one on a CPU"
        ),
    ] = None,
    num_nodes: Annotated[int | None, typer.Option(min=1, max=10_000, help="Machines.", show_default="1")] = None,
    accelerator: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="What to compute on; auto prefers CUDA.")
    ] = "auto",
    precision: Annotated[
        Literal["32", "bf16", "fp16"] | None,
        typer.Option(help="Of the heavy arithmetic.", show_default="as configured"),
    ] = None,
    checkpoint_activations: Annotated[
        str | None,
        typer.Option(
            help="Parts that trade time for memory, of backbone,encoder,decoder.", show_default="as configured"
        ),
    ] = None,
    val_every: Annotated[
        int | None, typer.Option(min=0, help="Epochs between validations; 0: none.", show_default="as configured")
    ] = None,
) -> None:
    """Train a tracker: from a detector, from a tracker, or from nothing.

    The folder of a run holds its configuration (which this command takes again), checkpoints to --resume from, weights
    for `memotr track --checkpoint` (last.safetensors), metrics.jsonl, TensorBoard's files and figures. Ctrl-C, SIGTERM,
    SIGHUP (a terminal that closes) and SIGUSR1 end a run after the step it is in, with a checkpoint; the exit code is
    then 128 + the signal's number. Works as it is under torchrun and SLURM.
    """
    from memotr.evaluation.validation import make_validation
    from memotr.training.options import settle, with_validation
    from memotr.training.run import train as run

    given = {
        "data.root": None if data_root is None else str(data_root),
        "training.precision": precision,
        "training.checkpoint_activations": checkpoint_activations and checkpoint_activations.split(","),
        "training.output.val_every": val_every,
    }
    if resume is not None and pretrained is not None:
        raise UserError(
            f"--resume {resume} goes on with a run, which has weights; --pretrained {pretrained} begins another one: "
            "leave one of them out"
        )
    chosen, folder, state = settle(config, settings or [], given, output, resume)
    chosen = with_validation(chosen)
    wanted = chosen.training.output.val_every > 0
    code = run(
        chosen,
        folder,
        validate=make_validation(chosen, folder / "validation") if wanted else None,
        state=state,
        pretrained=pretrained,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
    )
    if code:
        raise typer.Exit(code)
