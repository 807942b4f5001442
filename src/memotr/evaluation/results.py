"""Reading of tracking results, and checks against the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import (
    NO_CATEGORY,
    AnnotationTable,
    Ints,
    corner_likeness,
    seem_box_numbers,
    seem_fractions,
)
from memotr.data.formats.dataset_format import result_files
from memotr.data.formats.frame_files import files_in
from memotr.data.formats.mot_layout import DETECTOR_COPY
from memotr.data.formats.mot_text import read_results as read_text
from memotr.data.formats.scalabel import ScalabelVideo, read_videos
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_OTHERS
from memotr.data.sequences import list_names
from memotr.data.truth import SequenceTruth, VideoBoxes, beyond_message
from memotr.documents import brief
from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth

MISSING_REMEDY = "track them, or pass --allow-missing to score them as empty"


@dataclass(frozen=True, eq=False)
class Results:
    """Tracking results and their ground truth.

    Attributes:
        truth: ground truth of the sequences to score.
        boxes: sequence name → predictions, with frame numbers as in the ground truth.
        notes: notes about the files, for the user; those of the ground truth come first.
    """

    truth: GroundTruth
    boxes: Mapping[str, VideoBoxes]
    notes: tuple[str, ...]


def read_results(path: Path, truth: GroundTruth, *, allow_missing: bool = False) -> Results:
    """Read the results of every sequence of the ground truth.

    Args:
        path: MOTChallenge text: folder of ``<sequence>.txt`` (or its subfolder ``results`` or ``data``), or the file
            of a single sequence. BDD100K: a JSON file or a folder of JSON files.
        truth: ground truth to score against.
        allow_missing: treat a sequence (BDD100K: or a frame) without results as empty; otherwise it is an error.

    Raises:
        UserError: results are missing, or a file has an error; the message names file and line.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if truth.results.names_classes:
        return _read_scalabel(path, truth, allow_missing)
    return _read_text(path, truth, allow_missing)


# MOTChallenge text


def _read_text(path: Path, truth: GroundTruth, allow_missing: bool) -> Results:
    truth, files, notes = _find(path, truth, allow_missing)
    problems = Problems(stop=True)
    tables = {name: read_text(file, problems, numbered=truth.numbers is not None) for name, file in files.items()}
    empty = [name for name, found in tables.items() if not len(found)]
    if empty:
        notes.append(f"empty result files: {list_names(empty)}")
    categories = np.concatenate([[], *(found.categories for found in tables.values())])
    if truth.numbers is not None and len(categories) and (categories == NO_CATEGORY).all():
        notes.append(f"results have no classes (column 8): the {len(truth.classes)} classes are scored as one")
        truth = truth.class_agnostic()
    boxes, renumbered, unscored = {}, [], 0
    suspect: dict[str, list[str]] = {}
    for sequence in truth.sequences:
        table = tables.get(sequence.name)
        if table is None:
            boxes[sequence.name] = VideoBoxes.empty()
            continue
        labels = _labels(table, truth, problems)
        unscored += int(np.count_nonzero(labels < 0))
        for message in _suspect_columns(table, sequence):
            suspect.setdefault(message, []).append(sequence.name)
        aligned = _numbered_as_truth(table, sequence, problems)
        renumbered += [sequence.name] if aligned is not table else []
        ignore = np.zeros(len(table), np.bool_)
        boxes[sequence.name], _ = VideoBoxes.by_frame(aligned, sequence.frames, labels, ignore)
    if unscored:
        notes.append(f"{unscored:,} boxes of classes that the benchmark does not score: left out")
    notes += [f"{message}: {list_names(names)}" for message, names in suspect.items()]
    if renumbered:
        notes.append(f"results that number the second half from 1: {list_names(renumbered)}")
    return Results(truth, boxes, (*truth.notes, *notes))


