"""The command `memotr train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from memotr.cli.application import app, importing
from memotr.cli.shared_options import DeviceKind, Devices, Nodes, Overrides
from memotr.vocabulary import ModelPart, TrainingPrecision


@app.command()
def train(
    config: Annotated[
        str | None,
        typer.Argument(help="Preset or YAML file (ours or the authors'); not needed with --resume."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings as key=value, such as training.epochs=10.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own data set; replaces the configured data sets and classes. With --pretrained and no "
            "preset, all other settings are those of the weights."
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets.", show_default="as configured")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for all files of the run.", show_default="runs/NAME, or the resumed run's"),
    ] = None,
    pretrained: Annotated[
        Path | None, typer.Option(help="Weights to start from, by file or name: a COCO detector, or a tracker.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Run to continue: its folder, or a checkpoint in it.")] = None,
    overrides: Overrides = None,
    devices: Devices = None,
    num_nodes: Nodes = None,
    device: DeviceKind = "auto",
    precision: Annotated[
        TrainingPrecision | None,
        typer.Option(help="Numerical precision of the network; 32 is float32.", show_default="as configured"),
    ] = None,
    checkpoint_activations: Annotated[
        str | None,
        typer.Option(
            help="Parts to recompute in the backward pass to save memory, separated by commas: "
            f"{', '.join(get_args(ModelPart))}.",
            show_default="as configured",
        ),
    ] = None,
    frames_at_once: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest number of frames of a clip that are encoded as one batch; fewer need less memory.",
            show_default="worked out for a new run",
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Compile encoder and decoder with torch.compile; the first steps of each run take minutes.",
            show_default="as configured",
        ),
    ] = None,
    val_every: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of epochs between validations; 0 disables them.", show_default="as configured"
        ),
    ] = None,
) -> None:
    """Train a tracker from a detector, from another tracker, or from scratch.

    The folder of a run contains its configuration (which this command accepts, too), checkpoints for --resume,
    weights for `memotr track --checkpoint` (last.safetensors), metrics.jsonl, TensorBoard files and figures. Ctrl-C,
    SIGTERM, SIGHUP (a closed terminal) and SIGUSR1 end a run after the current step, with a checkpoint; the exit code
    is then 128 + the signal's number. torchrun and SLURM are supported.
    """
    with importing():
        from memotr.api import run_training

    given = {
        "data.root": None if data_root is None else str(data_root),
        "training.precision": precision,
        "training.checkpoint_activations": checkpoint_activations and checkpoint_activations.split(","),
        "training.frames_at_once": frames_at_once,
        "training.compile": compile,
        "training.output.val_every": val_every,
    }
    chosen = [*(settings or []), *(overrides or [])]
    _, code = run_training(config, chosen, given, output, resume, data, pretrained, device, devices, num_nodes)
    if code:
        raise typer.Exit(code)
