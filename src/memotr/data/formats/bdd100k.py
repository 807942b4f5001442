"""BDD100K: ``labels/box_track_20/{split}/<video>.json`` (Scalabel) and ``images/track/{split}/<video>/*.jpg``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from memotr.data.formats.dataset_format import WHOLE, DatasetFormat, ResultFormat, SplitRequest
from memotr.data.formats.frame_files import files_in, images_in, list_frames, subfolders
from memotr.data.formats.scalabel import ScalabelVideo, read_videos
from memotr.data.problems import Problems
from memotr.data.sequences import Recording
from memotr.documents import brief
from memotr.io.bdd import BddSink

BDD100K_RESULTS = ResultFormat(".json", lambda file, name, _: BddSink(file, video_name=name), names_classes=True)
FPS = 5.0  # frames per second of the distributed frames, all of which are annotated


class Bdd100k(DatasetFormat):
    """BDD100K: labels and images in parallel folders."""

    name = "bdd100k"
    options = frozenset({"classes", "other_categories"})
    rules = "bdd100k"
    layout = "labels/box_track_20 with images/track (BDD100K)"
    results = BDD100K_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        labels, images = root / "labels" / "box_track_20", root / "images" / "track"
        names = {folder.name for folder in subfolders(labels) + subfolders(images)}
        return {name: labels / name for name in sorted(names)}, "BDD100K: labels/box_track_20 and images/track"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        images = request.root / "images" / "track" / request.split
        if not request.place.is_dir():  # test split
            yield from _unlabelled(images, request, problems)
            return
        seen: set[str] = set()
        for recording in read_labels(request, images, problems):
            seen.add(recording.name)
            yield recording
        for folder in subfolders(images):
            if folder.name not in seen and request.selects(folder.name):
                problems.error(folder, f"this video has no label file {request.place / folder.name}.json")


class ScalabelLabels(Bdd100k):
    """BDD100K labels without images, for scoring: a JSON file or a folder of them."""

    layout = "JSON files of labels (Scalabel)"

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        is_labels = root.suffix == ".json" or bool(files_in(root, ".json"))
        return ({WHOLE: root}, "labels of BDD100K without images") if is_labels else ({}, "")

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        images = None
        if len(request.place.absolute().parents) > 2:  # labels/box_track_20/<split>
            images = request.place.absolute().parents[2] / "images" / "track" / request.place.name
        return read_labels(request, images, problems)


def read_labels(request: SplitRequest, images: Path | None, problems: Problems) -> Iterator[Recording]:
    """Yield the videos of label files, sorted by name.

    Args:
        request: request for a JSON file or a folder of them.
        images: folder of the videos' image folders, if there is one.
        problems: collects problems.
    """
    files = files_in(request.place, ".json") if request.place.is_dir() else [request.place]
    if not files:
        problems.error(
            request.place, "no label files (*.json) in this folder; expected one per video, or one for all videos"
        )
    origin: dict[str, Path] = {}
    for file in files:
        for name, video in request.files.read(file, read_videos, problems).items():
            if not request.selects(name):
                continue
            if name in origin:
                problems.error(file, f"video {brief(name)} is also in {origin[name].name}; remove one")
                continue
            origin[name] = file
            yield _recording(name, file, video, None if images is None else images / name, request.images)


def _recording(name: str, file: Path, video: ScalabelVideo, images: Path | None, with_images: bool) -> Recording:
    available = images_in(images) if images is not None and with_images else set()
    found = [k for k, image in enumerate(video.image_names) if image in available]
    return Recording(
        name,
        file,
        tuple(images / video.image_names[k] for k in found) if images is not None else (),
        np.array([video.frames[k] for k in found], np.int64),
        video.frames,
        video.table,
        video.categories,
        video.image_names,
        image_folder=images,
        first_image=video.frames[found[0]] if found else 0,
        fps=FPS,
        gapless=len(found) == len(video.frames),
    )


def _unlabelled(images: Path, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
    for folder in subfolders(images):
        if not request.selects(folder.name) or problems.rejects_name(images, "video", folder.name):
            continue
        files = list_frames(folder).files
        numbers = np.arange(len(files))
        yield Recording(
            folder.name,
            folder,
            files,
            numbers,
            range(len(files)),
            None,
            image_folder=folder,
            first_image=0,
            fps=FPS,
        )
