"""Text files that the published scripts make: one a frame, ``class id x y w h [visibility]`` a line, xywh in pixels.

They come in three layouts, for which this reader looks in this order::

    gts/{split}/<seq>/img1/000001.txt            images/{split}/<seq>/img1/000001.jpg            (MOT17)
    gts/{split}/<image>.txt                      images/{split}/<image>.jpg                      (CrowdHuman)
    filter_labels/track/{split}/<video>/<x>.txt  images/track/{split}/<video>/<x>.jpg            (BDD100K)

The scripts count classes from 0 in the first two, from 1 in the third.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.box_table import BoxTable
from memotr.data.formats.frame_files import FrameFiles, list_frames, size_of, subfolders
from memotr.data.formats.mot import one_copy_each
from memotr.data.formats.problems import Problems
from memotr.data.sequences import Sequence
from memotr.documents import DocumentError, read_text
from memotr.published import BDD100K_CLASSES

COLUMNS = "class id x y w h [visibility]"
WIDTHS = (6, 7)


@dataclass(frozen=True)
class GeneratedSplit:
    """Where the text and the images of a split are, and what the classes mean.

    Attributes:
        texts: folder of the text files or of one folder of them a video.
        images: the same for the images.
        inner: folder between a video and its files.
        stills: images alone, not videos.
        classes: names of the classes.
        first_class: number of the first of them in the files.
    """

    texts: Path
    images: Path
    inner: str
    stills: bool
    classes: tuple[str, ...]
    first_class: int


def find_splits(root: Path) -> dict[str, GeneratedSplit]:
    """The splits of which there is such text."""
    splits = {}
    for texts in subfolders(root / "filter_labels" / "track"):
        images = root / "images" / "track" / texts.name
        splits[texts.name] = GeneratedSplit(texts, images, "", False, BDD100K_CLASSES, 1)
    for texts in subfolders(root / "gts"):
        stills = not subfolders(texts)
        inner = "" if stills else "img1"
        splits[texts.name] = GeneratedSplit(texts, root / "images" / texts.name, inner, stills, ("person",), 0)
    return splits


def read_sequences(split: GeneratedSplit, problems: Problems, *, detector: str | None = None) -> Iterator[Sequence]:
    """The sequences of a split; ``detector`` as in :func:`memotr.data.formats.mot.one_copy_each`.

    Frames without a text file have no boxes: the scripts write none for them.
    """
    if split.stills:
        yield from _read_stills(split, problems)
        return
    for folder in one_copy_each(subfolders(split.texts), detector):
        texts = _texts_in(folder / split.inner)
        frames = list_frames(split.images / folder.name / split.inner)
        if not texts:
            problems.error(folder / split.inner, "no text files here: the script that makes them wrote nothing")
        elif not len(frames):
            problems.error(split.images / folder.name / split.inner, "no images here")
        else:
            yield _read_video(folder.name, frames, texts, split, problems)


def _read_video(
    name: str, frames: FrameFiles, texts: dict[str, Path], split: GeneratedSplit, problems: Problems
) -> Sequence:
    size = size_of(frames.files, problems)
    chosen = [texts.pop(file.stem, None) for file in frames.files]
    if texts:
        first = min(texts.values())
        problems.note(first.parent, f"{len(texts):,} text files have no image ({first.name}, …): left out")
    boxes = _read_texts(chosen, split, problems).by_frame(len(frames), size, problems)
    return Sequence(name, frames.files, boxes, split.classes, size=size, first_frame=int(frames.numbers[0]))


def _read_stills(split: GeneratedSplit, problems: Problems) -> Iterator[Sequence]:
    texts = _texts_in(split.texts)
    if not texts:
        problems.error(split.texts, "no text files here: the script that makes them wrote nothing")
    without = 0
    for image in list_frames(split.images).files:
        text = texts.pop(image.stem, None)
        if text is None:
            without += 1
            continue
        boxes = _read_texts([text], split, problems).by_frame(1, None, problems)
        yield Sequence(image.stem, (image,), boxes, split.classes, still=True)
    if without:
        problems.note(split.images, f"{without:,} images have no text file: left out")
    for text in texts.values():
        problems.error(text, f"there is no image of this name in {split.images}")


def _texts_in(folder: Path) -> dict[str, Path]:
    """Text files by the name of their image."""
    return {file.stem: file for file in sorted(folder.glob("*.txt"))}


def _read_texts(files: list[Path | None], split: GeneratedSplit, problems: Problems) -> BoxTable:
    """The boxes of the frames' files; None is a frame without."""
    tables = [(k, file, _read_rows(file, split, problems)) for k, file in enumerate(files) if file is not None]
    origins = [(file, line) for _, file, (_, lines) in tables for line in lines]
    values = np.concatenate([np.zeros((0, 6)), *(rows[:, :6] for _, _, (rows, _) in tables)])  # (N, 6)
    counts = [len(lines) for _, _, (_, lines) in tables]
    return BoxTable(
        np.repeat(np.array([k for k, _, _ in tables], np.int64), counts),
        values[:, 1].astype(np.int64),
        values[:, 0].astype(np.int64) - split.first_class,
        np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], axis=1),
        lambda k: origins[k],
    )


def _read_rows(file: Path, split: GeneratedSplit, problems: Problems) -> tuple[NDArray[np.float64], list[int]]:
    """(N, 6) values and their lines, from 1, of the rows that can be understood."""
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
        wrong = _what_is_wrong(parts, split)
        if wrong:
            problems.error(file, wrong, place)
        else:
            rows.append([float(part) for part in parts[:6]])
            places.append(place)
    return np.array(rows, np.float64).reshape(-1, 6), places


def _what_is_wrong(parts: list[str], split: GeneratedSplit) -> str | None:
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
