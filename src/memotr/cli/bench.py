"""The command `memotr bench`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from memotr.cli.application import app
from memotr.cli.shared_options import Overrides
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
            show_default="all",
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
) -> None:
    """Measure the speed of this package and of a plain implementation side by side.

    Prints medians, spreads and ratios, and writes them to bench.md and bench.json with a description of the machine.
    The contenders of a measurement take turns. Weights are random; the time does not depend on them.
    """
    # These imports are slow, and only this command needs them.
    import torch

    from memotr.bench.options import Options
    from memotr.bench.parts import PARTS, run_benchmark
    from memotr.config import load_config
    from memotr.consoles import console
    from memotr.data.synth.settings import parse_pair
    from memotr.errors import UserError
    from memotr.weights.model_files import choose_device

    chosen = [part for part in PARTS if parts is None or part in parts]
    if unknown := set(parts or ()) - set(PARTS):
        raise UserError(f"unknown part {sorted(unknown)[0]!r}: choose from {', '.join(PARTS)}")
    sizes = tuple(parse_pair("size", text, "x") for text in size or ())
    if wrong := [text for text, pair in zip(size or (), sizes, strict=True) if 0 in pair or max(pair) > MAX_SIDE]:
        raise UserError(f"size {wrong[0]!r}: write height and width, each 1 to {MAX_SIDE:,} pixels, such as 448x800")
    if threads is not None:
        torch.set_num_threads(threads)
    options = Options(load_config(preset or (QUICK_PRESET if quick else PRESET), overrides), str(choose_device(device)))
    options = options.quick() if quick else options
    options = replace(
        options,
        memory=memory,
        compile=compile,
        sizes=sizes or options.sizes,
        tracks=tuple(tracks) if tracks else options.tracks,
        rounds=rounds or options.rounds,
    )
    run_benchmark(options, chosen, output, console(width=140))
    say(f"wrote {output / 'bench.md'} and {output / 'bench.json'}")
