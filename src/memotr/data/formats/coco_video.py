"""COCO-style video JSON: ``videos``, ``images`` (``video_id``, ``frame_id``) and ``annotations`` with track ids.

TAO and common conversions of MOT data sets have this format. ``track_id`` or ``instance_id`` identifies a track.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import MAX_INTEGER, AnnotationTable, Ints, Origin
from memotr.data.formats.dataset_format import WHOLE, DatasetFormat, SplitRequest
from memotr.data.formats.frame_files import files_in, images_in
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.data.formats.scalabel import ScalabelVideo, is_scalabel, parse_videos
from memotr.data.problems import Problems
from memotr.data.sequences import Recording
from memotr.documents import DocumentError, brief, read_json
from memotr.filenames import is_inside
from memotr.io.frames import MAX_FPS, MIN_FPS

Entry = dict[str, Any]
PLACE_FORMAT = "annotations[{}]"
NUMBERS = {
    "videos": ("id",),
    "images": ("id", "video_id", "frame_id", "frame_index"),
    "annotations": ("image_id", "category_id", "track_id", "instance_id", "iscrowd", "ignore"),
    "categories": ("id",),
}
"""Name of a list → keys of its entries whose values are whole numbers, or ids as text."""


@dataclass(frozen=True, eq=False)
class CocoVideo:
    """Video in a COCO-video file.

    Attributes:
        name: name of the sequence, in which ``_`` replaces the slashes of TAO's names.
        frames: frame numbers, ascending.
        image_names: file names of their images, relative to the image folder.
        table: annotations, whose categories are positions in the file's list; None if the file has no annotations.
        fps: frames per second, if declared.
        size: (height, width) in pixels, if declared.
    """

    name: str
    frames: tuple[int, ...]
    image_names: tuple[str, ...]
    table: AnnotationTable | None
    fps: float | None
    size: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class CocoFile:
    """Content of a COCO-video file.

    Attributes:
        videos: videos in the order of the file.
        categories: category names in the order of their ids.
    """

    videos: tuple[CocoVideo, ...]
    categories: tuple[str, ...]


class CocoVideoFormat(DatasetFormat):
    """COCO video: one JSON file per split."""

    name = "coco-video"
    options = frozenset({"classes"})
    rules = "mot"
    layout = "annotations/<split>.json with videos (COCO)"
    results = MOT_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        if root.suffix == ".json" and root.is_file():
            return {WHOLE: root}, "a COCO-video JSON"
        files = files_in(root / "annotations", ".json") or files_in(root, ".json")
        return {file.stem: file for file in files}, f"COCO-video JSON: {', '.join(file.name for file in files)}"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        file = request.place
        found_problems = Problems()
        content = request.files.read(file, read_annotations, found_problems)
        if not isinstance(content, CocoFile):
            message = (
                "is a list of frames (Scalabel); BDD100K labels belong at labels/box_track_20/<split>/<video>.json"
            )
            problems.error(file, message)
            return
        problems.extend(found_problems)
        categories = dict(enumerate(content.categories))
        first = [video.image_names[0] for video in content.videos if video.image_names]
        folders = request.image_folders()
        images = next((f for f in folders if any((f / name).is_file() for name in first)), folders[0])
        listed: dict[Path, set[str]] = {}
        for video in content.videos:
            if not request.selects(video.name):
                continue
            if not video.frames:
                problems.note(file, "has no images: left out", f"video {video.name}")
                continue
            paths = [images / name for name in video.image_names]
            for folder in {path.parent for path in paths} - listed.keys():
                listed[folder] = images_in(folder) if request.images else set()
            found = [k for k, path in enumerate(paths) if path.name in listed[path.parent]]
            yield Recording(
                video.name,
                file,
                tuple(paths[k] for k in found),
                np.array([video.frames[k] for k in found], np.int64),
                video.frames,
                video.table,
                categories,
                video.image_names,
                folder=paths[0].parent,
                image_folder=images,
                first_image=video.frames[found[0]] if found else video.frames[0],
                fps=video.fps,
                size=video.size,
                gapless=len(found) == len(paths),
            )


def read_annotations(file: Path, problems: Problems) -> CocoFile | dict[str, ScalabelVideo]:
    """Read a JSON file of videos in COCO or Scalabel style.

    Args:
        file: path of the JSON file.
        problems: collects everything that cannot be read.
    """
    try:
        content = read_json(file)
    except DocumentError as error:
        problems.unreadable(file, error)
        return CocoFile((), ())
    if is_scalabel(content):
        return parse_videos(file, content, problems)
    lists = _lists(file, content if isinstance(content, dict) else {}, problems)
    return CocoFile((), ()) if lists is None else _parse(file, lists, problems)


def _lists(file: Path, content: dict[str, Any], problems: Problems) -> dict[str, list[Entry]] | None:
    """Return the lists videos, images, categories and, if present, annotations; None if a list or an id is invalid."""
    lists = {key: _objects(content.get(key)) for key in ("videos", "images", "annotations", "categories")}
    missing = [key for key, value in lists.items() if value is None and (key != "annotations" or key in content)]
    if missing:
        hint = "; a COCO file of single images has no tracks to learn from" if "videos" in missing else ""
        problems.error(file, f"has no list {', '.join(repr(key) for key in missing)}{hint}")
        return None
    for key, numbered in NUMBERS.items():
        for entry in lists[key] or ():
            entry.update((name, _number(entry[name])) for name in numbered if type(entry.get(name)) in (float, str))
    for key in ("videos", "images", "categories"):
        seen: set[Hashable] = set()
        for k, entry in enumerate(lists[key] or []):
            if not isinstance(entry.get("id"), int | str):
                problems.error(file, 'has no "id"', f"{key}[{k}]")
                return None
            if entry["id"] in seen:
                problems.error(file, f"the id {brief(entry['id'])} is repeated in {key}", f"{key}[{k}]")
                return None
            seen.add(entry["id"])
    return {key: value for key, value in lists.items() if value is not None}


def _number(value: float | str) -> float | str:
    """Return a whole number that is written as 1.0 or "1" as an integer, and other values unchanged."""
    if isinstance(value, str):
        return int(value) if re.fullmatch("0|-?[1-9][0-9]{0,15}", value) else value
    return int(value) if value.is_integer() else value


def _parse(file: Path, lists: dict[str, list[Entry]], problems: Problems) -> CocoFile:
    names = _names(file, lists["videos"], problems)
    if names is None:
        return CocoFile((), ())
    ordered = sorted(lists["categories"], key=lambda entry: (isinstance(entry["id"], str), entry["id"]))
    categories = {entry["id"]: k for k, entry in enumerate(ordered)}
    frames = _frames_of_videos(file, lists, problems)
    tables = _tables(file, lists, frames, categories, problems) if "annotations" in lists else {}
    videos = []
    for video in lists["videos"]:
        own = sorted(frames[video["id"]], key=lambda image: _frame_number(image) or 0)
        size = _size(own[0] if own else {}) or _size(video)
        numbers = tuple(_frame_number(image) or 0 for image in own)
        table = tables.get(video["id"])
        videos.append(
            CocoVideo(names[video["id"]], numbers, tuple(image["file_name"] for image in own), table, _fps(video), size)
        )
    if not any(video.frames for video in videos):
        problems.error(file, "its videos have no images")
    return CocoFile(tuple(videos), tuple(str(entry.get("name", f"class {entry['id']}")) for entry in ordered))


def _names(file: Path, videos: list[Entry], problems: Problems) -> dict[Hashable, str] | None:
    """Return video id → sequence name; None if a name is invalid or repeated."""
    names: dict[Hashable, str] = {}
    taken: set[str] = set()
    for video in videos:
        given = str(video.get("name", video["id"]))
        parts = re.split(r"[/\\]", given)
        name = "_".join(parts)
        if any(problems.rejects_name(file, "video", part, f"video {video['id']}") for part in (name, *parts)):
            return None
        if name in taken:
            problems.error(
                file, f"another video is also named {brief(name)}: rename one of them", f"video {video['id']}"
            )
            return None
        names[video["id"]] = name
        taken.add(name)
    return names


def _frames_of_videos(file: Path, lists: dict[str, list[Entry]], problems: Problems) -> dict[Hashable, list[Entry]]:
    """Return the images of each video."""
    frames: dict[Hashable, list[Entry]] = {video["id"]: [] for video in lists["videos"]}
    taken: set[tuple[Hashable, int]] = set()
    for image in lists["images"]:
        place = f"image {image['id']}"
        number, video = _frame_number(image), image.get("video_id")
        if not isinstance(video, int | str) or video not in frames:
            problems.error(file, f"video_id {brief(video)} is not in videos", place)
        elif number is None or not isinstance(image.get("file_name"), str):
            problems.error(file, "needs file_name (text) and frame_id (a whole number)", place)
        elif not is_inside(image["file_name"]):
            problems.error(file, f"file_name {brief(image['file_name'])} leads out of the image folder", place)
        elif (video, number) in taken:
            problems.error(file, f"another image is also frame {number} of video {video}", place)
        else:
            taken.add((video, number))
            image["file_name"] = image["file_name"].replace("\\", "/")  # separator of Windows
            frames[video].append(image)
    return frames


def _frame_number(image: Entry) -> int | None:
    for key in ("frame_id", "frame_index"):
        if type(image.get(key)) is int and abs(image[key]) < MAX_INTEGER:
            return int(image[key])
    return None


def _tables(
    file: Path,
    lists: dict[str, list[Entry]],
    frames: dict[Hashable, list[Entry]],
    categories: Mapping[Hashable, int],
    problems: Problems,
) -> dict[Hashable, AnnotationTable]:
    """Return video id → annotations, in the order of the file."""
    images = {image["id"]: (video, _frame_number(image)) for video, own in frames.items() for image in own}
    known = {image["id"] for image in lists["images"]}
    rows: dict[Hashable, list[tuple[Any, ...]]] = {video: [] for video in frames}
    for k, entry in enumerate(lists["annotations"]):
        error = _annotation_error(entry, known, categories)
        if error is not None:
            problems.error(file, error, PLACE_FORMAT.format(k))
        elif entry["image_id"] in images:
            video, number = images[entry["image_id"]]
            category = categories[entry["category_id"]]
            rows[video].append((number, _track(entry), category, entry["bbox"], bool(entry.get("iscrowd")), k))
    if ignored := sum(bool(entry.get("ignore")) and not entry.get("iscrowd") for entry in lists["annotations"]):
        problems.note(
            file,
            f"{ignored:,} annotations have 'ignore', which is not used, so they count; set 'iscrowd' to ignore them",
        )
    return {video: _table(file, found, problems) for video, found in rows.items()}


def _annotation_error(entry: Entry, images: set[Hashable], categories: Mapping[Hashable, int]) -> str | None:
    image, category, track = entry.get("image_id"), entry.get("category_id"), _track(entry)
    if not isinstance(image, int | str) or image not in images:
        return f"image_id {brief(image)} is not in images"
    if not isinstance(category, int | str) or category not in categories:
        return f"category_id {brief(category)} is not in categories"
    if track is None and not entry.get("iscrowd"):
        return "has neither track_id nor instance_id: a COCO file of single images has no tracks to learn from"
    if numbers(entry.get("bbox"), 4) is None:
        return "bbox is not four numbers [left, top, width, height]"
    return None


def _track(entry: Entry) -> int | str | None:
    return next((entry[key] for key in ("track_id", "instance_id") if type(entry.get(key)) in (int, str)), None)


def _table(file: Path, rows: list[tuple[Any, ...]], problems: Problems) -> AnnotationTable:
    xywh = np.array([row[3] for row in rows], np.float64).reshape(-1, 4)
    positions = np.array([row[5] for row in rows], np.int64)
    ids, texts = _track_ids([row[1] for row in rows])
    return AnnotationTable.from_columns(
        [row[0] for row in rows],
        ids,
        [row[2] for row in rows],
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        Origin((file,), np.zeros(len(rows), np.int64), positions[:, None], PLACE_FORMAT, texts),
        regions=[row[4] for row in rows],
    ).checked(problems)


def _track_ids(tracks: list[int | str | None]) -> tuple[Ints, tuple[str, ...]]:
    """Return the track ids as numbers (N,), -1 for None, and their original texts, if any.

    If an id is text, all ids become numbers 0, 1, … in the order in which they first appear.
    """
    own = [-1 if track is None else track for track in tracks]
    if all(isinstance(track, int) and abs(track) < MAX_INTEGER for track in own):
        return np.array(own, np.int64), ()
    known: dict[str, int] = {}
    ids = [-1 if track is None else known.setdefault(str(track), len(known)) for track in tracks]
    return np.array(ids, np.int64), tuple(known)


def _fps(video: Entry) -> float | None:
    """Return the frames per second, or None if no key has a number from 0.001 to 1000."""
    for key in ("fps", "frame_rate"):
        declared = numbers([video.get(key)], 1)
        if declared is not None and MIN_FPS <= declared[0] <= MAX_FPS:  # False for NaN
            return float(declared[0])
    return None


def _size(entry: Entry) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None


def numbers(value: Any, count: int) -> list[float] | None:
    """Return ``value`` if it is a list of ``count`` numbers (NaN and infinity included); else None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    return value if all(type(v) is float or (type(v) is int and abs(v) < 2**63) for v in value) else None


def _objects(value: Any) -> list[Entry] | None:
    """Return ``value`` if it is a list of JSON objects; else None."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return None
    return value
