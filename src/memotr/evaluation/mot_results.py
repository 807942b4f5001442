"""Result files of a tracker: one a sequence, found, checked against the ground truth and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memotr.data.formats.mot import DETECTOR_COPY
from memotr.errors import UserError
from memotr.evaluation.mot_rows import CLASS, MotRows, by_frame, read_rows, whole
from memotr.evaluation.names import TO_ALLOW, shortened
from memotr.evaluation.teta_boxes import Ints, VideoBoxes
from memotr.evaluation.truth import GroundTruth, Results, SequenceTruth

FARTHEST = 2**53  # of classes: beyond it float64 cannot tell them apart, and what is infinite has no integer


def read_mot_results(path: Path, truth: GroundTruth, *, allow_missing: bool = False) -> Results:
    """Read the results for every sequence of the ground truth.

    Args:
        path: folder of ``<sequence>.txt`` (or a folder ``results`` or ``data`` in it), or one file for one sequence.
        truth: of MOTChallenge text.
        allow_missing: a sequence without a file counts as one in which nothing was found.

    Raises:
        UserError: nothing is there, a sequence has no file, or something in a file is wrong (named with its line).
    """
    truth, files, notes = _find(path, truth, allow_missing)
    rows = {name: read_rows(file) for name, file in files.items()}
    empty = [name for name, found in rows.items() if not len(found)]
    if empty:
        notes.append(f"empty result files: {shortened(empty)}")
    if truth.numbers is not None and not any((_classes(found) > 0).any() for found in rows.values()):
        notes.append(f"results name no class (column 8): the {len(truth.classes)} classes are scored as one")
        truth = truth.blind()
    boxes, renumbered = {}, []
    for sequence in truth.sequences:
        found = rows.get(sequence.name)
        if found is None:
            boxes[sequence.name] = VideoBoxes.empty()
            continue
        labels = _labels(found, truth)
        shifted = _numbered_as_source(found, sequence)
        renumbered += [sequence.name] if shifted is not found else []
        boxes[sequence.name], _ = by_frame(shifted, sequence.frames, labels, np.zeros(len(found), np.bool_))
    if renumbered:
        notes.append(f"results that number the second half from 1: {shortened(renumbered)}")
    return Results(truth, boxes, tuple(notes))


def _find(path: Path, truth: GroundTruth, allow_missing: bool) -> tuple[GroundTruth, dict[str, Path], list[str]]:
    """The sequences to score, name → file of those that have one, and notes."""
    there = _files(path, truth.names)
    notes: list[str] = []
    one = _one_detector(truth.names, [name for name in there if name in truth.names])
    if one and len(one) < len(truth.names):
        notes.append(f"of MOT17's three copies of a video only those with results are scored: {shortened(one)}")
        truth = truth.select(one)
    missing = [name for name in truth.names if name not in there]
    if missing and not allow_missing:
        raise UserError(
            f"{path}: no results for {len(missing)} of {len(truth.names)} sequences ({shortened(missing)}); {TO_ALLOW}"
        )
    if missing:
        notes.append(f"sequences without results, counted as empty: {shortened(missing)}")
    extra = [name for name in there if name not in truth.names]
    if extra:
        notes.append(f"result files of no sequence that is scored: {shortened(extra)}")
    return truth, {name: there[name] for name in truth.names if name in there}, notes


def _files(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """Every result file, by the name of the sequence that it is named for."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return {names[0] if len(names) == 1 else path.stem: path}
    files = sorted(path.glob("*.txt"))
    for inner in ("results", "data"):  # of `memotr eval`, and of TrackEval
        if not any(file.stem in names for file in files) and (path / inner).is_dir():
            files = sorted((path / inner).glob("*.txt"))
    if not files:
        raise UserError(f"{path}: no result files (<sequence>.txt) in this folder")
    return {file.stem: file for file in files}


def _one_detector(names: Sequence[str], there: Sequence[str]) -> list[str] | None:
    """Where all results are of one detector's copies of MOT17: the names of these copies."""
    copies = {name: match for name in names if (match := DETECTOR_COPY.fullmatch(name))}
    detectors = {copies[name]["detector"] for name in there if name in copies}
    if len(copies) < len(names) or len(detectors) != 1:
        return None
    return [name for name, match in copies.items() if match["detector"] in detectors]


def _classes(rows: MotRows) -> Ints:
    """(N,) numbers in the class column; −1 where there is none, and the greatest of all for what lies beyond."""
    values = rows.column(CLASS, -1)
    return np.clip(np.where(np.isnan(values), -1, values), -FARTHEST, FARTHEST).astype(np.int64)


def _labels(rows: MotRows, truth: GroundTruth) -> Ints:
    """(N,) Raises UserError: a class that is not scored, where classes count."""
    values, classes = rows.column(CLASS, -1), _classes(rows)
    if truth.only_class is not None:
        rows.refuse(classes > truth.only_class, f"column 8 is a class other than {truth.only_class}, the one scored")
    if truth.numbers is None:
        return np.zeros(len(rows), np.int64)
    rows.refuse(~whole(values) & ~np.isnan(values), "the class (column 8) is not a whole number")
    known = ", ".join(map(str, truth.numbers))
    rows.refuse(~np.isin(classes, list(truth.numbers)), f"column 8 is no class of the ground truth ({known})")
    return np.array([truth.numbers[number] for number in classes.tolist()], np.int64)


def _numbered_as_source(rows: MotRows, sequence: SequenceTruth) -> MotRows:
    """The same rows with frames counted as the ground truth does; second halves are often numbered from 1.

    Raises:
        UserError: a frame that is not scored, or beyond the sequence.
    """
    rows.refuse(rows.frames < 1, "frame {frame}: frames are counted from 1")
    rows.refuse(rows.frames > sequence.length, f"frame {{frame}} is beyond the sequence, which has {sequence.length}")
    outside = rows.frames < sequence.frames[0]
    if not outside.any():
        return rows
    shift = int(sequence.frames[0]) - 1
    if (rows.frames <= len(sequence.frames)).all():
        return rows.later(shift)
    scored = f"frames {shift + 1} to {sequence.length} (or the same numbered from 1)"
    raise rows.error(int(np.flatnonzero(outside)[0]), f"frame {{frame}} is in the first half; only {scored} are scored")
