"""The commands `memotr data check` and `memotr data synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memotr.cli.application import app
from memotr.errors import UserError
from memotr.terminal import note, say
from memotr.vocabulary import DifficultyName

SHEET = Path("outputs/data-check.png")

data_commands = typer.Typer(help="Check data sets, and generate a synthetic one.", no_args_is_help=True)
app.add_typer(data_commands, name="data")


def _check_format(format: str) -> str:
    from memotr.data.formats import known_format

    try:
        return known_format(format)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@data_commands.command("check")
def check_data(
    path: Annotated[Path, typer.Argument(help="Data set, a split of it such as MOT17/val_half, or a sequence.")],
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            callback=_check_format,
            help="Format of the data set; auto: taken from its dataset.yaml, or recognised by its files.",
        ),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="Split of the data set to check.", show_default="all")] = None,
    sheet: Annotated[Path, typer.Option(help="PNG file to write annotated frames to.")] = SHEET,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Do not write annotated frames.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Decode every image instead of a sample.")] = False,
) -> None:
    """Report the content and all problems of a data set; exit with code 2 if training would fail."""
    from memotr.consoles import console
    from memotr.data.contact_sheet import contact_sheet, write_png
    from memotr.data.dataset_check import check
    from memotr.data.dataset_report import print_report

    if sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: the name must end in .png")
    report = check(path, format=format, split=split, full=full, progress=console(stderr=True))
    print_report(report)
    if report.sequences and not no_sheet:
        try:
            write_png(contact_sheet(report.sequences), sheet)
            say(f"annotated frames: {sheet}")
        except UserError as error:  # not an error of the data set
            note(f"warning: {error}; choose another file with --sheet")
    if errors := len(report.problems.errors):
        raise UserError(f"{path}: {errors} error{'s' if errors > 1 else ''}, listed above: training would fail")


@data_commands.command("synth")
def make_synthetic_data(
    output: Annotated[
        Path, typer.Argument(help="Folder to write: new, empty, or from an interrupted run with the same options.")
    ],
    seed: Annotated[int, typer.Option(max=2**63 - 1, help="Random seed; the same seed gives identical files.")] = 0,
    splits: Annotated[
        str, typer.Option(help="Number of sequences of each split, as name=number separated by commas.")
    ] = "train=100,val=10,test=20",
    frames: Annotated[int, typer.Option(max=10_000, help="Number of frames per sequence.")] = 100,
    size: Annotated[str, typer.Option(help="Size of the frames in pixels, as WIDTHxHEIGHT.")] = "320x192",
    figures: Annotated[
        str, typer.Option(help="Smallest and largest number of figures per sequence, as MIN-MAX.")
    ] = "2-12",
    classes: Annotated[int, typer.Option(help="Number of classes, 1 (persons) or 2 (persons and robots).")] = 1,
    difficulty: Annotated[
        DifficultyName,
        typer.Option(help="Difficulty of the scenes; easy: calm motion, bright light and no occluders."),
    ] = "standard",
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Number of processes.", show_default="one per core")
    ] = None,
) -> None:
    """Generate SynthDance, a data set of look-alike dancers with deceptive motion, in the layout of DanceTrack.

    The defaults generate the benchmark. To continue an interrupted run, repeat the command.
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
        written = generate(output, settings, workers, console(stderr=True))
    except KeyboardInterrupt:
        note("stopped; repeat the command to continue")
        raise typer.Exit(130) from None
    say(f"{output}: {written} sequences written; inspect them with: memotr data check {output}")
