"""One result file on its way to a benchmark's server: checked, then in the one form that leaves nothing to guess.

Text of MOTChallenge: ten columns, commas, line feeds, no blank line, no byte order mark, numbers in plain decimals that
read back as the same double, frames in order. JSON of BDD100K: one frame a line, in order, with the fields that its
documentation names. What is in this form already comes out byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import FAR, AnnotationTable, Floats
from memotr.data.formats.mot_text import CLASS, MARK, TextRows, read_values, results_table
from memotr.data.formats.scalabel import CORNERS, read_videos
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.data.sequences import Sequence
from memotr.documents import brief
from memotr.errors import UserError
from memotr.published import BDD100K_RENAMED

MOT_COLUMNS = 10
LARGEST_ID = 2**31 - 1  # Scalabel keeps ids in 32 bits; TrackEval makes a table as long as the largest one
PERSON = 1


@dataclass(frozen=True)
class CheckedFile:
    """What goes into the archive.

    Attributes:
        text: the whole file.
        boxes: how many it has.
        outside: how many of them have no pixel in the image; 0 where its size is not known.
        shifted: ids began at 0, and all of them are one higher now.
    """

    text: str
    boxes: int
    outside: int
    shifted: bool = False


FileCheck = Callable[[Path, Sequence], CheckedFile]


def check_mot(path: Path, sequence: Sequence) -> CheckedFile:
    """Results in MOTChallenge text, for one sequence.

    Ids are the tracker's, from 0; MOTChallenge's instructions want frames, ids and boxes counted from 1. TrackEval
    takes a 0, but what else a server does with ids nobody outside can see, and metrics do not depend on their values:
    where there is an id 0, every id becomes one higher. Boxes stay: the ground truth that trackers learn from counts
    them from 1 already.

    Raises:
        UserError: with the line: all that scoring refuses, other than ten columns, a frame beyond the sequence, a
            box without width or height, a class other than a person, a number that is none or of no sensible size.
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
    """Results of one BDD100K video: every frame of it, ``frameIndex`` from 0, those without objects too.

    Raises:
        UserError: with frame and label: all that scoring refuses, another video, a missing frame or one beyond
            the video, another image than ``name`` says, an id that is no whole number from 0 (as text or number), a box
            whose x2, y2 are not beyond x1, y1, a category that is not evaluated, a score that is no number.
    """
    videos = read_videos(path, Problems(stop=True), results=True, entries=True)
    other = next((name for name in videos if name != sequence.name), None)
    if other is not None:
        raise UserError(f"{path}: has frames of video {brief(other)}; it is for {sequence.name!r} alone")
    _compare_frames(path, sequence, videos[sequence.name].frames if videos else ())
    listed = videos[sequence.name].entries if videos else ()
    entries = [_entry(frame, sequence, f"{path}: frameIndex {frame['frameIndex']}") for frame in listed]
    corners = [list(label["box2d"].values()) for entry in entries for label in entry["labels"]]
    text = "[\n" + ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries) + "\n]\n"
    return CheckedFile(text, len(corners), _outside(np.array(corners, np.float64).reshape(-1, 4), sequence))


def _refuse_rows(rows: TextRows, table: AnnotationTable, length: int, problems: Problems) -> None:
    columns = rows.values.shape[1]
    if columns != MOT_COLUMNS:
        expected = f"servers take {MOT_COLUMNS}: frame,id,left,top,width,height,1,-1,-1,-1"
        problems.error(rows.file, f"{columns} columns; {expected}", int(rows.lines[0]))
    table.report(table.frames < 1, "frame {frame}: frames are counted from 1", problems)
    table.report(table.frames > length, f"frame {{frame}} is beyond the sequence, which has {length}", problems)
    too_large = "id {id} is too large for the evaluation; number tracks from 1"
    table.report(table.ids >= LARGEST_ID, too_large, problems)
    for column, name in ((4, "width"), (5, "height")):
        message = f"{name} is not above 0; columns 3 to 6 are left,top,width,height"
        table.report(rows.values[:, column] <= 0, message, problems)
    for column in range(MARK, MOT_COLUMNS):
        wrong = ~(np.abs(rows.values[:, column]) < FAR)
        table.report(wrong, f"column {column + 1} is not a number to be submitted", problems)
    message = f"column 8 is a class other than {PERSON}, the one scored"
    table.report(rows.values[:, CLASS] > PERSON, message, problems)


def _plain(value: float) -> str:
    """The shortest decimal that is this double, without an exponent, which some readers take for text."""
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    return np.format_float_positional(value) if "e" in text else text


def _outside(boxes: Floats, sequence: Sequence) -> int:
    """How many of (N, 4) xyxy boxes have nothing in the image."""
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
        raise UserError(f"{path}: no frameIndex {absent[0]}{more}; frames without objects are listed, too")


def _entry(frame: dict[str, Any], sequence: Sequence, place: str) -> dict[str, Any]:
    index = frame["frameIndex"]
    image = sequence.frames[index].name
    name = frame.get("name")
    if not isinstance(name, str) or name.rpartition("/")[2] != image:
        raise UserError(f"{place}: name is {brief(name)}, but the image of this frame is {image}")
    labels = [_label(label, f"{place}, label {k}") for k, label in enumerate(frame.get("labels") or [])]
    if len({label["id"] for label in labels}) < len(labels):
        raise UserError(f"{place}: has two ids that are the same number")
    return {"name": image, "videoName": sequence.name, "frameIndex": index, "labels": labels}


def _label(label: dict[str, Any], place: str) -> dict[str, Any]:
    track = str(label["id"])
    if not (track.isascii() and track.isdecimal() and len(track) <= 20 and int(track) <= LARGEST_ID):
        raise UserError(
            f"{place}: id is {brief(track)}; BDD100K's evaluation reads whole numbers from 0 to {LARGEST_ID}"
        )
    number = str(int(track))
    category = BDD100K_RENAMED.get(label["category"], label["category"])
    if category not in BDD100K_CATEGORIES:
        raise UserError(
            f"{place}: category {brief(category)} is not evaluated; those are {', '.join(BDD100K_CATEGORIES)}"
        )
    box = {key: label["box2d"][key] for key in CORNERS}
    if box["x2"] <= box["x1"] or box["y2"] <= box["y1"]:
        raise UserError(f"{place}: box2d is empty: x2, y2 have to be beyond x1, y1")
    score = label.get("score")
    if score is None:
        return {"id": number, "category": category, "box2d": box}
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) < FAR:
        raise UserError(f"{place}: score is {brief(score)}, not a number")
    return {"id": number, "category": category, "score": score, "box2d": box}