def _suspect_columns(table: AnnotationTable, truth: SequenceTruth) -> Iterator[str]:
    """Yield a note for each kind of box or id columns that probably differs between results and ground truth."""
    found, expected = table.boxes, truth.objects.boxes
    for name, boxes, others in (("results", found, expected), ("ground truth", expected, found)):
        if seem_fractions(boxes) and not seem_fractions(others):
            yield f"{name} with boxes that are probably fractions of the image, not pixels"
        elif corner_likeness(boxes) > 0.99 and corner_likeness(others) < 0.5 and len(others):
            yield f"{name} with boxes that are probably corners, not left, top, width, height"
    if len(truth.frames) > 1 and seem_box_numbers(table.ids) and not seem_box_numbers(truth.objects.ids):
        yield "results with ids that occur in one frame each, and probably number boxes, not tracks"


def _find(path: Path, truth: GroundTruth, allow_missing: bool) -> tuple[GroundTruth, dict[str, Path], list[str]]:
    """Return the ground truth to score, the result file by sequence name, and notes."""
    if path.is_file():
        found = {truth.names[0] if len(truth.names) == 1 else path.stem: path}
    else:
        found = result_files(path, truth.results.suffix, truth.names)
    notes: list[str] = []
    one = _one_detector(truth.names, [name for name in found if name in truth.names])
    if one and len(one) < len(truth.names):
        notes.append(f"of the three copies of each MOT17 video, only those with results are scored: {list_names(one)}")
        truth = truth.select(one)
    missing = [name for name in truth.names if name not in found]
    if missing and not allow_missing:
        raise UserError(
            f"{path}: no results for {len(missing)} of {len(truth.names)} sequences ({list_names(missing)}); "
            f"{MISSING_REMEDY}"
        )
    if missing:
        notes.append(f"sequences without results, scored as empty: {list_names(missing)}")
    extra = [name for name in found if name not in truth.names]
    if extra:
        notes.append(f"result files of sequences that are not scored: {list_names(extra)}")
    return truth, {name: found[name] for name in truth.names if name in found}, notes


def _one_detector(names: Sequence[str], with_results: Sequence[str]) -> list[str] | None:
    """Return the names of one detector's copies of MOT17 videos if only these have results; else None."""
    copies = {name: match for name in names if (match := DETECTOR_COPY.fullmatch(name))}
    detectors = {copies[name]["detector"] for name in with_results if name in copies}
    if len(copies) < len(names) or len(detectors) != 1:
        return None
    return [name for name, match in copies.items() if match["detector"] in detectors]


def _labels(table: AnnotationTable, truth: GroundTruth, problems: Problems) -> Ints:
    """Return the labels (N,), −1 for unscored classes of the benchmark; report other classes as errors."""
    if truth.only_class:
        known = " or ".join(map(str, sorted(truth.only_class)))
        other = (table.categories > 0) & ~np.isin(table.categories, list(truth.only_class))
        table.report(other, f"column 8 has another class than {known}, the only scored class", problems)
    if truth.numbers is None:
        return np.zeros(len(table), np.int64)
    known = ", ".join(map(str, truth.numbers))
    message = f"class {{category}} (column 8) is not a class of the ground truth ({known})"
    remedy = "use the numbers of the ground truth, or -1 in every row for no classes"
    unknown = ~np.isin(table.categories, [*truth.numbers, *truth.unscored])
    table.report(unknown, f"{message}: {remedy}", problems)
    return np.array([truth.numbers.get(number, -1) for number in table.categories.tolist()], np.int64)


