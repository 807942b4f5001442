"""The commands `memotr score`, `memotr compare` and `memotr errors`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memotr.cli.application import app
from memotr.cli.shared_options import Rules, Seqmap, Sequences
from memotr.terminal import note, say

if TYPE_CHECKING:
    from memotr.evaluation.scoring import Scores


@app.command()
def score(
    ground_truth: Annotated[
        Path, typer.Argument(help="Data set with ground truth, a folder of sequences, or a sequence.")
    ],
    results: Annotated[
        Path, typer.Argument(help="Folder with <sequence>.txt (MOTChallenge), or JSON file or folder (BDD100K).")
    ],
    format: Rules = "auto",
    split: Annotated[str | None, typer.Option(help="Split of the data set to score, such as val.")] = None,
    seqmap: Seqmap = None,
    sequences: Sequences = None,
    half: Annotated[bool, typer.Option("--half", help="Score only the second half of every sequence.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write metrics.json, counts.json, a CSV file and a plot to.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score sequences without results as empty.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(max=1000, help="Number of processes.", show_default="chosen by the size of the files")
    ] = None,
) -> None:
    """Compute HOTA, CLEAR and identity metrics of result files as in TrackEval, and TETA for BDD100K."""
    from memotr.evaluation.ground_truth import describe_truth, load_ground_truth
    from memotr.evaluation.progress_bars import ScoringProgress
    from memotr.evaluation.score_files import write_scores
    from memotr.evaluation.scoring import evaluate
    from memotr.files import hold_folder

    with hold_folder(output) if output is not None else nullcontext():
        with ScoringProgress() as progress:
            truth = load_ground_truth(
                ground_truth, split=split, seqmap=seqmap, only=sequences or (), half=half, format=format
            )
            scores = evaluate(truth, results, allow_missing=allow_missing, workers=workers, progress=progress)
        files: list[Path] = []
        if output is not None:
            source = describe_truth(ground_truth, format, split, seqmap, sequences, half)
            source["results"] = str(results.absolute())
            files = write_scores(output, scores, title="/".join(results.parts[-2:]), source=source)
    show_scores(scores, files)


def show_scores(scores: Scores, files: Sequence[Path]) -> None:
    """Print tables of scores, notes, and the paths of the written files."""
    from memotr.evaluation.tables import print_tables, score_tables

    print_tables(score_tables(scores))
    note(*(f"note: {line}" for line in scores.notes))
    if files:
        say(f"wrote {', '.join(map(str, files))}")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders written by `memotr score --output`; the first is the baseline.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write compare.json, compare.csv and compare.png to.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, max=100_000, help="Number of bootstrap samples of the sequences, at least 100.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed for bootstrap resampling.")] = 0,
) -> None:
    """Compare scored runs, and report which differences exceed the noise."""
    from memotr.evaluation.compare import compare_runs
    from memotr.evaluation.comparison_output import comparison_tables, write_comparison
    from memotr.evaluation.run_folder import read_run
    from memotr.evaluation.tables import print_tables

    comparison = compare_runs([read_run(run) for run in runs], resamples=resamples, seed=seed)
    files = write_comparison(output, comparison) if output is not None else []
    print_tables(comparison_tables(comparison))
    say(*comparison.sentences(), *comparison.notes)
    if files:
        say(f"wrote {', '.join(map(str, files))}")


@app.command()
def errors(
    run: Annotated[Path, typer.Argument(help="Folder written by `memotr score --output`.")],
    output: Annotated[Path | None, typer.Option(help="HTML page to write.", show_default="RUN/errors.html")] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with the image folders of the sequences.", show_default="that of the ground truth"),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Number of errors to show with pictures.")] = 24,
    sequences: Sequences = None,
) -> None:
    """Write an HTML page with the id switches, misses and false positives of a scored run."""
    from memotr.evaluation.progress_bars import ScoringProgress
    from memotr.inspection.error_page import PAGE, write_page
    from memotr.inspection.inspect_run import inspect_run

    path = run / PAGE if output is None else output
    with ScoringProgress("matching") as progress:
        inspection = inspect_run(run, only=sequences or (), progress=progress)
    with ScoringProgress("pictures") as progress:
        notes = write_page(path, inspection, images=images, worst=worst, progress=progress)
    note(*(f"note: {line}" for line in notes))
    for kind, total in (
        ("id switches", sum(len(one.switches) for one in inspection.errors)),
        ("missed boxes", sum(one.missed for one in inspection.errors)),
        ("false boxes", sum(one.false for one in inspection.errors)),
    ):
        say(f"{total:>9,} {kind}")
    say(f"wrote {path}")
