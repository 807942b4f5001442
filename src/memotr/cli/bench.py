"""The command `memotr bench`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from memotr.cli.application import app
from memotr.cli.shared_options import Overrides, Sequences
from memotr.terminal import say
from memotr.vocabulary import BenchmarkPart

MAX_SIDE = 10_000
QUICK_PRESET, PRESET = "tiny", "dancetrack"


@app.command()
def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Parts to measure: {', '.join(get_args(BenchmarkPart))}.",
            show_default="all, ladder with --dataset only",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Use tiny sizes, only to check that everything runs.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for bench.md and bench.json.")] = Path("outputs/bench"),
    device: Annotated[str, typer.Option(help="Device to compute on: auto, cpu, cuda or cuda:1.")] = "auto",
    preset: Annotated[
        str | None, typer.Option(help="Preset or YAML file with the network's configuration.", show_default=PRESET)
    ] = None,
    overrides: Overrides = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Height×width of the network's input in pixels. Repeatable.", show_default="448x800 and 800x1422"
        ),
    ] = None,
    tracks: Annotated[
        list[int] | None,
        typer.Option(min=0, max=10_000, help="Number of tracks per frame. Repeatable.", show_default="0, 10, 50, 200"),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Number of timed rounds.", show_default="5")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Number of PyTorch threads.", show_default="all cores")
    ] = None,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory",
            help="Also measure peak memory, with one process per contender, and what a training step keeps, by module.",
        ),
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Also measure the compiled tracker.")] = False,
    checkpoint: Annotated[
        str, typer.Option(help="Ladder: weights of a tracker, a file or a name of weights.")
    ] = "synthdance",
    dataset: Annotated[Path | None, typer.Option(help="Ladder: folder of the data set to track and score.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Ladder: split of the data set.", show_default="the only one")
    ] = None,
    sequences: Sequences = None,
    short_side: Annotated[
        list[int] | None,
        typer.Option(
            min=32,
            max=MAX_SIDE,
            help="Ladder: short side of the network's input in pixels. Repeatable.",
            show_default="1, 5/6, 2/3 and 1/2 of the configured one",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Ladder: numerical precision. Repeatable.", show_default="32, on CUDA tf32, and bf16"),
    ] = None,
    decoder_layers: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100, help="Ladder: number of decoder layers used. Repeatable.", show_default="all"),
    ] = None,
    every: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1000, help="Ladder: track every k-th frame. Repeatable.", show_default="1, 2, 3"),
    ] = None,
) -> None:
    """Measure the speed of this package and of a plain implementation side by side.

    Prints medians, spreads and ratios, and writes them to bench.md and bench.json with a description of the machine.
    The contenders of a measurement take turns. Weights are random; the time does not depend on them. The part ladder
    tracks and scores a data set with real weights instead, and also writes ladder.csv and ladder.png.
    """
    # These imports are slow, and only this command needs them.
    import torch

    from memotr.bench.options import Ladder, Options
    from memotr.bench.parts import PARTS, run_benchmark
    from memotr.config import load_config
    from memotr.consoles import console
    from memotr.data.synth.settings import parse_pair
    from memotr.errors import UserError
    from memotr.weights.model_files import choose_device

    chosen = [part for part in PARTS if (part != "ladder" or dataset is not None if parts is None else part in parts)]
    if unknown := set(parts or ()) - set(PARTS):
        raise UserError(f"unknown part {sorted(unknown)[0]!r}: choose from {', '.join(PARTS)}")
    sizes = tuple(parse_pair("size", text, "x") for text in size or ())
    if wrong := [text for text, pair in zip(size or (), sizes, strict=True) if 0 in pair or max(pair) > MAX_SIDE]:
        raise UserError(f"size {wrong[0]!r}: write height and width, each 1 to {MAX_SIDE:,} pixels, such as 448x800")
    if threads is not None:
        torch.set_num_threads(threads)
    options = Options(load_config(preset or (QUICK_PRESET if quick else PRESET), overrides), str(choose_device(device)))
    options = options.quick() if quick else options
    ladder = None
    if dataset is not None:
        ladder = Ladder(
            checkpoint,
            dataset,
            output,
            split,
            tuple(sequences or ()),
            tuple(short_side or ()),
            tuple(precision or ()),
            tuple(decoder_layers or ()),
            tuple(every or (1, 2, 3)),
        )
    options = replace(
        options,
        ladder=ladder,
        memory=memory,
        compile=compile,
        sizes=sizes or options.sizes,
        tracks=tuple(tracks) if tracks else options.tracks,
        rounds=rounds or options.rounds,
    )
    run_benchmark(options, chosen, output, console(width=140))
    say(f"wrote {output / 'bench.md'} and {output / 'bench.json'}")
