"""Files of a folder: annotation files, and images as the numbered frames of a sequence. Hidden files are left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.problems import Problems
from memotr.errors import UserError
from memotr.io.image_files import IMAGE_SUFFIXES, ImageError, image_size, in_order

MAX_TRIED = 10  # maximum number of images that are opened to find a readable one


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """Image files of a sequence.

    Attributes:
        files: images in the order of :func:`memotr.io.image_files.in_order`.
        numbers: (N,) int64, unique and ascending: numbers in the file names, or 1 … N if those are not usable.
        named: the numbers were read from the file names.
    """

    files: tuple[Path, ...]
    numbers: NDArray[np.int64]
    named: bool = True

    @classmethod
    def empty(cls) -> FrameFiles:
        """Return the files of a sequence whose images are not listed."""
        return cls((), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.files)


def list_frames(folder: Path) -> FrameFiles:
    """Return the images of a folder, except hidden files; empty if the folder does not exist."""
    names, numbers = in_order(images_in(folder))
    counted = np.arange(1, len(names) + 1) if numbers is None else np.array(numbers, np.int64)
    return FrameFiles(tuple(folder / name for name in names), counted, numbers is not None)


def images_in(folder: Path) -> set[str]:
    """Return the names of the image files in a folder, except hidden files; empty if the folder does not exist.

    Raises:
        UserError: the folder cannot be read.
    """
    return {name for name in _names_in(folder) if name.lower().endswith(tuple(IMAGE_SUFFIXES))}


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return the files of a folder with a suffix, sorted by name, except hidden files; empty if it does not exist.

    macOS writes a hidden ``._name.txt`` beside each file on foreign file systems and into archives.

    Raises:
        UserError: the folder cannot be read.
    """
    return [folder / name for name in sorted(_names_in(folder)) if name.endswith(suffix)]


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, sorted by name, except hidden ones and ``__MACOSX`` of macOS archives.

    Raises:
        UserError: the folder cannot be read.
    """
    names = sorted(_names_in(folder, only_folders=True))
    return [folder / name for name in names if not name.startswith("__MACOSX")]


def _names_in(folder: Path, *, only_folders: bool = False) -> list[str]:
    """Return the names in a folder that are not hidden; none if the folder does not exist."""
    try:
        with os.scandir(folder) as entries:
            shown = (entry for entry in entries if not entry.name.startswith("."))
            return [entry.name for entry in shown if not only_folders or entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def size_of(files: Sequence[Path], problems: Problems) -> tuple[int, int] | None:
    """Return (height, width) of the first readable image of the first ten; report unreadable ones."""
    for file in files[:MAX_TRIED]:
        try:
            return image_size(file)
        except ImageError as error:
            problems.note(error.file, f"cannot be read: {error.reason}")
    problems.error(files[0].parent, f"none of the first {len(files[:MAX_TRIED])} images can be read")
    return None
