"""COCO-style video JSON: ``videos``, ``images`` (``video_id``, ``frame_id``), ``annotations`` with a track's id.

The layout of MOT conversions in common use and of TAO; tracks are numbered by ``track_id`` or ``instance_id``.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.box_table import BoxTable
from memotr.data.formats.classes import ClassMap
from memotr.data.formats.frame_files import images_in
from memotr.data.formats.json_files import numbers, objects, read_json
from memotr.data.formats.problems import Place, Problems
from memotr.data.sequences import Sequence
from memotr.documents import brief

Entry = dict[str, Any]


def read_sequences(
    file: Path, image_folders: Many[Path], by_name: ClassMap | None, problems: Problems
) -> Iterator[Sequence]:
    """One sequence a video.

    Args:
        file: the annotations.
        image_folders: where ``file_name`` may be relative to; the first in which images are found is taken.
        by_name: category names that count and their classes; None: all, in the order of their ids. Crowds never count.
        problems: takes what is wrong. A video without images is an error and not returned.
    """
    content = _read(file, problems)
    if content is None:
        return
    classes = _classes(file, content["categories"], by_name)
    frames = _frames_of_videos(file, content, problems)
    boxes = _boxes_of_images(file, content, classes, problems) if "annotations" in content else None
    folder = _image_folder(file, frames, image_folders, problems)
    if folder is None:
        return
    names = _names(file, content["videos"], problems)
    if names is None:
        return
    listed: dict[Path, set[str]] = {}
    for video in content["videos"]:
        images = _with_file(file, video, frames[video["id"]], folder, listed, problems)
        if images:
            yield _sequence(file, names[video["id"]], video, images, folder, boxes, classes, problems)


def _read(file: Path, problems: Problems) -> dict[str, list[Entry]] | None:
    """The lists of the file: videos, images and categories, whose entries have ids, and annotations where they are."""
    content = read_json(file, problems)
    if content is None:
        return None
    if _is_scalabel(content):
        problems.error(file, "is a Scalabel JSON; BDD100K's are read as labels/box_track_20/<split>/<video>.json")
        return None
    content = content if isinstance(content, dict) else {}
    lists = {key: objects(content.get(key)) for key in ("videos", "images", "annotations", "categories")}
    missing = [key for key, value in lists.items() if value is None and (key != "annotations" or key in content)]
    if missing:
        hint = "; a COCO file of single images has no tracks to learn from" if "videos" in missing else ""
        problems.error(file, f"has no list {', '.join(repr(key) for key in missing)}{hint}")
        return None
    for key in ("videos", "images", "categories"):
        seen: set[Hashable] = set()
        for k, entry in enumerate(lists[key] or []):
            if not isinstance(entry.get("id"), int | str):
                problems.error(file, 'has no "id"', f"{key}[{k}]")
                return None
            if entry["id"] in seen:
                problems.error(file, f"another of the {key} has the id {brief(entry['id'])}, too", f"{key}[{k}]")
                return None
            seen.add(entry["id"])
    return {key: value for key, value in lists.items() if value is not None}


def _is_scalabel(content: Any) -> bool:
    """Whether it is BDD100K's format, a list of frames by itself or as ``frames``."""
    frames = objects(content.get("frames") if isinstance(content, dict) else content)
    return frames is not None and any("labels" in frame for frame in frames[:1])


def _classes(file: Path, categories: list[Entry], by_name: ClassMap | None) -> ClassMap:
    """From category id to class."""
    ordered = sorted(categories, key=lambda entry: (isinstance(entry["id"], str), entry["id"]))
    names = {entry["id"]: str(entry.get("name", f"class {entry['id']}")) for entry in ordered}
    if by_name is None:
        return ClassMap.of(names, left_out=())
    chosen: dict[Hashable, int] = {key: by_name.labels[name] for key, name in names.items() if name in by_name.labels}
    return ClassMap(by_name.names, chosen, frozenset(key for key in names if key not in chosen))


def _names(file: Path, videos: list[Entry], problems: Problems) -> dict[Hashable, str] | None:
    """Id of a video → the name of its sequence, and so of files: without the folders that TAO's names have."""
    names: dict[Hashable, str] = {}
    taken: set[str] = set()
    for video in videos:
        said = str(video.get("name", video["id"]))
        parts = re.split(r"[/\\]", said)
        name = "_".join(parts)
        if ".." in parts or "\0" in name or name.strip() in ("", "."):
            problems.error(
                file, f"the name {brief(said)} cannot be that of a file: give it another", f"video {video['id']}"
            )
            return None
        if name in taken:
            problems.error(
                file, f"another video is named {brief(name)}, too: give it another name", f"video {video['id']}"
            )
            return None
        names[video["id"]] = name
        taken.add(name)
    return names


def _frames_of_videos(file: Path, content: dict[str, list[Entry]], problems: Problems) -> dict[Hashable, list[Entry]]:
    """The images of each video in the order of their frame numbers."""
    frames: dict[Hashable, list[Entry]] = {video["id"]: [] for video in content["videos"]}
    taken: set[tuple[Hashable, int]] = set()
    for image in content["images"]:
        place = f"image {image['id']}"
        number = _frame_number(image)
        video = image.get("video_id")
        if not isinstance(video, int | str) or video not in frames:
            problems.error(file, f"video_id {brief(video)} is not in videos", place)
        elif number is None or not isinstance(image.get("file_name"), str):
            problems.error(file, "needs file_name (text) and frame_id (a whole number)", place)
        elif (video, number) in taken:
            problems.error(file, f"another image is frame {number} of video {video}, too", place)
        else:
            taken.add((video, number))
            frames[video].append(image)
    for images in frames.values():
        images.sort(key=lambda image: _frame_number(image) or 0)
    return frames


