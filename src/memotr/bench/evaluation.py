"""Benchmark of scoring, from files to metrics: TrackEval with its fastest settings, and this package."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import trackeval

from memotr.bench.measure import Contender, alternate, rows
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from memotr.processes import available_processors

QUIET = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")


def measure(options: Options) -> Iterator[Table]:
    """Yield a table for one process, and one for as many processes as there are cores."""
    sequences, frames, objects = options.scored
    with tempfile.TemporaryDirectory() as folder:
        truth, results = write_files(Path(folder), sequences, frames, objects)
        for trackeval_workers, our_workers in ((1, 1), (available_processors(), None)):
            contenders = [
                Contender("TrackEval (baseline)", partial(run_trackeval, truth, results, frames, trackeval_workers)),
                Contender("ours", partial(run_ours, truth, results, our_workers)),
            ]
            timed = alternate(contenders, options.rounds)
            table = [row | {"HOTA": 100 * each.result} for row, each in zip(rows(timed), timed, strict=True)]
            processes = f"TrackEval in {trackeval_workers} processes, ours in as many as are worth it"
            title = f"{sequences} sequences of {frames} frames with {objects} objects"
            yield Table(f"{title}, {'in one process' if our_workers else processes}", table)


def run_trackeval(truth: Path, results: Path, frames: int, workers: int) -> float:
    """Score results with TrackEval and return HOTA in [0, 1].

    Args:
        truth: folder of the ground truth.
        results: folder of the results.
        frames: number of frames of every sequence.
        workers: number of processes.
    """
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
        scores, _ = evaluator.evaluate([dataset], metrics)
    fields = scores["MotChallenge2DBox"][results.name]["COMBINED_SEQ"]["pedestrian"]["HOTA"]
    return float(np.mean(fields["HOTA"]))


def run_ours(truth: Path, results: Path, workers: int | None) -> float:
    """Score results with this package and return HOTA in [0, 1]."""
    return evaluate(load_ground_truth(truth), results, workers=workers).combined["HOTA"]


def write_files(folder: Path, sequences: int, frames: int, objects: int) -> tuple[Path, Path]:
    """Write ground truth of randomly moving objects, and results with misses, inaccurate boxes and id switches.

    Args:
        folder: folder to write to.
        sequences: number of sequences.
        frames: number of frames of every sequence.
        objects: number of objects in every frame.

    Returns:
        Folders of the ground truth and of the results.
    """
    truth, results = folder / "gt", folder / "results"
    results.mkdir()
    for number in range(sequences):
        random = np.random.default_rng(number)
        frame, track = (grid.ravel() for grid in np.mgrid[1 : frames + 1, :objects])
        corner = random.uniform(0, 1200, (1, objects, 2)) + random.normal(0, 5, (frames, objects, 2)).cumsum(axis=0)
        size = np.broadcast_to(random.uniform((80, 200), (200, 500), (objects, 2)), corner.shape)
        boxes = np.concatenate([corner, size], axis=2).reshape(-1, 4)
        switched = track + 1 + 100 * (frame // 200) * (track % 4 == 0)
        moved = boxes + random.normal(0, 8, boxes.shape)
        detected = random.random(len(boxes)) < 0.93
        name, ones = f"generated{number:04d}", np.ones((len(frame), 3))
        (truth / name / "gt").mkdir(parents=True)
        (truth / name / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={frames}\n", encoding="utf-8")
        rows = np.column_stack([frame, track + 1, boxes.round(), ones])
        np.savetxt(truth / name / "gt" / "gt.txt", rows, fmt="%d", delimiter=",")
        rows = np.column_stack([frame, switched, moved, ones[:, 0], -ones])[detected]
        np.savetxt(results / f"{name}.txt", rows, fmt="%.2f", delimiter=",")
    return truth, results
