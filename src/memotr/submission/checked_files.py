"""Check of result files for benchmark servers, and conversion to a normal form.

MOTChallenge text: ten columns, commas, line feeds, no blank lines, no byte order mark, decimals without an exponent
that parse to the same double, frames in order. BDD100K's JSON: one frame per line, in order, with the documented
fields. Files that have this form already do not change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import MAX_COORDINATE, AnnotationTable, Floats
from memotr.data.formats.mot_text import CLASS, MARK, TextRows, read_values, results_table
from memotr.data.formats.scalabel import CORNERS, read_videos
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.data.sequences import Sequence
from memotr.data.truth import beyond_message
from memotr.documents import brief
from memotr.errors import UserError
from memotr.published import BDD100K_RENAMED

MOT_COLUMNS = 10
MAX_ID = 2**31 - 1
"""Largest id: Scalabel stores ids in 32 bits, and TrackEval allocates a table as long as the largest one."""
PERSON = 1
"""Class of MOTChallenge that is scored."""


@dataclass(frozen=True)
class CheckedFile:
    """Result file that has been checked.

    Attributes:
        text: content in normal form.
        boxes: number of boxes.
        outside: number of boxes entirely outside the image; 0 if the image size is unknown.
        shifted: True if ids began at 0, so that 1 was added to all of them.
    """

    text: str
    boxes: int
    outside: int
    shifted: bool = False


FileCheck = Callable[[Path, Sequence], CheckedFile]


def check_mot(path: Path, sequence: Sequence) -> CheckedFile:
    """Check the results of one sequence in MOTChallenge text.

    The tracker's ids begin at 0, but MOTChallenge's instructions count frames, ids and pixels from 1. TrackEval accepts
    an id 0, but the server's other code is not public, and metrics do not depend on the values of ids. Therefore, if a
    file has an id 0, 1 is added to every id. Boxes do not change: the training ground truth counts pixels from 1
    already.

    Args:
        path: result file.
        sequence: sequence of the results.

    Raises:
        UserError: an error of scoring, a number of columns other than ten, a frame beyond the sequence, a box without
            width or height, a class other than person, or a number that is not finite or far too large. The message
            names the line.
    """
    problems = Problems(stop=True)
    rows = read_values(path, problems)
    table = results_table(rows, problems)
    if not len(rows):
        return CheckedFile("", 0, 0)
    _refuse_rows(rows, table, len(sequence), problems)
    values = rows.values[np.argsort(table.frames, kind="stable")]  # (N, 10)
    shifted = bool(values[:, 1].min() == 0)
    values[:, 1] += shifted
    text = "".join(",".join(map(_plain, row)) + "\n" for row in values.tolist())
    return CheckedFile(text, len(rows), _outside(table.boxes, sequence), shifted)


def check_bdd(path: Path, sequence: Sequence) -> CheckedFile:
    """Check the results of one BDD100K video, which must list every frame, with ``frameIndex`` from 0.

    Args:
        path: result file.
        sequence: sequence of the results.

    Raises:
        UserError: an error of scoring, another video, a missing frame or one beyond the video, a ``name`` that is not
            the frame's image, an id that is not a whole number from 0 (as text or number), a box whose x2, y2 are not
            beyond x1, y1, a category that is not evaluated, or a score that is not a number. The message names frame
            and label.
    """
    videos = read_videos(path, Problems(stop=True), results=True, entries=True)
    other = next((name for name in videos if name != sequence.name), None)
    if other is not None:
        raise UserError(f"{path}: has frames of video {brief(other)}; it may have only those of {sequence.name!r}")
    _compare_frames(path, sequence, videos[sequence.name].frames if videos else ())
    listed = videos[sequence.name].entries if videos else ()
    entries = [_entry(frame, sequence, f"{path}: frameIndex {frame['frameIndex']}") for frame in listed]
    corners = [list(label["box2d"].values()) for entry in entries for label in entry["labels"]]
    text = "[\n" + ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries) + "\n]\n"
    return CheckedFile(text, len(corners), _outside(np.array(corners, np.float64).reshape(-1, 4), sequence))


def _refuse_rows(rows: TextRows, table: AnnotationTable, length: int, problems: Problems) -> None:
    """Report rows that a server would refuse as errors; ``length`` is the number of frames of the sequence."""
    columns = rows.values.shape[1]
    if columns != MOT_COLUMNS:
        expected = f"servers take {MOT_COLUMNS}: frame,id,left,top,width,height,1,-1,-1,-1"
        problems.error(rows.file, f"{columns} columns; {expected}", int(rows.lines[0]))
    table.report(table.frames < 1, "frame {frame}: frames are numbered from 1", problems)
    table.report(table.frames > length, beyond_message(table.frames, length), problems)
    too_large = "id {id} is too large for the evaluation; number tracks from 1"
    table.report(table.ids >= MAX_ID, too_large, problems)
    for column, name in ((4, "width"), (5, "height")):
        message = f"{name} is not above 0; columns 3 to 6 are left,top,width,height"
        table.report(rows.values[:, column] <= 0, message, problems)
    for column in range(MARK, MOT_COLUMNS):
        wrong = ~(np.abs(rows.values[:, column]) < MAX_COORDINATE)
        table.report(wrong, f"column {column + 1} is not a number to be submitted", problems)
    message = f"column 8 has another class than {PERSON}, the only scored class"
    table.report(rows.values[:, CLASS] > PERSON, message, problems)


def _plain(value: float) -> str:
    """Return the shortest decimal text of a double, without an exponent because some readers do not support it."""
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    return np.format_float_positional(value) if "e" in text else text


def _outside(boxes: Floats, sequence: Sequence) -> int:
    """Return the number of boxes (N, 4) xyxy entirely outside the image."""
    if sequence.size is None:
        return 0
    height, width = sequence.size
    beyond = (boxes[:, :2] >= (width, height)) | (boxes[:, 2:] <= 0)  # (N, 2)
    return int(beyond.any(axis=1).sum())


def _compare_frames(path: Path, sequence: Sequence, listed: Iterable[int]) -> None:
    """Raise UserError unless exactly the frames of the sequence are listed."""
    found = set(listed)
    frames = range(len(sequence))
    beyond = min(found.difference(frames), default=None)
    if beyond is not None:
        raise UserError(
            f"{path}: frameIndex {beyond} is beyond the video, which has {len(sequence)} frames counted from 0"
        )
    absent = sorted(set(frames).difference(found))
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UserError(f"{path}: no frameIndex {absent[0]}{more}; frames without objects must be listed as well")


def _entry(frame: dict[str, Any], sequence: Sequence, place: str) -> dict[str, Any]:
    """Return the checked entry of a frame in normal form; errors name ``place``."""
    index = frame["frameIndex"]
    image = sequence.frames[index].name
    name = frame.get("name")
    if not isinstance(name, str) or name.rpartition("/")[2] != image:
        raise UserError(f"{place}: name is {brief(name)}, but the image of this frame is {image}")
    labels = [_label(label, f"{place}, label {k}") for k, label in enumerate(frame.get("labels") or [])]
    if len({label["id"] for label in labels}) < len(labels):
        raise UserError(f"{place}: two of its ids are the same number")
    return {"name": image, "videoName": sequence.name, "frameIndex": index, "labels": labels}


def _label(label: dict[str, Any], place: str) -> dict[str, Any]:
    """Return a checked label in normal form; errors name ``place``."""
    track = str(label["id"])
    if not (track.isascii() and track.isdecimal() and len(track) <= 20 and int(track) <= MAX_ID):
        raise UserError(f"{place}: id is {brief(track)}; BDD100K's evaluation reads whole numbers from 0 to {MAX_ID}")
    number = str(int(track))
    category = BDD100K_RENAMED.get(label["category"], label["category"])
    if category not in BDD100K_CATEGORIES:
        raise UserError(
            f"{place}: category {brief(category)} is not evaluated; choose from {', '.join(BDD100K_CATEGORIES)}"
        )
    box = {key: label["box2d"][key] for key in CORNERS}
    if box["x2"] <= box["x1"] or box["y2"] <= box["y1"]:
        raise UserError(f"{place}: box2d is empty: x2, y2 must be beyond x1, y1")
    score = label.get("score")
    if score is None:
        return {"id": number, "category": category, "box2d": box}
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) < MAX_COORDINATE:
        raise UserError(f"{place}: score is {brief(score)}, not a number")
    return {"id": number, "category": category, "score": score, "box2d": box}
