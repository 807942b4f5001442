"""Data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memotr.cli.application import app
from memotr.errors import UserError
from memotr.signals import interrupt_on_signals
from memotr.terminal import note, say

SHEET = Path("outputs/data-check.png")

data_commands = typer.Typer(help="Look at data sets, and make one.", no_args_is_help=True)
app.add_typer(data_commands, name="data")


@data_commands.command("check")
def check_data(
    path: Annotated[Path, typer.Argument(help="A data set, a split of it (MOT17/val_half), or one sequence.")],
    format: Annotated[
        Literal["auto", "mot", "mot17", "motsynth", "crowdhuman", "bdd100k", "coco-video", "generated"],
        typer.Option(help="auto: what it looks like, or what its dataset.yaml says."),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="One split of PATH.", show_default="all")] = None,
    sheet: Annotated[Path, typer.Option(help="Picture (.png) of annotated frames to write.")] = SHEET,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no picture.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Decode every image, not a sample.")] = False,
) -> None:
    """Say what a data set holds and all that is wrong with it; exit code 2 where training would fail."""
    from memotr.consoles import console
    from memotr.data.check import check
    from memotr.data.contact_sheet import contact_sheet, write_png
    from memotr.data.report import print_report

    if sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: end the name in .png")
    report = check(path, format=format, split=split, full=full, progress=console(stderr=True))
    print_report(report)
    if report.sequences and not no_sheet:
        try:
            write_png(contact_sheet(report.sequences), sheet)
            say(f"annotated frames: {sheet}")
        except UserError as error:  # nothing is wrong with the data
            note(f"warning: {error}; name another place with --sheet")
    if errors := len(report.problems.errors):
        raise UserError(f"{path}: {errors} error{'s' if errors > 1 else ''}, told above: training would fail")


@data_commands.command("synth")
def make_synthetic_data(
    output: Annotated[Path, typer.Argument(help="Folder to make: new, empty, or begun with the same options.")],
    seed: Annotated[
        int, typer.Option(max=2**63 - 1, help="Chooses everything random; the same seed gives the same files.")
    ] = 0,
    splits: Annotated[
        str, typer.Option(help="Splits and their numbers of sequences; each draws from random numbers of its own.")
    ] = "train=100,val=10,test=20",
    frames: Annotated[int, typer.Option(max=10_000, help="Frames a sequence.")] = 100,
    size: Annotated[str, typer.Option(help="Width×height in pixels.")] = "320x192",
    figures: Annotated[str, typer.Option(help="Fewest and most figures of a sequence.")] = "2-12",
    classes: Annotated[int, typer.Option(help="1: persons; 2: robots, too.")] = 1,
    difficulty: Annotated[
        Literal["standard", "easy"], typer.Option(help="easy: calm, bright, with nothing to hide behind.")
    ] = "standard",
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Processes.", show_default="one a processor")
    ] = None,
) -> None:
    """Make SynthDance: look-alike dancers whose motion deceives, in DanceTrack's layout.

    The defaults are the benchmark. A run that was interrupted goes on where it stopped when the same command is given
    again.
    """
    from memotr.consoles import console
    from memotr.data.synth.settings import SynthSettings, parse_pair, parse_splits
    from memotr.data.synth.writer import generate

    width, height = parse_pair("size", size, "x")
    settings = SynthSettings(
        seed=seed,
        splits=parse_splits(splits),
        frames=frames,
        size=(height, width),
        figures=parse_pair("figures", figures, "-"),
        classes=classes,
        difficulty=difficulty,
    )
    try:
        with interrupt_on_signals():
            written = generate(output, settings, workers, console(stderr=True))
    except KeyboardInterrupt:
        note("stopped; the same command goes on")
        raise typer.Exit(130) from None
    say(f"{output}: {written} sequences written; look at them: memotr data check {output}")
