"""BDD100K: labels and results in Scalabel's JSON, as the rest of the evaluation takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memotr.errors import UserError
from memotr.evaluation.names import fits, shortened
from memotr.evaluation.scalabel import BDD100K_CATEGORIES, pair_videos, read_scalabel
from memotr.evaluation.teta_boxes import VideoBoxes
from memotr.evaluation.truth import GroundTruth, Results, SequenceTruth

LABELS = Path("labels", "box_track_20")


def bdd_labels(path: Path, split: str | None, *, forced: bool) -> Path | None:
    """JSON file or folder of the labels of a split; None where ``path`` is something else, unless it is ``forced``."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if (path / LABELS).is_dir():
        there = sorted(folder.name for folder in (path / LABELS).iterdir() if folder.is_dir())
        if split not in there:
            raise UserError(f"{path}: has the splits {', '.join(there)}; say which with --split")
        return path / LABELS / split
    is_json = path.suffix == ".json" or (path.is_dir() and any(path.glob("*.json")) and not any(path.glob("*/gt")))
    return path if forced or is_json else None


def load_bdd(path: Path, only: Sequence[str]) -> GroundTruth:
    """Ground truth of the videos whose names fit; all of them where ``only`` is empty.

    Corners are taken as they are, as TrackEval does for BDD100K; TETA has a pixel more, see :func:`with_last_pixels`.
    """
    videos = read_scalabel(path, ground_truth=True)
    names = fits(videos, only)
    if not names:
        raise UserError(f"{path}: no video is named {' or '.join(only)}; there are {shortened(videos)}")
    sequences = []
    for name in names:
        frames = videos[name].frames
        boxes = _indexed(videos[name].boxes, frames)
        objects, regions = boxes[~boxes.ignore], boxes[boxes.ignore]
        sequences.append(SequenceTruth(name, frames, objects, np.zeros(len(objects), np.bool_), regions, len(frames)))
    return GroundTruth(path, tuple(sequences), BDD100K_CATEGORIES, videos={name: videos[name] for name in names})


def read_bdd_results(path: Path, truth: GroundTruth, *, allow_missing: bool) -> Results:
    """Predictions for ground truth of :func:`load_bdd`; no video or frame may be missing unless ``allow_missing``."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    labels = dict(truth.videos or {})
    found = read_scalabel(path, ground_truth=False)
    extra = [name for name in found if name not in labels]
    if len(extra) < len(found):
        found = {name: video for name, video in found.items() if name in labels}
    pairs = pair_videos(labels, found, path, allow_missing=allow_missing)
    absent = [name for name in labels if name not in found]
    notes = [f"videos without results, counted as empty: {shortened(absent)}"] if absent else []
    notes += [f"results of no video that is scored: {shortened(extra)}"] if extra else []
    return Results(truth, {s.name: _indexed(pairs[s.name][1], s.frames) for s in truth.sequences}, tuple(notes))


def in_one_table(truth: SequenceTruth) -> VideoBoxes:
    """Objects and ignore regions together, as TETA takes them."""
    parts = truth.objects, truth.regions
    order = np.argsort(np.concatenate([part.frames for part in parts]), kind="stable")
    columns = ("frames", "ids", "labels", "boxes", "ignore")
    return VideoBoxes(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in columns))


def with_last_pixels(boxes: VideoBoxes) -> VideoBoxes:
    """Boxes that reach one pixel further: in Scalabel's evaluation and TETA x2 and y2 are the last pixels of a box."""
    low, high = boxes.boxes[:, :2], boxes.boxes[:, 2:]
    # Width first, as the evaluators that write left, top, width, height do: the same rounding.
    corners = np.concatenate([low, low + (high - low + 1)], axis=1)  # (N, 4)
    return VideoBoxes(boxes.frames, boxes.ids, boxes.labels, corners, boxes.ignore)


def _indexed(boxes: VideoBoxes, frames: Sequence[int]) -> VideoBoxes:
    """With frame numbers replaced by where they stand in ``frames``."""
    return VideoBoxes(np.searchsorted(frames, boxes.frames), boxes.ids, boxes.labels, boxes.boxes, boxes.ignore)
