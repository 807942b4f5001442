"""Numbers from result files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from memotr.cli.application import app

if TYPE_CHECKING:
    from memotr.evaluation.scoring import Scores


@app.command()
def score(
    ground_truth: Annotated[Path, typer.Argument(help="A data set, a folder of sequences, or one sequence.")],
    results: Annotated[Path, typer.Argument(help="Folder of <sequence>.txt (MOTChallenge), or BDD100K's JSON.")],
    format: Annotated[
        Literal["auto", "mot", "mot15", "mot16", "mot17", "mot20", "bdd100k"],
        typer.Option(help="Whose rules decide what counts. auto: by the sequences' names; mot: every marked row."),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="Part of the data set, such as val.")] = None,
    seqmap: Annotated[
        Path | None, typer.Option(help="Text file that names the sequences.", show_default="<split>_seqmap.txt, or all")
    ] = None,
    sequences: Annotated[
        list[str] | None, typer.Option(help="Only those so named, such as 'MOT17-*-SDP'. Repeatable.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Score the second half of every sequence.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json, counts.json, CSV and plot.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="A sequence without results counts as empty.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(max=1000, help="Processes.", show_default="as many as are worth it")
    ] = None,
) -> None:
    """HOTA, CLEAR and Identity of result files (TETA, too, for BDD100K), as TrackEval computes them."""
    from memotr.evaluation.ground_truth import load_ground_truth
    from memotr.evaluation.output import write_scores
    from memotr.evaluation.progress import ScoringProgress
    from memotr.evaluation.scoring import evaluate

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


def describe_truth(
    path: Path, format: str, split: str | None, seqmap: Path | None, sequences: list[str] | None, half: bool
) -> dict[str, Any]:
    """What a run was scored on, for those who read it again; ready for JSON."""
    return {
        "ground_truth": str(path.absolute()),
        "format": format,
        "split": split,
        "seqmap": str(seqmap.absolute()) if seqmap else None,
        "sequences": sequences,
        "half": half,
    }


def show_scores(scores: Scores, files: Sequence[Path]) -> None:
    """Tables, notes, and what was written."""
    from memotr.evaluation.tables import print_tables, score_tables

    print_tables(score_tables(scores))
    for note in scores.notes:
        print(f"memotr: note: {note}", file=sys.stderr)
    if files:
        typer.echo(f"wrote {', '.join(map(str, files))}")


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders that `memotr score --output` wrote; the first is the base.")
    ],
    output: Annotated[Path | None, typer.Option(help="Folder for compare.json, compare.csv and compare.png.")] = None,
    resamples: Annotated[int, typer.Option(min=1, max=100_000, help="Of the sequences, for the intervals.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the resampling.")] = 0,
) -> None:
    """Set scored runs side by side, and say which differences are more than noise."""
    from memotr.evaluation.compare import compare_runs
    from memotr.evaluation.comparison_output import comparison_tables, write_comparison
    from memotr.evaluation.run_folder import read_run
    from memotr.evaluation.tables import print_tables

    comparison = compare_runs([read_run(run) for run in runs], resamples=resamples, seed=seed)
    files = write_comparison(output, comparison) if output is not None else []
    print_tables(comparison_tables(comparison))
    for line in [*comparison.sentences(), *comparison.notes]:
        typer.echo(line)
    if files:
        typer.echo(f"wrote {', '.join(map(str, files))}")
