"""Image files of a folder as the frames of a sequence, with the numbers that their names carry."""

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

TRIED_AT_MOST = 10


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """Attributes:
    files: images in the order of :func:`memotr.io.image_files.in_order`.
    numbers: (N,) int64, ascending, no two alike: those in the names, or 1 … N where these tell nothing.
    named: whether they are those in the names.
    """

    files: tuple[Path, ...]
    numbers: NDArray[np.int64]
    named: bool = True

    def __len__(self) -> int:
        return len(self.files)


def list_frames(folder: Path) -> FrameFiles:
    """The images of a folder; none where there is no such folder. Hidden files are not looked at."""
    names, numbers = in_order(images_in(folder))
    counted = np.arange(1, len(names) + 1) if numbers is None else np.array(numbers, np.int64)
    return FrameFiles(tuple(folder / name for name in names), counted, numbers is not None)


def images_in(folder: Path) -> set[str]:
    """Names of the image files in a folder; none where there is no such folder. Raises UserError: it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
    return {name for name in names if name.lower().endswith(tuple(IMAGE_SUFFIXES))}


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name; hidden ones and the leftovers of macOS archives are not looked at.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
    return [folder / name for name in sorted(names) if not name.startswith((".", "__MACOSX"))]


def size_of(files: Sequence[Path], problems: Problems) -> tuple[int, int] | None:
    """(height, width) of the first image that can be read; those that cannot are noted."""
    for file in files[:TRIED_AT_MOST]:
        try:
            return image_size(file)
        except ImageError as error:
            problems.note(error.file, f"cannot be read: {error.reason}")
    problems.error(files[0].parent, f"none of the first {len(files[:TRIED_AT_MOST])} images can be read")
    return None