def _frame_number(image: Entry) -> int | None:
    for key in ("frame_id", "frame_index"):
        if type(image.get(key)) is int:
            return int(image[key])
    return None


def _boxes_of_images(
    file: Path, content: dict[str, list[Entry]], classes: ClassMap, problems: Problems
) -> dict[Hashable, list[Entry]]:
    """The annotations of each image that count and are sound, as far as one of them alone can show."""
    boxes: dict[Hashable, list[Entry]] = defaultdict(list)
    images = {image["id"] for image in content["images"]}
    for entry in content["annotations"]:
        if entry.get("iscrowd"):
            continue
        wrong = _what_is_wrong(entry, images, classes)
        if wrong:
            problems.error(file, wrong, _place(entry))
        elif entry["category_id"] in classes.labels:
            boxes[entry["image_id"]].append(entry)
    return boxes


def _place(entry: Entry) -> Place:
    return f"annotation {entry.get('id', 'without id')} of image {entry.get('image_id')}"


def _what_is_wrong(entry: Entry, images: set[Hashable], classes: ClassMap) -> str | None:
    image, category = entry.get("image_id"), entry.get("category_id")
    if not isinstance(image, int | str) or image not in images:
        return f"image_id {brief(image)} is not in images"
    if not isinstance(category, int | str) or (category not in classes.labels and not classes.drops(category)):
        return f"category_id {brief(category)} is not in categories"
    if not isinstance(entry.get("track_id", entry.get("instance_id")), int | str):
        return "has neither track_id nor instance_id: a COCO file of single images has no tracks to learn from"
    if numbers(entry.get("bbox"), 4) is None:
        return "bbox is not four numbers [left, top, width, height]"
    return None


def _image_folder(
    file: Path, frames: dict[Hashable, list[Entry]], candidates: Many[Path], problems: Problems
) -> Path | None:
    """The folder that the images' names are relative to."""
    first = [images[0]["file_name"] for images in frames.values() if images]
    if not first:
        problems.error(file, "its videos have no images")
        return None
    for folder in candidates:
        if any((folder / name).is_file() for name in first):
            return folder
    looked = ", ".join(str(folder) for folder in candidates if folder.is_dir())
    problems.error(file, f"there is no image {first[0]} in {looked}; name their folder as 'images' in dataset.yaml")
    return None


def _with_file(
    file: Path, video: Entry, images: list[Entry], folder: Path, listed: dict[Path, set[str]], problems: Problems
) -> list[Entry]:
    """The images whose file is there; ``listed`` remembers the folders that were looked into."""
    there = []
    for image in images:
        path = folder / image["file_name"]
        if path.parent not in listed:
            listed[path.parent] = images_in(path.parent)
        if path.name in listed[path.parent]:
            there.append(image)
    place = f"video {video.get('name', video['id'])}"
    if not images:
        problems.note(file, "has no images: left out", place)
    elif not there:
        first = folder / images[0]["file_name"]
        problems.error(file, f"none of its {len(images):,} images is there ({first}, …)", place)
    elif len(there) < len(images):
        message = f"{len(images) - len(there):,} of {len(images):,} images are not there: left out"
        problems.note(file, message, place)
    return there


def _sequence(
    file: Path,
    name: str,
    video: Entry,
    images: list[Entry],
    folder: Path,
    boxes: dict[Hashable, list[Entry]] | None,
    classes: ClassMap,
    problems: Problems,
) -> Sequence:
    size = _size(images[0]) or _size(video)
    table = None if boxes is None else _table(file, images, boxes, classes)
    return Sequence(
        name=name,
        frames=tuple(folder / image["file_name"] for image in images),
        boxes=None if table is None else table.by_frame(len(images), size, problems),
        classes=classes.names,
        fps=_fps(video),
        size=size,
        first_frame=_frame_number(images[0]) or 0,
    )


def _fps(video: Entry) -> float | None:
    """Frames a second; None where no key has a number that can be that."""
    for key in ("fps", "frame_rate"):
        said = numbers([video.get(key)], 1)
        if said is not None and math.isfinite(said[0]) and said[0] > 0:
            return float(said[0])
    return None


def _table(file: Path, images: list[Entry], boxes: dict[Hashable, list[Entry]], classes: ClassMap) -> BoxTable:
    entries = [(k, entry) for k, image in enumerate(images) for entry in boxes.get(image["id"], [])]
    ids = _track_ids([entry for _, entry in entries])
    xywh = np.array([entry["bbox"] for _, entry in entries], np.float64).reshape(-1, 4)
    return BoxTable(
        np.array([k for k, _ in entries], np.int64),
        ids,
        np.array([classes.labels[entry["category_id"]] for _, entry in entries], np.int64),
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        lambda k: (file, _place(entries[k][1])),
    )


def _track_ids(entries: list[Entry]) -> NDArray[np.int64]:
    """(N,) The tracks' own numbers; where they are text, numbers in the order in which they first appear."""
    tracks = [entry.get("track_id", entry.get("instance_id")) for entry in entries]
    if all(isinstance(track, int) and abs(track) < 2**63 for track in tracks):
        return np.array(tracks, np.int64)
    known: dict[str, int] = {}
    return np.array([known.setdefault(str(track), len(known)) for track in tracks], np.int64)


def _size(entry: Entry) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None
