"""The commands `memotr eval` and `memotr submit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from memotr.cli.application import app, importing
from memotr.cli.score import show_scores
from memotr.cli.shared_options import (
    Configuration,
    DeviceKind,
    Devices,
    Graph,
    Nodes,
    Overrides,
    Precision,
    Rules,
    Seqmap,
    Sequences,
)
from memotr.errors import UserError
from memotr.terminal import note, say
from memotr.vocabulary import SubmissionFormat

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Weights of a tracker: a file (the authors' or ours), a folder with one, or a name from "
        "`memotr weights list`."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(help="Settings of the configuration as key=value, such as tracking.det_thresh=0.4."),
]
DataSet = Annotated[Path, typer.Option(help="Folder of the data set.")]
Split = Annotated[
    str | None, typer.Option(help="Split of the data set, such as val or val_half; required if there are several.")
]
ServerFormat = Annotated[
    Literal["auto", SubmissionFormat],
    typer.Option(help="Benchmark server to write the archive for; auto: chosen by the names of the sequences."),
]
Batch = Annotated[
    int,
    typer.Option(
        min=1, max=1000, help="Number of sequences that each process tracks at once, with one forward pass for all."
    ),
]


@app.command("eval")
def evaluate_checkpoint(
    settings: Settings = None,
    *,
    dataset: DataSet,
    checkpoint: Checkpoint = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="Folder of a training run: evaluate all of its checkpoints, in place of --checkpoint."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="With --watch, do not wait for new checkpoints.")] = False,
    split: Split = None,
    half: Annotated[bool, typer.Option("--half", help="Use only the second half of every sequence.")] = False,
    seqmap: Seqmap = None,
    sequences: Sequences = None,
    format: Rules = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results and scores.", show_default="outputs/eval/…; with --watch, in its folder"),
    ] = None,
    config: Configuration = None,
    overrides: Overrides = None,
    precision: Precision = "auto",
    graph: Graph = "auto",
    batch: Batch = 1,
    device: DeviceKind = "auto",
    devices: Devices = None,
    num_nodes: Nodes = None,
) -> None:
    """Track every sequence of a split and score the results.

    To continue an interrupted run, repeat the command. The output folder contains the results and the files that
    `memotr score --output` writes. Sequences are distributed over --devices and --num-nodes; torchrun and SLURM are
    supported.
    """
    with importing():
        from memotr.evaluation.benchmark import load_benchmark
        from memotr.evaluation.checkpoints import Evaluation
        from memotr.evaluation.ground_truth import describe_truth
        from memotr.evaluation.watch import watch_training
        from memotr.training.devices import leave_process_group, make_fabric

    if (checkpoint is None) == (watch is None):
        raise UserError("eval needs either --checkpoint FILE or --watch FOLDER")
    truth = {"split": split, "seqmap": seqmap, "only": sequences or (), "half": half, "format": format}
    benchmark = load_benchmark(dataset, **truth)  # type: ignore[arg-type]
    source = describe_truth(dataset, format, split, seqmap, sequences, half)
    fabric = make_fabric(device, devices, num_nodes)
    evaluation = Evaluation(
        fabric, benchmark, source, [*(settings or []), *(overrides or [])], config, precision, batch, graph
    )
    part = "-".join(filter(None, [dataset.name, split or ("half" if half else "")]))
    with report_resumable():
        if checkpoint is not None:
            scored = evaluation.score(checkpoint, output or Path("outputs", "eval", f"{checkpoint.stem}-{part}"))
            if scored is not None:
                show_scores(*scored)
        else:
            assert watch is not None
            watch_training(evaluation, watch, output or watch / "eval" / part, once=once, report=say)
        leave_process_group()


@app.command()
def submit(
    settings: Settings = None,
    *,
    dataset: DataSet,
    checkpoint: Checkpoint = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of existing results to pack, in place of tracking with --checkpoint.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split of the data set. Repeatable.", show_default="test")
    ] = None,
    format: ServerFormat = "auto",
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept sequences that are not a complete split of the benchmark.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to write the results and the archive to.", show_default="outputs/submit/…"),
    ] = None,
    config: Configuration = None,
    overrides: Overrides = None,
    precision: Precision = "auto",
    graph: Graph = "auto",
    batch: Batch = 1,
    device: DeviceKind = "auto",
    devices: Devices = None,
    num_nodes: Nodes = None,
) -> None:
    """Track a test split, then pack and check the archive for the server of the benchmark.

    To continue an interrupted run, repeat the command.
    """
    with importing():
        from memotr.evaluation.benchmark import join_benchmarks, load_benchmark
        from memotr.evaluation.checkpoints import Evaluation
        from memotr.evaluation.progress_bars import ScoringProgress
        from memotr.submission.server_archive import check_split, submission_format, write_submission
        from memotr.tracking.gate import explain_no_tracks
        from memotr.training.devices import leave_process_group, make_fabric

    if (checkpoint is None) == (results is None):
        raise UserError("submit needs either --checkpoint FILE or --results FOLDER")
    splits = split or ["test"]
    benchmark = join_benchmarks([load_benchmark(dataset, split=part, scored=False) for part in splits])
    sequences = sorted(benchmark.sequences, key=lambda sequence: sequence.name)
    kind = submission_format([sequence.name for sequence in sequences]) if format == "auto" else format
    check_split(kind, sequences, partial=partial)  # before tracking, which may take hours
    origin = (checkpoint or results or dataset).stem
    output = output or Path("outputs", "submit", "-".join([origin, dataset.name, *splits]))
    if_empty = ""
    with report_resumable():
        if checkpoint is not None:
            fabric = make_fabric(device, devices, num_nodes)
            source = {"dataset": str(dataset.absolute()), "splits": splits}
            evaluation = Evaluation(
                fabric, benchmark, source, [*(settings or []), *(overrides or [])], config, precision, batch, graph
            )
            results, used = evaluation.track(checkpoint, output)
            if_empty = explain_no_tracks(used.classes, used.tracking)
            leave_process_group()
            if not fabric.is_global_zero:
                return
        assert results is not None
        archive = output / f"{kind}.zip"
        with ScoringProgress("packing") as progress:
            made = write_submission(
                kind, sequences, results, archive, partial=partial, progress=progress, if_empty=if_empty
            )
    note(*(f"note: {line}" for line in made.notes))
    say(f"wrote {made.path}: {len(made.members)} files, {made.boxes:,} boxes")


@contextmanager
def report_resumable() -> Iterator[None]:
    """On KeyboardInterrupt, report how to continue the run and exit with code 130."""
    try:
        yield
    except KeyboardInterrupt:
        note("stopped; repeat the command to continue with the unfinished sequences")
        raise typer.Exit(130) from None
