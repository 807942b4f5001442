"""Reading ground truth: MOTChallenge text, of benchmarks and of one's own; BDD100K's labels are left to ``bdd``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from memotr.config import DataFormat
from memotr.data.formats.classes import numbered_classes
from memotr.data.layouts import DATASET_FILE, Layout
from memotr.errors import UserError
from memotr.evaluation.bdd import bdd_labels, load_bdd
from memotr.evaluation.coco_video import is_coco_video, load_coco_video
from memotr.evaluation.mot_layout import TruthFile, find_truth
from memotr.evaluation.mot_rows import CLASS, SCORE, MotRows, by_frame, read_rows, whole
from memotr.evaluation.teta_boxes import Bools, Ints, VideoBoxes
from memotr.evaluation.truth import OBJECTS, GroundTruth, SequenceTruth, second_half

Format = Literal["auto", "mot", "mot15", "mot16", "mot17", "mot20", "bdd100k"]
Protocol = Literal["mot", "mot15", "mot16", "mot17", "mot20"]

VAL_HALF = "val_half"  # as the readers of training data call it
PEDESTRIAN = 1
PEDESTRIANS = ("pedestrian",)
MOT_CLASSES = range(1, 14)  # numbers in the class column of MOT16, MOT17 and MOT20
DISTRACTORS: Mapping[Protocol, tuple[int, ...]] = {
    "mot16": (2, 7, 8, 12),  # person on vehicle, static person, distractor, reflection
    "mot17": (2, 7, 8, 12),
    "mot20": (2, 6, 7, 8, 12),  # and non-motorised vehicle
}
WITH_CLASS = (8, 9)  # columns of files whose eighth is a class; MOT15 has ten: the last three are world coordinates


def load_ground_truth(
    path: Path,
    *,
    split: str | None = None,
    seqmap: Path | None = None,
    only: Sequence[str] = (),
    half: bool = False,
    format: Format = "auto",
    layout: DataFormat = "auto",
) -> GroundTruth:
    """Read the ground truth of a split; frames count from 1 in it, also where files begin with frame 0.

    Args:
        path: a data set, a folder of sequences, a sequence, or its file; see the documentation for the layouts.
        split: part of the data set, such as ``val``; ``val_half`` is ``half`` of ``train``, or of all there is.
        seqmap: text file that names the sequences to score; None: ``<split>_seqmap.txt`` of the data set, else all.
        only: patterns of sequence names (``MOT17-*-SDP``); empty: all.
        half: score the second half of every sequence: of n frames those from n // 2 + 2 on, counted from 1.
        format: whose rules decide what counts; ``auto``: by the names of the sequences (MOT16-…, MOT17-…, MOT20-…),
            ``mot`` (every row with a mark other than 0) where they say nothing, and BDD100K or COCO video for JSON.
        layout: how the files lie, where that is not to be seen from the folder.

    Raises:
        UserError: there is none, or something in it is wrong (with file and line).
    """
    val_half = split == VAL_HALF
    if format == "auto" and seqmap is None and is_coco_video(path, layout):
        split = "train" if val_half else split
        return load_coco_video(path, split=split, only=only, half=half or val_half, layout=layout)
    if val_half:
        half = True
        split = "train" if any((path / base / "train").is_dir() for base in ("", "images")) else None
    forced = "bdd100k" in (format, layout)
    labels = bdd_labels(path, split, forced=forced) if forced or layout == "auto" else None
    if labels is not None:
        if half or seqmap is not None:
            raise UserError(f"{labels}: --half and --seqmap are for MOTChallenge text, not for BDD100K labels")
        return load_bdd(labels, only)
    folder, names = find_truth(path, split=split, seqmap=seqmap, only=only, layout=layout)
    if folder.layout is not None and folder.layout.format not in ("mot", "mot17"):
        known = "MOTChallenge text, BDD100K and COCO-video JSON"
        raise UserError(f"{path}: is {folder.layout.format}; what can be scored is {known}")
    files = [file for name in names if (file := folder.files[name]) is not None]
    rows = [read_rows(file.file) for file in files]
    protocols = [_protocol(file.name, format) for file in files]
    if set(protocols) == {"mot"}:
        numbers, classes = _own_classes(rows, folder.layout)
    else:
        numbers, classes = None, PEDESTRIANS
    first = folder.first_frame
    sequences = [_sequence(*each, first, numbers, half) for each in zip(files, rows, protocols, strict=True)]
    several = numbers if len(classes) > 1 else None
    only_class = None if set(protocols) == {"mot"} else PEDESTRIAN
    return GroundTruth(path, tuple(sequences), classes, several, only_class)


def _protocol(name: str, format: Format) -> Protocol:
    if format != "auto" and format != "bdd100k":
        return format
    known = re.match(r"(MOT16|MOT17|MOT20)-\d\d", name)
    return {"MOT16": "mot16", "MOT17": "mot17", "MOT20": "mot20"}[known[1]] if known else "mot"  # type: ignore[return-value]


def _own_classes(files: Sequence[MotRows], layout: Layout | None) -> tuple[dict[int, int], tuple[str, ...]]:
    """Number in the class column → label, and the names: those of dataset.yaml, else of all numbers that count."""
    named = layout.settings.classes if layout is not None else None
    if layout is not None and named is not None:
        by_number = numbered_classes(named, layout.root / DATASET_FILE)
    else:
        found = {number for rows in files for number in np.unique(_classes(rows)[_marked(rows)]).tolist()}
        by_number = {number: f"class {number}" for number in sorted(found)}
    if len(by_number) < 2:
        return dict.fromkeys(by_number, 0), tuple(by_number.values()) if named else OBJECTS
    classes = tuple(dict.fromkeys(by_number.values()))
    return {number: classes.index(name) for number, name in by_number.items()}, classes


def _sequence(
    source: TruthFile, rows: MotRows, protocol: Protocol, first: int, numbers: Mapping[int, int] | None, half: bool
) -> SequenceTruth:
    """``first`` is what the file counts frames from; the truth counts them from 1, as results do."""
    said = source.length()
    if said is None and half:
        raise UserError(f"{source.file}: --half needs the number of frames; put a seqinfo.ini with seqLength beside it")
    length = int(rows.frames.max(initial=first - 1)) - first + 1 if said is None else said
    rows.refuse(rows.frames < first, f"frame {{frame}}: frames are counted from {first}")
    beyond = f"frame {{frame}} is beyond the sequence, which has {length}" + (", counted from 0" if first == 0 else "")
    rows.refuse(rows.frames - first >= length, beyond)
    rows = rows.later(1 - first)
    labels, scored, distractors = _judge(rows, protocol, numbers)
    frames = second_half(length) if half else range(1, length + 1)
    if not len(frames):
        raise UserError(f"{source.file}: {length} frames have no second half")
    boxes, order = by_frame(rows, frames, labels, ~scored)
    nothing = VideoBoxes.empty()
    return SequenceTruth(source.name, frames, boxes, distractors[order], nothing, length, source.folder)


def _judge(rows: MotRows, protocol: Protocol, numbers: Mapping[int, int] | None) -> tuple[Ints, Bools, Bools]:
    """Label, whether it is scored, and whether it is a distractor, of each row (N,)."""
    labels, classes, scored = np.zeros(len(rows), np.int64), _classes(rows), _marked(rows)
    nothing = np.zeros(len(rows), np.bool_)
    if protocol == "mot15" or (protocol == "mot" and numbers is None):
        return labels, scored, nothing
    if numbers is not None:
        known = np.isin(classes, list(numbers))
        labels[known] = [numbers[number] for number in classes[known].tolist()]
        return labels, scored & known, nothing
    rows.refuse(
        ~np.isin(classes, MOT_CLASSES),
        f"the class is none of {protocol.upper()}'s (1 to 13); for other data say --format mot",
    )
    return labels, scored & (classes == PEDESTRIAN), np.isin(classes, DISTRACTORS[protocol])


def _marked(rows: MotRows) -> Bools:
    marks = rows.column(SCORE, 1)
    rows.refuse(~np.isfinite(marks), "the mark (column 7) is not a number")
    kept: Bools = np.trunc(marks) != 0
    return kept


def _classes(rows: MotRows) -> Ints:
    """(N,) numbers in the class column; 1 where there is none."""
    if rows.values.shape[1] not in WITH_CLASS:
        return np.ones(len(rows), np.int64)
    values = rows.values[:, CLASS]
    rows.refuse(~whole(values), "the class (column 8) is not a whole number")
    return values.astype(np.int64)
