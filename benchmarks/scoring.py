"""Seconds from files to metrics: ``memotr``'s scoring and TrackEval's own evaluation of the same files, taken in turns.

python benchmarks/scoring.py                                        # generated, of the shape of DanceTrack's val split
python benchmarks/scoring.py --gt GT --results RESULTS --benchmark MOT17    # a folder of sequences and one of results
python benchmarks/scoring.py --json scoring.json

TrackEval is given what it is fastest with: no plots, no tables, no timing. Both are run in one process, and then
TrackEval in --workers of them beside ours in as many as it finds worth their start (what `memotr score` does).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import trackeval
from rich.console import Console
from rich.table import Table

from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate

QUIET = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")


def write_data(root: Path, sequences: int, frames: int, objects: int) -> tuple[Path, Path]:
    """Dancers that wander about, and a tracker that loses, swaps and invents some of them."""
    for number in range(sequences):
        rng = np.random.default_rng(number)
        frame, track = (grid.ravel() for grid in np.mgrid[1 : frames + 1, :objects])
        place = rng.uniform(0, 1200, (1, objects, 2)) + rng.normal(0, 5, (frames, objects, 2)).cumsum(axis=0)
        size = np.broadcast_to(rng.uniform((80, 200), (200, 500), (objects, 2)), place.shape)
        boxes = np.concatenate([place, size], axis=2).reshape(-1, 4)
        ones = np.ones((len(frame), 3))
        truth = np.column_stack([frame, track + 1, boxes.round(), ones])
        switched = track + 1 + 100 * (frame // 200) * (track % 4 == 0)
        found = np.column_stack([frame, switched, boxes + rng.normal(0, 8, boxes.shape), ones[:, 0], -ones])
        found = found[rng.random(len(found)) < 0.93]
        folder = root / "gt" / f"generated{number:04d}"
        (folder / "gt").mkdir(parents=True)
        (root / "results").mkdir(exist_ok=True)
        np.savetxt(folder / "gt" / "gt.txt", truth, fmt="%d", delimiter=",")
        np.savetxt(root / "results" / f"{folder.name}.txt", found, fmt="%.2f", delimiter=",")
        (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={frames}\n")
    return root / "gt", root / "results"


def run_trackeval(gt: Path, results: Path, lengths: Mapping[str, int], benchmark: str, workers: int) -> float:
    """HOTA."""
    settings = {
        "GT_FOLDER": str(gt),
        "TRACKERS_FOLDER": str(results.parent),
        "TRACKERS_TO_EVAL": [results.name],
        "TRACKER_SUB_FOLDER": "",
        "SEQ_INFO": dict(lengths),
        "BENCHMARK": benchmark,
        "SKIP_SPLIT_FOL": True,
        "PRINT_CONFIG": False,
    }
    silent = {"PRINT_CONFIG": False}
    parallel = {"USE_PARALLEL": workers > 1, "NUM_PARALLEL_CORES": workers}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox(settings)
        evaluator = trackeval.Evaluator(dict.fromkeys(QUIET, False) | parallel)
        metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(silent)), trackeval.metrics.Identity(silent)]
        found, _ = evaluator.evaluate([dataset], metrics)
    fields = found["MotChallenge2DBox"][results.name]["COMBINED_SEQ"]["pedestrian"]["HOTA"]
    return float(np.mean(fields["HOTA"]))


def run_ours(gt: Path, results: Path, workers: int | None) -> float:
    """HOTA."""
    return evaluate(load_ground_truth(gt), results, workers=workers).combined["HOTA"]


def measure(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, the contenders in turns; the first round is not counted. All must say the same."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        said = set()
        for name, contender in contenders.items():
            start = time.perf_counter()
            said.add(round(contender(), 12))
            if number:
                seconds[name].append(time.perf_counter() - start)
        if len(said) > 1:
            raise SystemExit(f"the contenders disagree: HOTA {sorted(said)}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", type=Path, help="folder of sequences (default: generated)")
    parser.add_argument("--results", type=Path, help="folder of <sequence>.txt")
    parser.add_argument("--benchmark", default="MOT17", help="TrackEval's name of the rules (default: MOT17)")
    parser.add_argument("--sequences", type=int, default=25, help="generated sequences (default: 25)")
    parser.add_argument("--frames", type=int, default=1000, help="frames of each (default: 1000)")
    parser.add_argument("--objects", type=int, default=9, help="objects in each frame (default: 9)")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="TrackEval's processes (default: cores)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each contender (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gt, results = options.gt, options.results
        if gt is None or results is None:
            gt, results = write_data(Path(folder), options.sequences, options.frames, options.objects)
        truth = load_ground_truth(gt)
        lengths = {sequence.name: sequence.length for sequence in truth.sequences}
        contenders: dict[str, Callable[[], float]] = {}
        for theirs, ours in ((1, 1), (options.workers, None)):
            base = partial(run_trackeval, gt, results, lengths, options.benchmark, theirs)
            contenders[f"TrackEval × {theirs}"] = base
            contenders[f"memotr × {ours or 'its choice'}"] = partial(run_ours, gt, results, ours)
        seconds = measure(contenders, options.rounds)
        boxes = sum(len(sequence.objects) for sequence in truth.sequences)
    report(seconds, f"{len(lengths)} sequences, {sum(lengths.values()):,} frames, {boxes:,} ground-truth boxes")
    if options.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        options.json.write_text(json.dumps({"machine": machine, "boxes": boxes, "seconds": seconds}, indent=1) + "\n")


def report(seconds: Mapping[str, list[float]], title: str) -> None:
    table = Table(title=title)
    for heading in ("× processes", "median", "least", "most", "times as fast"):
        table.add_column(heading, justify="left" if "processes" in heading else "right", no_wrap=True)
    base = 1.0
    for name, runs in seconds.items():
        if name.startswith("TrackEval"):
            base = statistics.median(runs)  # of its row and the next
        ratio = f"{base / statistics.median(runs):.2f}"
        table.add_row(name, *(f"{value:.2f} s" for value in (statistics.median(runs), min(runs), max(runs))), ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
