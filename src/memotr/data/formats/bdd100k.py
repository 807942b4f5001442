"""BDD100K: ``labels/box_track_20/{split}/<video>.json`` (Scalabel) and ``images/track/{split}/<video>/*.jpg``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.formats.box_table import BoxTable
from memotr.data.formats.classes import ClassMap
from memotr.data.formats.frame_files import images_in, list_frames, size_of, subfolders
from memotr.data.formats.json_files import numbers, objects, read_json
from memotr.data.formats.problems import Place, Problems
from memotr.data.sequences import Sequence
from memotr.documents import brief
from memotr.published import BDD100K_CLASSES, BDD100K_RENAMED

FPS = 5.0  # of the frames that are annotated and distributed
OTHERS = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}

# As published: the three other categories, which the benchmark does not score, are no training examples.
_SCORED = {name: name for name in BDD100K_CLASSES} | BDD100K_RENAMED
CLASSES = ClassMap.of(_SCORED, left_out=OTHERS)
CLASSES_WITH_OTHERS = ClassMap.of(_SCORED | OTHERS, left_out=())

Frame = dict[str, Any]


def read_sequences(labels: Path | None, images: Path, classes: ClassMap, problems: Problems) -> Iterator[Sequence]:
    """One sequence a video.

    Args:
        labels: folder of the videos' JSON files; None: the videos have no ground truth (the test split).
        images: folder of the videos' image folders.
        classes: categories that count. Crowd boxes never do.
        problems: takes what is wrong. A video without its JSON file or without images is an error and not returned.
    """
    if labels is None:
        for folder in subfolders(images):
            frames = list_frames(folder).files
            if frames:
                yield Sequence(folder.name, frames, None, classes.names, FPS, first_frame=0)
            else:
                problems.error(folder, "no images here; copy the images of the video to this folder")
        return
    files = sorted(labels.glob("*.json"))
    if not files:
        problems.error(labels, "no label files (*.json) here")
    seen: set[str] = set()
    for file in files:
        for video, entries in _videos(file, problems).items():
            seen.add(video)
            sequence = _read_video(file, video, entries, images / video, classes, problems)
            if sequence is not None:
                yield sequence
    for folder in subfolders(images):
        if folder.name not in seen:
            problems.error(folder, f"this video has no label file {labels / folder.name}.json")


def _videos(file: Path, problems: Problems) -> dict[str, list[Frame]]:
    """The frames of each video in the file, in their order."""
    content = read_json(file, problems)
    if content is None:
        return {}
    frames = objects(content.get("frames") if isinstance(content, dict) else content)
    if frames is None:
        problems.error(file, 'expected a list of frames, or {"frames": [frame, …]} (Scalabel)')
        return {}
    videos: dict[str, list[Frame]] = {}
    for k, frame in enumerate(frames):
        name, video, index = frame.get("name"), frame.get("videoName") or file.stem, frame.get("frameIndex", 0)
        if isinstance(name, str) and isinstance(video, str) and isinstance(index, int) and abs(index) < 2**53:
            videos.setdefault(video, []).append(frame)
        else:
            message = 'needs "name" and "videoName" (texts) and "frameIndex" (a whole number)'
            problems.error(file, message, f"frame {k} of the list")
    for found in videos.values():
        found.sort(key=_order(found))
    return videos


def _order(frames: list[Frame]) -> Callable[[Frame], tuple[int, str]]:
    if all("frameIndex" in frame for frame in frames):
        return lambda frame: (frame["frameIndex"], frame["name"])
    return lambda frame: (0, frame["name"])


def _read_video(
    file: Path, video: str, frames: list[Frame], images: Path, classes: ClassMap, problems: Problems
) -> Sequence | None:
    there = images_in(images)
    usable: list[Frame] = []
    names: set[str] = set()
    for frame in frames:
        name = _image_name(frame)
        if name in names:
            problems.error(file, f"image {name} is listed twice")
        elif name in there:
            usable.append(frame)
        names.add(name)
    if not usable:
        problems.error(file, f"no image of its {len(frames):,} frames is in {images}")
        return None
    if len(usable) < len(names):
        lost = len(names) - len(usable)
        problems.note(file, f"{lost:,} of {len(names):,} frames have no image in {images}: left out")
    files = tuple(images / _image_name(frame) for frame in usable)
    size = size_of(files, problems)
    boxes = _read_labels(file, usable, classes, problems).by_frame(len(usable), size, problems)
    return Sequence(video, files, boxes, classes.names, FPS, size, first_frame=usable[0].get("frameIndex", 0))


def _image_name(frame: Frame) -> str:
    return str(frame["name"]).rpartition("/")[2]


def _read_labels(file: Path, frames: list[Frame], classes: ClassMap, problems: Problems) -> BoxTable:
    positions, ids, labels, boxes, names = [], [], [], [], []
    known: dict[str, int] = {}  # ids are text such as "a-00122062": numbered as they first appear
    for position, frame in enumerate(frames):
        entries = objects(frame.get("labels") or [])
        if entries is None:
            problems.error(file, '"labels" is not a list of labels', f"frame {frame['name']}")
            continue
        for entry in entries:
            label = _label(entry, classes)
            if isinstance(label, str):
                problems.error(file, label, _place(frame, entry))
            elif label is not None:
                positions.append(position)
                ids.append(known.setdefault(str(entry["id"]), len(known)))
                labels.append(label[0])
                boxes.append(label[1])
                names.append((frame, entry))
    return BoxTable(
        np.array(positions, np.int64),
        np.array(ids, np.int64),
        np.array(labels, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        lambda k: (file, _place(*names[k])),
    )


def _place(frame: Frame, entry: dict[str, Any]) -> Place:
    return f"frame {frame['name']}, label {entry.get('id')}"


def _label(entry: dict[str, Any], classes: ClassMap) -> tuple[int, list[float]] | str | None:
    """Label and xyxy box; None where it does not count; or what is wrong with it."""
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        return '"attributes" is not an object such as {"crowd": false}'
    if attributes.get("crowd") or attributes.get("Crowd"):
        return None
    category = entry.get("category")
    if not isinstance(category, str):
        return f'"category" is {brief(category)}, not a text'
    label = classes.labels.get(category)
    if label is None:
        if classes.drops(category):
            return None
        return f"unknown category {brief(category)}; the classes are {', '.join(classes.names)}"
    if entry.get("id") is None:
        return 'has no "id": is this detection data? tracks need one'
    box = entry.get("box2d")
    corners = numbers([box.get(key) for key in ("x1", "y1", "x2", "y2")], 4) if isinstance(box, dict) else None
    return 'has no "box2d" with numbers x1, y1, x2, y2' if corners is None else (label, corners)
