"""Ground truth in COCO-style video JSON: what training reads of it is what is scored."""

from __future__ import annotations

from collections.abc import Sequence as Many
from pathlib import Path

import numpy as np

from memotr.config import DataFormat
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.layouts import recognise
from memotr.data.sequences import Sequence
from memotr.documents import read_json
from memotr.errors import UserError
from memotr.evaluation.names import fits, shortened
from memotr.evaluation.teta_boxes import VideoBoxes
from memotr.evaluation.truth import GroundTruth, SequenceTruth, second_half


def is_coco_video(path: Path, layout: DataFormat = "auto") -> bool:
    """Whether a data set, or a file, is in this format, and not in Scalabel's; ``layout`` is what it is said to be."""
    try:
        found = recognise(path, layout)
        if found.format != "coco-video":
            return False
        content = read_json(next(iter(found.splits.values())))
    except UserError:
        return False  # whoever reads it says what is wrong
    return isinstance(content, dict) and "videos" in content


def load_coco_video(
    path: Path, *, split: str | None, only: Many[str], half: bool, layout: DataFormat = "auto"
) -> GroundTruth:
    """Every video whose name fits. Results name a class by its position among the categories, from 1; crowds are left
    out, as training does.

    Raises:
        UserError: no such split, none named where there are several, or anything that is wrong in it.
    """
    splits = recognise(path, layout).splits
    if split is None and len(splits) > 1:
        raise UserError(f"{path}: has the splits {', '.join(splits)}; say which with --split")
    found = {sequence.name: sequence for sequence in load_split(DatasetSpec(path, split, layout))}
    names = fits(found, only)
    if not names:
        raise UserError(f"{path}: no video is named {' or '.join(only)}; there are {shortened(found)}")
    sequences = tuple(_truth(path, found[name], half) for name in names)
    classes = found[names[0]].classes
    numbers = {label + 1: label for label in range(len(classes))} if len(classes) > 1 else None
    return GroundTruth(path, sequences, classes, numbers)


def _truth(path: Path, sequence: Sequence, half: bool) -> SequenceTruth:
    length = len(sequence)
    frames = second_half(length) if half else range(1, length + 1)
    if not frames:
        raise UserError(f"{path}: {length} frames of {sequence.name} have no second half")
    scored = (sequence.boxes or ())[frames[0] - 1 :]
    counts = [len(boxes) for boxes in scored]
    ids, labels, boxes = (
        np.concatenate([getattr(one, name) for one in scored]) if scored else np.zeros(shape, np.int64)
        for name, shape in (("ids", 0), ("labels", 0), ("boxes", (0, 4)))
    )
    nothing = np.zeros(len(ids), np.bool_)
    objects = VideoBoxes(np.repeat(np.arange(len(counts)), counts), ids, labels, boxes.astype(np.float64), nothing)
    folder = sequence.frames[0].parent
    images = tuple(file.name for file in sequence.frames)
    return SequenceTruth(sequence.name, frames, objects, nothing, VideoBoxes.empty(), length, folder, images)
