"""From files to metrics: TrackEval's own evaluation, given what it is fastest with, and ours of the same files."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import trackeval

from memotr.bench.machine import num_cores
from memotr.bench.measure import Contender, alternate, rows
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate

QUIET = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")


def measure(options: Options) -> Iterator[Table]:
    """One table for one process, one for as many as there are cores."""
    sequences, frames, objects = options.scored
    with tempfile.TemporaryDirectory() as folder:
        truth, results = write_files(Path(folder), sequences, frames, objects)
        for theirs, ours in ((1, 1), (num_cores(), None)):
            contenders = [
                Contender("TrackEval (baseline)", partial(run_trackeval, truth, results, frames, theirs)),
                Contender("ours", partial(run_ours, truth, results, ours)),
            ]
            timed = alternate(contenders, options.rounds)
            found = [row | {"HOTA": 100 * each.result} for row, each in zip(rows(timed), timed, strict=True)]
            what = "in one process" if ours else f"TrackEval in {theirs} processes, ours in as many as pay"
            yield Table(f"{sequences} sequences of {frames} frames with {objects} objects, {what}", found)


def run_trackeval(truth: Path, results: Path, frames: int, workers: int) -> float:
    """HOTA, in [0, 1]."""
    settings = {
        "GT_FOLDER": str(truth),
        "TRACKERS_FOLDER": str(results.parent),
        "TRACKERS_TO_EVAL": [results.name],
        "TRACKER_SUB_FOLDER": "",
        "SEQ_INFO": {folder.name: frames for folder in truth.iterdir()},
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


def run_ours(truth: Path, results: Path, workers: int | None) -> float:
    """HOTA, in [0, 1]."""
    return evaluate(load_ground_truth(truth), results, workers=workers).combined["HOTA"]


def write_files(folder: Path, sequences: int, frames: int, objects: int) -> tuple[Path, Path]:
    """Ground truth of dancers who wander about, and results of a tracker that loses, swaps and invents some of them."""
    truth, results = folder / "gt", folder / "results"
    results.mkdir()
    for number in range(sequences):
        random = np.random.default_rng(number)
        frame, track = (grid.ravel() for grid in np.mgrid[1 : frames + 1, :objects])
        place = random.uniform(0, 1200, (1, objects, 2)) + random.normal(0, 5, (frames, objects, 2)).cumsum(axis=0)
        size = np.broadcast_to(random.uniform((80, 200), (200, 500), (objects, 2)), place.shape)
        boxes = np.concatenate([place, size], axis=2).reshape(-1, 4)
        switched = track + 1 + 100 * (frame // 200) * (track % 4 == 0)
        moved = boxes + random.normal(0, 8, boxes.shape)
        seen = random.random(len(boxes)) < 0.93
        name, ones = f"generated{number:04d}", np.ones((len(frame), 3))
        (truth / name / "gt").mkdir(parents=True)
        (truth / name / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={frames}\n", encoding="utf-8")
        rows = np.column_stack([frame, track + 1, boxes.round(), ones])
        np.savetxt(truth / name / "gt" / "gt.txt", rows, fmt="%d", delimiter=",")
        rows = np.column_stack([frame, switched, moved, ones[:, 0], -ones])[seen]
        np.savetxt(results / f"{name}.txt", rows, fmt="%.2f", delimiter=",")
    return truth, results