def _numbered_as_truth(table: AnnotationTable, sequence: SequenceTruth, problems: Problems) -> AnnotationTable:
    """Return the rows with frame numbers of the ground truth; results of second halves may be numbered from 1.

    Frames that are not scored or beyond the sequence are reported as errors.
    """
    frames = table.frames
    table.report(frames < 1, "frame {frame}: frames are numbered from 1", problems)
    table.report(frames > sequence.length, beyond_message(frames, sequence.length), problems)
    outside = frames < sequence.frames[0]
    if not outside.any():
        return table
    shift = int(sequence.frames[0]) - 1
    if (frames <= len(sequence.frames)).all():
        return replace(table, frames=frames + shift)
    scored = f"frames {shift + 1} to {sequence.length} (or the same frames numbered from 1)"
    table.report(outside, f"frame {{frame}} is in the first half; only {scored} are scored", problems)
    return table


# BDD100K JSON


def _read_scalabel(path: Path, truth: GroundTruth, allow_missing: bool) -> Results:
    if not any((~sequence.objects.ignore).any() for sequence in truth.sequences):
        raise UserError("the ground truth has no objects of an evaluated category; is it a test split?")
    found = _videos(path)
    extra = [name for name in found if name not in truth.names]
    if extra and len(extra) == len(found):
        raise UserError(f"{path}: video {brief(extra[0])}{_more(extra)} is not in the ground truth; wrong split?")
    absent = [name for name in truth.names if name not in found]
    if absent and not allow_missing:
        raise UserError(f"{path}: no results for video {brief(absent[0])}{_more(absent)}; {MISSING_REMEDY}")
    notes = [f"videos without results, scored as empty: {list_names(absent)}"] if absent else []
    notes += [f"results of videos that are not scored: {list_names(extra)}"] if extra else []
    boxes = {}
    for sequence in truth.sequences:
        video = found.get(sequence.name)
        if video is None:
            boxes[sequence.name] = VideoBoxes.empty()
            continue
        _check_frames(sequence, video, path, allow_missing)
        labels = _named_labels(video, truth.classes)
        ignore = np.zeros(len(video.table), np.bool_)
        boxes[sequence.name], _ = VideoBoxes.by_frame(video.table, sequence.frames, labels, ignore)
    return Results(truth, boxes, (*truth.notes, *notes))


def _videos(path: Path) -> dict[str, ScalabelVideo]:
    """Read the videos of a file, or of all files in a folder."""
    files = files_in(path, ".json") if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no .json file in this folder; expected one per video, or one for all videos")
    problems = Problems(stop=True)
    videos: dict[str, ScalabelVideo] = {}
    for file in files:
        for name, video in read_videos(file, problems, results=True).items():
            if name in videos:
                raise UserError(f"{file}: video {brief(name)} is also in another file of this folder; remove one")
            videos[name] = video
    return videos


def _check_frames(truth: SequenceTruth, found: ScalabelVideo, path: Path, allow_missing: bool) -> None:
    """Raise UserError for a frame that is not in the ground truth or has no results."""
    unknown = sorted(set(found.frames).difference(truth.frames))
    if unknown:
        raise UserError(
            f"{path}: video {brief(truth.name)} has frameIndex {unknown[0]}{_more(unknown)}, unlike the ground truth; "
            "frameIndex must count from 0"
        )
    absent = sorted(set(truth.frames).difference(found.frames))
    if absent and not allow_missing:
        raise UserError(
            f"{path}: video {brief(truth.name)} has no frameIndex {absent[0]}{_more(absent)}; {MISSING_REMEDY}"
        )


def _named_labels(video: ScalabelVideo, classes: Sequence[str]) -> Ints:
    """Return the labels (N,), −1 for categories that are annotated but not evaluated."""
    labels = np.full(len(video.table), NO_CATEGORY)
    for number, name in video.categories.items():
        rows = video.table.categories == number
        if name in classes:
            labels[rows] = classes.index(name)
        elif name not in BDD100K_OTHERS:
            known = ", ".join((*classes, *BDD100K_OTHERS))
            message = f"unknown category {brief(name)}; known are {known}".replace("{", "{{").replace("}", "}}")
            video.table.report(rows, message, Problems(stop=True))
    return labels


def _more(names: Sequence[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
