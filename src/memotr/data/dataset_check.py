"""Check of the ground truth and images of a data set before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from rich.progress import Progress

from memotr.config import DataFormat
from memotr.consoles import SafeConsole, progress_bar
from memotr.data.annotations import corner_likeness, seem_box_numbers, seem_fractions
from memotr.data.dataset_report import Report
from memotr.data.datasets import DatasetSpec, read_split, spec_at
from memotr.data.formats.dataset_format import AnnotationFiles
from memotr.data.layouts import recognise
from memotr.data.problems import Problems
from memotr.data.sequences import BoxTable, Sequence, size_problem
from memotr.io.image_files import ImageError, ImageHeader, load_image, read_header

MAX_DECODED = 300  # images, evenly spaced over the data set, unless all are requested


def check(
    path: Path,
    *,
    format: DataFormat = "auto",
    split: str | None = None,
    full: bool = False,
    progress: SafeConsole | None = None,
) -> Report:
    """Check the ground truth and all image headers of a data set, and decode a sample of the images.

    Args:
        path: a data set, or one of its splits, such as ``MOT17/val_half``.
        format: name of a format; ``auto``: recognised by the files.
        split: a split of the data set in ``path``; None: all splits. Splits named ``test…`` need no ground truth.
        full: decode every image.
        progress: console for progress bars; None: no progress bars.

    Raises:
        UserError: ``path`` is not recognised, or has no such split. Other problems are in the report.
    """
    spec = spec_at(path, format) if split is None else DatasetSpec(path, split, format)
    layout = recognise(spec.root, format)
    problems, files = Problems(), AnnotationFiles()
    splits: dict[str, list[Sequence]] = {}
    with progress_bar(progress) as bar:
        for name in [spec.split] if spec.split else layout.splits:
            task = bar.add_task(f"reading {name}", total=None)
            chosen = DatasetSpec(spec.root, name, format)
            splits[name] = []
            for sequence in read_split(chosen, problems, ground_truth=not name.startswith("test"), files=files):
                splits[name].append(sequence)
                bar.advance(task)
            bar.update(task, total=len(splits[name]))
        report = Report(layout, splits, Counter(), problems)
        with _opencv_silent():
            _check_images(report, full, bar)
    for sequence in report.sequences:
        _check_tracks(sequence, problems)
        _check_columns(sequence, problems)
    return report


@contextmanager
def _opencv_silent() -> Iterator[None]:
    """Suppress OpenCV's messages about damaged images, which do not name the file."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _check_images(report: Report, full: bool, bar: Progress) -> None:
    """Read the headers of all images and decode a sample; count the sizes and report problems."""
    sequences = report.sequences
    frames = [(sequence, k) for sequence in sequences for k in range(len(sequence))]
    sample = range(len(frames)) if full else np.linspace(0, len(frames) - 1, MAX_DECODED).astype(int).tolist()
    decoded = set(sample)
    task = bar.add_task("checking images", total=len(frames))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda n: _read_size(frames[n][0].frames[frames[n][1]], n in decoded), range(len(frames)))
        usual: dict[int, tuple[int, int]] = {}
        for (sequence, k), image in zip(frames, found, strict=True):
            bar.advance(task)
            if isinstance(image, ImageError):
                report.problems.error(image.file, f"cannot be read: {image.reason}")
                continue
            header, bits = image
            size = header.size
            _note_oddities(sequence.frames[k], header, bits, report.problems)
            report.sizes[size] += 1
            _check_size(sequence, k, size, usual.setdefault(id(sequence), sequence.size or size), report.problems)


def _read_size(file: Path, decode: bool) -> tuple[ImageHeader, int | None] | ImageError:
    """Return header and ``LoadedImage.bits``, or the error: raised, it would end the work of all threads."""
    try:
        if decode:
            _, header, bits = load_image(file)
            return header, bits
        return read_header(file), None
    except ImageError as error:
        return error


def _note_oddities(file: Path, header: ImageHeader, bits: int | None, problems: Problems) -> None:
    """Report images that are not read as they are, all those of a folder with one note."""
    if header.orientation != 1:
        message = "has an EXIF rotation, which training ignores: boxes must fit the image as stored"
        problems.note(file.parent, message, file.name)
    if header.frames > 1:
        problems.note(file.parent, "has several frames or pages, of which only the first is read", file.name)
    if bits is not None and bits < 16:
        problems.note(file.parent, f"has 16 bits per channel and uses {bits}: {(1 << bits) - 1} is white", file.name)


def _check_size(sequence: Sequence, k: int, size: tuple[int, int], usual: tuple[int, int], problems: Problems) -> None:
    """Report if the size of frame k differs from its sequence, or boxes are outside the image."""
    file = sequence.frames[k]
    if problem := size_problem(size, usual):
        problems.error(file, problem)
    if sequence.still and sequence.boxes is not None:
        x1, y1, x2, y2 = sequence.boxes[k].boxes.T
        outside = (x1 >= size[1]) | (y1 >= size[0]) | (x2 <= 0) | (y2 <= 0)
        if outside.any():
            problems.note(file, f"{int(outside.sum())} boxes are entirely outside the image: left out")


def _check_tracks(sequence: Sequence, problems: Problems) -> None:
    """Report ids with several classes, and sequences too short for a clip."""
    folder = sequence.frames[0].parent
    if len(sequence) < 2 and not sequence.still:
        problems.note(folder, "has only one frame: too short for a clip")
    table = BoxTable.from_sequences([sequence])
    pairs = np.unique(np.stack([table.ids, table.labels], axis=1), axis=0)  # (pairs, 2)
    changing = len(pairs) - len(np.unique(table.ids))
    if changing:
        problems.note(folder, f"{changing} ids have several classes")


def _check_columns(sequence: Sequence, problems: Problems) -> None:
    """Report columns that probably mean something else: ids that number boxes, fractions, or corners."""
    folder = sequence.frames[0].parent
    table = BoxTable.from_sequences([sequence])
    if np.count_nonzero(table.per_frame) > 1 and not sequence.still and seem_box_numbers(table.ids):
        problems.note(folder, "most ids occur in one frame only: they probably number boxes, not tracks to learn")
    if seem_fractions(table.boxes):
        problems.note(folder, "all coordinates are tiny: they are probably fractions of the image, not pixels")
    elif sequence.size is not None and corner_likeness(table.boxes) > 0.99:
        height, width = sequence.size
        x2, y2 = table.boxes.T[2:]
        outside = ((x2 > width) | (y2 > height)).mean()
        if outside > 0.2:
            message = f"{outside:.0%} of the boxes extend beyond the image: they are probably corners (x1, y1, x2, y2)"
            problems.note(folder, f"{message}, but were read as left, top, width, height")
