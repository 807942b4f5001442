"""BDD100K box tracking labels and results in the Scalabel format.

A JSON file has a list of frames, or ``{"frames": [...]}``, of one or several videos:

    {"name": "b1c66a42-6f7d68ca-0000001.jpg", "videoName": "b1c66a42-6f7d68ca", "frameIndex": 0,
     "labels": [{"id": "17", "category": "car", "box2d": {"x1": 0, "y1": 346.5, "x2": 75.4, "y2": 407.4},
                 "attributes": {"crowd": false}}, ...]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import MAX_COORDINATE, MAX_INTEGER, AnnotationTable, Origin
from memotr.data.problems import Problems
from memotr.documents import DocumentError, brief, read_json
from memotr.published import BDD100K_RENAMED

CORNERS = ("x1", "y1", "x2", "y2")
IGNORED = ("crowd", "Crowd", "ignored")  # attributes that mark an ignore region
PLACE_FORMAT = "frame {} of the list, label {}"


@dataclass(frozen=True, eq=False)
class ScalabelVideo:
    """Video in a Scalabel file.

    Attributes:
        frames: ``frameIndex`` of each frame, ascending, including frames without objects.
        image_names: image file names of the frames; empty strings if the file has none.
        table: all labels; ids are numbered in the order in which they first appear.
        categories: category number → current name (`BDD100K_RENAMED`).
        entries: JSON objects of the frames, in the order of ``frames``; empty unless requested.
    """

    frames: tuple[int, ...]
    image_names: tuple[str, ...]
    table: AnnotationTable
    categories: Mapping[int, str]
    entries: tuple[dict[str, Any], ...] = ()


def read_videos(
    file: Path, problems: Problems, *, results: bool = False, entries: bool = False
) -> dict[str, ScalabelVideo]:
    """Read the videos of a file, sorted by name.

    In ground truth, labels with the attribute ``crowd`` or ``ignored`` are ignore regions. In results, attributes are
    not used.

    Args:
        file: path of the JSON file.
        problems: collects problems: missing fields, repeated frames and ids, invalid boxes.
        results: the file holds tracking results.
        entries: also keep the JSON objects of the frames.
    """
    try:
        content = read_json(file)
    except DocumentError as error:
        problems.unreadable(file, error)
        return {}
    return parse_videos(file, content, problems, results=results, entries=entries)


def is_scalabel(content: Any) -> bool:
    """Return whether a JSON document is in the Scalabel format rather than COCO-video."""
    frames = content.get("frames") if isinstance(content, dict) else content
    return isinstance(frames, list) and not (isinstance(content, dict) and "videos" in content)


def parse_videos(
    file: Path, content: Any, problems: Problems, *, results: bool = False, entries: bool = False
) -> dict[str, ScalabelVideo]:
    """Parse the videos of a JSON document read from ``file``; see :func:`read_videos`."""
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list):
        problems.error(file, 'expected a list of frames, or {"frames": [frame, …]} (Scalabel)')
        return {}
    videos: dict[str, _Video] = {}
    for number, frame in enumerate(frames):
        place = f"frame {number} of the list"
        if isinstance(frame, dict) and type(index := frame.get("frameIndex")) is float and index.is_integer():
            frame["frameIndex"] = int(index)  # 1.0, as pandas writes whole numbers
        error = _frame_error(frame)
        if error is not None:
            problems.error(file, error, place)
            continue
        name, index = frame.get("videoName") or file.stem, frame["frameIndex"]
        if problems.rejects_name(file, "video", name, place):
            continue
        video = videos.setdefault(name, _Video())
        if index in video.frames:
            problems.error(file, f"frameIndex {index} of video {brief(name)} is repeated", place)
            continue
        video.frames[index] = frame
        for k, label in enumerate(frame.get("labels") or ()):
            error = video.add(label, index, (number, k), results)
            if error is not None:
                problems.error(file, error, PLACE_FORMAT.format(number, k))
    return {name: videos[name].finish(file, problems, results, entries) for name in sorted(videos)}


def _frame_error(frame: Any) -> str | None:
    """Return an error message for an invalid frame, or None; the labels are not checked."""
    if not isinstance(frame, dict):
        return "not an object with videoName, frameIndex and labels"
    name, index, labels = frame.get("videoName"), frame.get("frameIndex"), frame.get("labels")
    if name is not None and not isinstance(name, str):
        return f"videoName is {brief(name)}, not a text"
    if index is None:
        return "frameIndex is missing"
    if type(index) is not int or not 0 <= index < MAX_INTEGER:
        return f"frameIndex is {brief(index)}, not a whole number of at least 0"
    if labels is not None and not isinstance(labels, list):
        return "labels is not a list"
    return None


@dataclass
class _Video:
    """Video that is being read.

    Attributes:
        frames: frameIndex → frame as in the file.
        rows: rows of the table, each (frame, id, category, x1, y1, x2, y2, region).
        positions: for each row, index of the frame in the list and of the label in the frame.
        ids: id in the file → number.
        categories: name → number.
    """

    frames: dict[int, dict[str, Any]] = field(default_factory=dict)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    positions: list[tuple[int, int]] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    def add(self, label: Any, index: int, position: tuple[int, int], results: bool) -> str | None:
        """Add a label; if it is invalid, return an error message instead."""
        if not isinstance(label, dict):
            return "not an object with id, category and box2d"
        track, category, box = label.get("id"), label.get("category"), label.get("box2d")
        if track is None:
            return "id is missing: is this detection data? Tracks need ids"
        if type(track) is not str and type(track) is not int:
            return f"id is {brief(track)}, neither a text nor a whole number"
        if not isinstance(category, str):
            return "category is missing" if category is None else f"category is {brief(category)}, not a text"
        if not isinstance(box, dict):
            return "box2d is missing" if box is None else f"box2d is {brief(box)}, not an object"
        corners: list[Any] = [box.get(key) for key in CORNERS]
        for key, value in zip(CORNERS, corners, strict=True):
            # The comparison also fails for NaN and infinite values.
            if (type(value) is not float and type(value) is not int) or not abs(value) < MAX_COORDINATE:
                found = "missing" if value is None else f"{brief(value)}, not a coordinate in pixels"
                return f"{key} of box2d is {found}"
        if results and (corners[2] < corners[0] or corners[3] < corners[1]):
            return "box2d has x2 < x1 or y2 < y1; x2, y2 must be a corner, not a width and height"
        attributes = label.get("attributes")
        if not results and attributes is not None and not isinstance(attributes, dict):
            return f"attributes is {brief(attributes)}, not an object"
        region = not results and attributes is not None and any(attributes.get(key) for key in IGNORED)
        category = BDD100K_RENAMED.get(category, category)
        number = self.categories.setdefault(category, len(self.categories))
        self.rows.append((index, self.ids.setdefault(str(track), len(self.ids)), number, *corners, region))
        self.positions.append(position)
        return None

    def finish(self, file: Path, problems: Problems, results: bool, entries: bool) -> ScalabelVideo:
        order = sorted(self.frames)
        rows = np.array(self.rows, np.float64).reshape(-1, 8)  # (N, 8)
        positions = np.array(self.positions, np.int64).reshape(-1, 2)
        origin = Origin((file,), np.zeros(len(rows), np.int64), positions, PLACE_FORMAT, tuple(self.ids))
        table = AnnotationTable.from_columns(
            rows[:, 0], rows[:, 1], rows[:, 2], np.ascontiguousarray(rows[:, 3:7]), origin, regions=rows[:, 7]
        ).checked(problems, results=results)
        names = tuple(_image_name(self.frames[index]) for index in order)
        kept = tuple(self.frames[index] for index in order) if entries else ()
        return ScalabelVideo(tuple(order), names, table, {k: name for name, k in self.categories.items()}, kept)


def _image_name(frame: dict[str, Any]) -> str:
    name = frame.get("name")
    return name.rpartition("/")[2] if isinstance(name, str) else ""
