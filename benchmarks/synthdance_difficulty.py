"""How far motion alone gets on SynthDance: ByteTrack and SORT on *perfect* detections, scored by memotr.

memotr data synth SynthDance && python benchmarks/synthdance_difficulty.py SynthDance
python benchmarks/synthdance_difficulty.py SynthDance --split val --grid

The trackers are those of the PyPI package `trackers` with their own settings and the data's frame rate. What they are
given is the ground truth's boxes without ids, all with score 1; so all that is lost is lost in association. --grid also
tries other settings and shows the best of them, chosen on the very sequences they are scored on: an upper bound.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import supervision as sv
from rich.console import Console
from rich.progress import track
from rich.table import Table
from trackers import ByteTrackTracker, SORTTracker

from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.sequences import Sequence
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate

BASELINES = {"ByteTrack": ByteTrackTracker, "SORT": SORTTracker}
GRID = {
    "lost_track_buffer": (10, 30, 60),
    "minimum_iou_threshold": (0.05, 0.1, 0.2, 0.3),
    "minimum_consecutive_frames": (1,),  # false detections, against which a track has to prove itself, there are none
}
COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")


def associate(sequence: Sequence, tracker: ByteTrackTracker | SORTTracker) -> np.ndarray:
    """(N, 10) lines of a MOTChallenge file: the sequence's own boxes with the tracker's ids."""
    rows = [np.zeros((0, 10))]
    for t, truth in enumerate(sequence.boxes):
        count = len(truth)
        detections = sv.Detections(xyxy=truth.boxes, confidence=np.ones(count, np.float32), class_id=truth.labels)
        found = tracker.update(detections)
        found = found[found.tracker_id >= 0]
        sizes = found.xyxy[:, 2:] - found.xyxy[:, :2]
        ids, labels = found.tracker_id[:, None], found.class_id[:, None] + 1
        ones = np.ones((len(found), 1))
        rows.append(np.hstack([(t + 1) * ones, ids, found.xyxy[:, :2], sizes, ones, labels, -ones, -ones]))
    return np.concatenate(rows)


def score(sequences: list[Sequence], truth, make: Callable[..., ByteTrackTracker | SORTTracker]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        for sequence in sequences:
            rows = associate(sequence, make(frame_rate=sequence.fps))
            np.savetxt(Path(folder, f"{sequence.name}.txt"), rows, fmt="%g", delimiter=",")
        return evaluate(truth, Path(folder)).combined


def trials(name: str, grid: bool) -> Iterator[tuple[dict[str, float], Callable]]:
    """Settings, and the tracker with them; its own come first."""
    yield {}, BASELINES[name]
    for values in product(*GRID.values()) if grid else ():
        settings = dict(zip(GRID, values, strict=True))
        yield settings, partial(BASELINES[name], **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that memotr data synth made")
    parser.add_argument("--split", default="test")
    parser.add_argument("--grid", action="store_true", help="show the best of other settings, too")
    options = parser.parse_args()
    sequences = load_split(DatasetSpec(options.data, options.split))
    truth = load_ground_truth(options.data, split=options.split)
    boxes = sum(len(frame) for sequence in sequences for frame in sequence.boxes)
    title = f"{options.split}: {len(sequences)} sequences, {boxes:,} boxes, all of them given"
    table = Table("tracker", *COLUMNS, "settings", title=title)
    for name in BASELINES:
        found = []
        for settings, make in track(list(trials(name, options.grid)), name, console=Console(stderr=True)):
            found.append((score(sequences, truth, make), settings))
        best = max(found[1:], key=lambda each: each[0]["AssA"], default=None)
        for scores, settings in found[:1] + ([best] if best else []):
            said = ", ".join(f"{key}={value}" for key, value in settings.items()) or "its own"
            shown = [f"{scores[c]:.0f}" if c == "IDSW" else f"{100 * scores[c]:.1f}" for c in COLUMNS]
            table.add_row(name, *shown, said)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
