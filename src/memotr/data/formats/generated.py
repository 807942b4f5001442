"""Text files written by the authors' scripts: one per frame, with a line ``class id x y w h [visibility]`` per box.

Boxes are in pixels. There are three layouts::

    gts/{split}/<seq>/img1/000001.txt            images/{split}/<seq>/img1/000001.jpg            (MOT17)
    gts/{split}/<image>.txt                      images/{split}/<image>.jpg                      (CrowdHuman)
    filter_labels/track/{split}/<video>/<x>.txt  images/track/{split}/<video>/<x>.jpg            (BDD100K)

Classes are numbered from 0 in the first two, from 1 in the third.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import AnnotationTable, Origin
from memotr.data.formats.dataset_format import DatasetFormat, SplitRequest
from memotr.data.formats.frame_files import FrameFiles, files_in, list_frames, subfolders
from memotr.data.formats.mot_layout import choose_copies
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.data.problems import Problems
from memotr.data.sequences import Recording
from memotr.documents import DocumentError, read_text
from memotr.published import BDD100K_CLASSES

COLUMNS = "class id x y w h [visibility]"
WIDTHS = (6, 7)


class Generated(DatasetFormat):
    """Text of the authors' scripts; read only if requested, and never for scoring."""

    name = "generated"
    options = frozenset({"detector"})
    rules = "mot"
    scored = False
    by_request = True
    layout = "gts/<split> or filter_labels/track/<split> (text of the authors' scripts)"
    results = MOT_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        splits = {name: split.texts for name, split in find_splits(root).items()}
        return splits, "text written by the authors' scripts (gts or filter_labels)"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        split = find_splits(request.root)[request.split]
        return _read_stills(split, request, problems) if split.stills else _read_videos(split, request, problems)


@dataclass(frozen=True)
class GeneratedSplit:
    """Folders and classes of a split.

    Attributes:
        texts: folder of the text files, or of one such folder per video.
        images: folder of the images, or of one image folder per video.
        inner: name of the folder between a video's folder and its files; empty if there is none.
        stills: still images rather than videos.
        classes: class names.
        first_class: number of the first class in the files.
    """

    texts: Path
    images: Path
    inner: str
    stills: bool
    classes: tuple[str, ...]
    first_class: int


def find_splits(root: Path) -> dict[str, GeneratedSplit]:
    """Return name → split for all splits with a folder of text files."""
    splits = {}
    for texts in subfolders(root / "filter_labels" / "track"):
        images = root / "images" / "track" / texts.name
        splits[texts.name] = GeneratedSplit(texts, images, "", False, BDD100K_CLASSES, 1)
    for texts in subfolders(root / "gts"):
        stills = not subfolders(texts)
        inner = "" if stills else "img1"
        splits[texts.name] = GeneratedSplit(texts, root / "images" / texts.name, inner, stills, ("person",), 0)
    return splits


def _read_videos(split: GeneratedSplit, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
    """Yield the videos of a split; frames without a text file have no boxes."""
    names = [folder.name for folder in subfolders(split.texts) if request.selects(folder.name)]
    for name in choose_copies(names, request.detector):
        folder, images = split.texts / name / split.inner, split.images / name / split.inner
        texts = _texts_in(folder)
        frames = list_frames(images)
        if problems.rejects_name(split.texts, "video", name):
            continue
        if not texts:
            problems.error(folder, "no text files in this folder: run the script that generates them again")
        elif not len(frames):
            problems.error(images, "no images in this folder")
        else:
            yield _read_video(name, frames, texts, split, problems)


def _read_video(
    name: str, frames: FrameFiles, texts: dict[str, Path], split: GeneratedSplit, problems: Problems
) -> Recording:
    chosen = [texts.pop(file.stem, None) for file in frames.files]
    if texts:
        first = min(texts.values())
        problems.note(first.parent, f"{len(texts):,} text files have no image ({first.name}, …): left out")
    table = _read_texts(chosen, split, problems)
    folder = frames.files[0].parent
    return Recording(
        name,
        folder,
        frames.files,
        np.arange(len(frames)),
        range(len(frames)),
        table,
        dict(enumerate(split.classes)),
        folder=folder,
        first_image=int(frames.numbers[0]),
    )


def _read_stills(split: GeneratedSplit, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
    texts = _texts_in(split.texts)
    if not texts:
        problems.error(split.texts, "no text files in this folder: run the script that generates them again")
    without = 0
    for image in list_frames(split.images).files:
        text = texts.pop(image.stem, None)
        if problems.rejects_name(image.parent, "image", image.stem) or not request.selects(image.stem):
            continue
        if text is None:
            without += 1
            continue
        table = _read_texts([text], split, problems)
        classes = dict(enumerate(split.classes))
        yield Recording(image.stem, text, (image,), np.zeros(1, np.int64), range(1), table, classes, still=True)
    if without:
        problems.note(split.images, f"{without:,} images have no text file: left out")
    for text in texts.values():
        problems.error(text, f"no image of this name in {split.images}")


def _texts_in(folder: Path) -> dict[str, Path]:
    """Return image name without suffix → text file."""
    return {file.stem: file for file in files_in(folder, ".txt")}


def _read_texts(files: list[Path | None], split: GeneratedSplit, problems: Problems) -> AnnotationTable:
    """Return the boxes of the frames' text files; None stands for a frame without a file."""
    tables = [(k, file, _read_rows(file, split, problems)) for k, file in enumerate(files) if file is not None]
    values = np.concatenate([np.zeros((0, 6)), *(rows[:, :6] for _, _, (rows, _) in tables)])  # (N, 6)
    counts = [len(lines) for _, _, (_, lines) in tables]
    lines = np.array([line for _, _, (_, own) in tables for line in own], np.int64)
    origin = Origin(tuple(file for _, file, _ in tables), np.repeat(np.arange(len(tables)), counts), lines[:, None])
    return AnnotationTable.from_columns(
        np.repeat(np.array([k for k, _, _ in tables], np.int64), counts),
        values[:, 1],
        values[:, 0] - split.first_class,
        np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], axis=1),
        origin,
    ).checked(problems)


def _read_rows(file: Path, split: GeneratedSplit, problems: Problems) -> tuple[NDArray[np.float64], list[int]]:
    """Return the values (N, 6) of the valid rows, and their line numbers from 1."""
    rows, places = [], []
    try:
        lines = read_text(file).splitlines()
    except DocumentError as error:
        problems.unreadable(file, error)
        lines = []
    for place, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        message = _row_error(parts, split)
        if message:
            problems.error(file, message, place)
        else:
            rows.append([float(part) for part in parts[:6]])
            places.append(place)
    return np.array(rows, np.float64).reshape(-1, 6), places


def _row_error(parts: list[str], split: GeneratedSplit) -> str | None:
    if len(parts) not in WIDTHS:
        return f"expected {COLUMNS}, separated by spaces, found {len(parts)} values"
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return f"not all values are numbers; expected {COLUMNS}"
    if not values[0].is_integer() or not values[1].is_integer() or abs(values[1]) >= 2**53:
        return f"class {parts[0]:.30} and id {parts[1]:.30} must be whole numbers"
    last = split.first_class + len(split.classes) - 1
    if not split.first_class <= values[0] <= last:
        return f"class {parts[0]:.30} is not one of {split.first_class} to {last}"
    return None
