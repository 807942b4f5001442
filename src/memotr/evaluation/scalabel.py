"""BDD100K box tracking labels and results in the Scalabel format, for evaluation.

One JSON file, or a folder of them (BDD100K has one a video), each a list of frames or ``{"frames": [...]}``:

    {"name": "b1c66a42-6f7d68ca-0000001.jpg", "videoName": "b1c66a42-6f7d68ca", "frameIndex": 0,
     "labels": [{"id": "17", "category": "car", "box2d": {"x1": 0, "y1": 346.5, "x2": 75.4, "y2": 407.4},
                 "attributes": {"crowd": false}}, ...]}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memotr.documents import brief, read_json
from memotr.errors import UserError
from memotr.evaluation.names import TO_ALLOW
from memotr.evaluation.teta_boxes import VideoBoxes
from memotr.published import BDD100K_RENAMED

BDD100K_CATEGORIES = ("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle")
"""The evaluated categories, in the order in which the official evaluation goes through them (TETA depends on it)."""

DISTRACTORS = ("other person", "other vehicle", "trailer")
"""Categories that are annotated but not evaluated: where they are, nothing is held against a tracker."""

NOT_EVALUATED = -1  # label of a distractor
CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class ScalabelVideo:
    """One video of a file.

    Attributes:
        name: its ``videoName``.
        frames: ``frameIndex`` of every frame that is listed, in ascending order, those without objects too.
        boxes: all objects; ``frames`` in it are values of ``frameIndex``, labels are indices into `BDD100K_CATEGORIES`,
            ids are numbered in the order of their appearance.
    """

    name: str
    frames: tuple[int, ...]
    boxes: VideoBoxes


def read_scalabel(path: Path, *, ground_truth: bool) -> dict[str, ScalabelVideo]:
    """Read labels or results.

    Crowds (attribute ``crowd``), objects with the attribute ``ignored`` and `DISTRACTORS` are ignore regions in ground
    truth. In results attributes are not looked at, and a distractor is a prediction of no evaluated class.

    Args:
        path: a JSON file, or a folder whose ``*.json`` are all read.
        ground_truth: labels, not results.

    Returns:
        Name → video, in the order of names; corners of boxes as they are written.

    Raises:
        UserError: the file (and frame and label) where something is missing, unreadable, no number, of an unknown
            category, or there twice.
    """
    videos: dict[str, _Video] = {}
    for file in _files(path):
        for number, frame in enumerate(read_frames(file)):
            _add_frame(videos, frame, f"{file}, frame {number} of the list", ground_truth)
    return {name: videos[name].finish(name) for name in sorted(videos)}


def pair_videos(
    gt: dict[str, ScalabelVideo], results: dict[str, ScalabelVideo], origin: Path, *, allow_missing: bool = False
) -> dict[str, tuple[VideoBoxes, VideoBoxes]]:
    """Ground truth and predictions of every video of the ground truth.

    Args:
        gt, results: from `read_scalabel`.
        origin: where the results are from, for messages.
        allow_missing: videos and frames without results count as empty.

    Raises:
        UserError: no ground truth; results for a video or frame that it does not have; a video or frame without results
            unless ``allow_missing``.
    """
    if not any((~video.boxes.ignore).any() for video in gt.values()):
        raise UserError("the ground truth has no object of an evaluated category; is it of a test split?")
    unknown = [name for name in results if name not in gt]
    if unknown:
        raise UserError(f"{origin}: video {brief(unknown[0])}{_more(unknown)} is not in the ground truth; wrong split?")
    pairs = {}
    for name, video in gt.items():
        found = results.get(name)
        if found is not None:
            _check_frames(video, found, origin, allow_missing)
        elif not allow_missing:
            absent = [other for other in gt if other not in results]
            raise UserError(f"{origin}: no results for video {brief(name)}{_more(absent)}; {TO_ALLOW}")
        pairs[name] = video.boxes, found.boxes if found is not None else VideoBoxes.empty()
    return pairs


def _check_frames(gt: ScalabelVideo, found: ScalabelVideo, origin: Path, allow_missing: bool) -> None:
    unknown = sorted(set(found.frames).difference(gt.frames))
    if unknown:
        raise UserError(
            f"{origin}: video {brief(gt.name)} has frameIndex {unknown[0]}{_more(unknown)}, the ground truth has not; "
            "frameIndex counts from 0"
        )
    absent = sorted(set(gt.frames).difference(found.frames))
    if absent and not allow_missing:
        raise UserError(f"{origin}: video {brief(gt.name)} has no frameIndex {absent[0]}{_more(absent)}; {TO_ALLOW}")


def _more(names: list[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


@dataclass
class _Video:
    """A video while it is being read: frameIndex → rows (id, label, x1, y1, x2, y2, ignore)."""

    frames: dict[int, list[tuple[int, int, float, float, float, float, bool]]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def finish(self, name: str) -> ScalabelVideo:
        order = sorted(self.frames)
        counts = [len(self.frames[index]) for index in order]
        table = np.array([row for index in order for row in self.frames[index]], np.float64).reshape(-1, 7)  # (N, 7)
        boxes = VideoBoxes(
            frames=np.repeat(np.array(order, np.int64), counts),
            ids=table[:, 0].astype(np.int64),
            labels=table[:, 1].astype(np.int64),
            boxes=np.ascontiguousarray(table[:, 2:6]),
            ignore=table[:, 6] > 0,
        )
        return ScalabelVideo(name, tuple(order), boxes)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.json"))
    if not files:
        raise UserError(f"{path}: no .json file in this folder; one a video, or one for all, is expected")
    return files


def read_frames(file: Path) -> Iterator[dict[str, Any]]:
    """The frames of one file as they stand there, nothing in them checked.

    Raises:
        UserError: it cannot be read, or is not a list of objects.
    """
    content = read_json(file)
    frames = content.get("frames") if isinstance(content, dict) else content
    if not isinstance(frames, list):
        raise UserError(f"{file}: not a list of Scalabel frames, nor an object that has one under 'frames'")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise UserError(f"{file}, frame {number} of the list: not an object with videoName, frameIndex and labels")
        yield frame


def _add_frame(videos: dict[str, _Video], frame: dict[str, Any], place: str, ground_truth: bool) -> None:
    name, index = _need(frame, "videoName", place), _need(frame, "frameIndex", place)
    if not isinstance(name, str):
        raise UserError(f"{place}: videoName is {brief(name)}, not a text")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**53:
        raise UserError(f"{place}: frameIndex is {brief(index)}, not a number from 0")
    video = videos.setdefault(name, _Video())
    if index in video.frames:
        raise UserError(f"{place}: frameIndex {index} of video {brief(name)} is there already; frames are listed once")
    place = f"{place} ({name}, frameIndex {index})"
    labels = frame.get("labels") or []
    if not isinstance(labels, list):
        raise UserError(f"{place}: labels is not a list")
    rows = video.frames[index] = []
    seen: set[int] = set()
    for number, label in enumerate(labels):
        row = _label(label, video.ids, f"{place}, label {number}", ground_truth)
        if row[0] in seen and not row[-1]:
            raise UserError(f"{place}, label {number}: id {brief(label['id'])} is in this frame already")
        if not row[-1]:
            seen.add(row[0])
        rows.append(row)


def _label(
    label: Any, ids: dict[str, int], place: str, ground_truth: bool
) -> tuple[int, int, float, float, float, float, bool]:
    if not isinstance(label, dict):
        raise UserError(f"{place}: not an object with id, category and box2d")
    track, category, box = (_need(label, key, place) for key in ("id", "category", "box2d"))
    if isinstance(track, bool) or not isinstance(track, (str, int)):
        raise UserError(f"{place}: id is {brief(track)}, neither a text nor a whole number")
    corners = _corners(box, place)
    if not ground_truth and (corners[2] < corners[0] or corners[3] < corners[1]):
        raise UserError(f"{place}: box2d ends before it begins; x2, y2 are a corner, not a width and height")
    evaluated = _category(category, place)
    ignore = ground_truth and (evaluated == NOT_EVALUATED or _set_aside(label.get("attributes"), place))
    return (ids.setdefault(str(track), len(ids)), evaluated, *corners, ignore)


def _corners(box: Any, place: str) -> tuple[float, float, float, float]:
    if not isinstance(box, dict):
        raise UserError(f"{place}: box2d is {brief(box)}, not an object with {', '.join(CORNERS)}")
    values = [_need(box, key, f"{place}, box2d") for key in CORNERS]
    for key, value in zip(CORNERS, values, strict=True):
        # Not below the limit: infinite, NaN, or no place in an image.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
            raise UserError(f"{place}: {key} is {brief(value)}, not a coordinate in pixels")
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


def _category(name: Any, place: str) -> int:
    known = BDD100K_RENAMED.get(name, name) if isinstance(name, str) else name
    if known in DISTRACTORS:
        return NOT_EVALUATED
    if known not in BDD100K_CATEGORIES:
        raise UserError(
            f"{place}: unknown category {brief(name)}; known are {', '.join(BDD100K_CATEGORIES + DISTRACTORS)}"
        )
    return BDD100K_CATEGORIES.index(known)


def _set_aside(attributes: Any, place: str) -> bool:
    if attributes is None:
        return False
    if not isinstance(attributes, dict):
        raise UserError(f"{place}: attributes is {brief(attributes)}, not an object")
    return bool(attributes.get("crowd")) or bool(attributes.get("ignored"))


def _need(entry: dict[str, Any], key: str, place: str) -> Any:
    value = entry.get(key)
    if value is None:
        raise UserError(f"{place}: {key} is missing")
    return value
