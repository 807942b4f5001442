"""How far motion alone gets on SynthDance: ByteTrack and SORT on given detections, scored by memotr.

memotr data synth SynthDance && python benchmarks/synthdance_difficulty.py SynthDance
python benchmarks/synthdance_difficulty.py SynthDance --split val --grid
python benchmarks/synthdance_difficulty.py SynthDance --weights synthdance

The trackers are those of the PyPI package `trackers` with their own settings and the data's frame rate. What they are
given is the ground truth's boxes without ids, all with score 1; so all that is lost is lost in association. With
--weights it is the boxes and scores that a MeMOTR reports in each frame, without its ids, and its own result stands
above theirs; rows that say "low, too" were also given those that it holds back for scoring less than its result_thresh
(above 0.1), of which ByteTrack can make use. --grid also tries other settings and shows the best of them, chosen on the
very sequences they are scored on: an upper bound.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import supervision as sv
from rich.console import Console
from rich.progress import track
from rich.table import Table
from trackers import ByteTrackTracker, SORTTracker

from memotr import Tracker, load_model
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.sequences import Sequence
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from memotr.io.image_files import read_image

BASELINES = {"ByteTrack": ByteTrackTracker, "SORT": SORTTracker}
GRID = {
    "lost_track_buffer": (10, 30, 60),
    "minimum_iou_threshold": (0.05, 0.1, 0.2, 0.3),
    "minimum_consecutive_frames": (1,),
}
SCORE_GRID = {"minimum_consecutive_frames": (1, 2, 3), "track_activation_threshold": (0.25, 0.5, 0.7)}
"""What matters only where detections may be false."""
LOW = 0.1
COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")

Clips = dict[str, list[sv.Detections]]
"""Detections by sequence and frame; the ids of a tracker of ours, if it has any, are in ``tracker_id``."""


def perfect_detections(sequences: list[Sequence]) -> Clips:
    def frame(truth):
        return sv.Detections(truth.boxes, confidence=np.ones(len(truth), np.float32), class_id=truth.labels)

    return {sequence.name: [frame(truth) for truth in sequence.boxes] for sequence in sequences}


def own_detections(sequences: list[Sequence], weights: str) -> tuple[Clips, float]:
    """All that a tracker of ours finds with a score above LOW, and the score above which it reports it."""
    model = load_model(weights)
    tracker, found = Tracker(model, result_thresh=LOW), {}
    for sequence in track(sequences, weights, console=Console(stderr=True)):
        tracker.reset()
        found[sequence.name] = [tracker.update(read_image(path)).to_supervision() for path in sequence.frames]
    return found, model.config.tracking.result_thresh


def above(clips: Clips, score: float) -> Clips:
    return {name: [frame[frame.confidence > score] for frame in frames] for name, frames in clips.items()}


def associate(frames: Iterable[sv.Detections], tracker: ByteTrackTracker | SORTTracker) -> Iterator[sv.Detections]:
    """The same boxes with the tracker's ids in the place of those they have."""
    for frame in frames:
        found = tracker.update(replace(frame, tracker_id=None, data={}, metadata={}))
        yield found[found.tracker_id >= 0]


def lines(frames: Iterable[sv.Detections]) -> np.ndarray:
    """(N, 10) lines of a MOTChallenge file."""
    rows = [np.zeros((0, 10))]
    for t, found in enumerate(frames):
        sizes = found.xyxy[:, 2:] - found.xyxy[:, :2]
        ids, labels = found.tracker_id[:, None], found.class_id[:, None] + 1
        ones = np.ones((len(found), 1))
        rows.append(np.hstack([(t + 1) * ones, ids, found.xyxy[:, :2], sizes, ones, labels, -ones, -ones]))
    return np.concatenate(rows)


def score(clips: Clips, truth) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        for name, frames in clips.items():
            np.savetxt(Path(folder, f"{name}.txt"), lines(frames), fmt="%g", delimiter=",")
        return evaluate(truth, Path(folder)).combined


def trials(name: str, grid: dict[str, tuple]) -> Iterator[tuple[dict[str, float], Callable]]:
    """Settings, and the tracker with them; its own come first."""
    yield {}, BASELINES[name]
    for values in product(*grid.values()) if grid else ():
        settings = dict(zip(grid, values, strict=True))
        yield settings, partial(BASELINES[name], **settings)


def rows(name: str, clips: Clips, rates: dict[str, float], truth, grid: dict[str, tuple]) -> Iterator[tuple]:
    """Scores and settings of a baseline: with its own settings, then with the best of the grid."""
    found = []
    for settings, make in track(list(trials(name, grid)), name, console=Console(stderr=True)):
        linked = {clip: list(associate(frames, make(frame_rate=rates[clip]))) for clip, frames in clips.items()}
        found.append((score(linked, truth), settings))
    yield found[0]
    if len(found) > 1:
        yield max(found[1:], key=lambda each: each[0]["AssA"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that memotr data synth made")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weights", help="a tracker of ours (a preset or a checkpoint) whose detections to take")
    parser.add_argument("--grid", action="store_true", help="show the best of other settings, too")
    options = parser.parse_args()
    sequences = load_split(DatasetSpec(options.data, options.split))
    rates = {sequence.name: sequence.fps for sequence in sequences}
    truth = load_ground_truth(options.data, split=options.split)
    boxes = sum(len(frame) for sequence in sequences for frame in sequence.boxes)
    title = f"{options.split}: {len(sequences)} sequences, {boxes:,} boxes"
    table = Table("tracker", "given", *COLUMNS, "settings", title=title)

    def add(name, given, scores, settings):
        said = ", ".join(f"{key}={value}" for key, value in settings.items()) or "its own"
        shown = [f"{scores[c]:.0f}" if c == "IDSW" else f"{100 * scores[c]:.1f}" for c in COLUMNS]
        table.add_row(name, given, *shown, said)

    if options.weights:
        found, threshold = own_detections(sequences, options.weights)
        reported = above(found, threshold)
        add("MeMOTR", "images", score(reported, truth), {})
        given, grid = {"its boxes": reported, "low, too": found}, GRID | SCORE_GRID
    else:
        given, grid = {"perfect boxes": perfect_detections(sequences)}, GRID
    for (what, clips), name in product(given.items(), BASELINES):
        for scores, settings in rows(name, clips, rates, truth, grid if options.grid else {}):
            add(name, what, scores, settings)
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
