"""From frame numbers in MOT text to image numbers: both count from 0 or from 1, which is decided once a split.

A single sequence cannot tell: its first or last frame may be without objects, or without its image.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.frame_files import FrameFiles

# Behind a line's end rather than ^, which takes ten times as long; such files have millions of rows.
FRAME_0 = re.compile(rb"\n[ \t]*0+(?:\.0*)?(?:[eE][+-]?[0-9]+)?[ \t]*[, \t]")


@dataclass(frozen=True)
class FrameNumbers:
    """How a split counts.

    Attributes:
        truth: the number of the first frame in its ground truth.
        images: the number of the first image, in file names.
    """

    truth: int = 1
    images: int = 1

    @classmethod
    def of(cls, truths: Iterable[Path], frames: Iterable[FrameFiles]) -> FrameNumbers:
        """Of a split with these files of ground truth and these images."""
        return cls(first_in_truth(truths), first_in_images(frames))

    def positions(self, numbers: NDArray[np.int64], frames: FrameFiles) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where among the images of a sequence the frames with these numbers (N,) are, and which have an image.

        Returns:
            (M,) positions of the M that have one, and (N,) which these are.
        """
        numbers = numbers - self.truth + (self.images if frames.named else 1)
        position = np.minimum(np.searchsorted(frames.numbers, numbers), len(frames) - 1)
        found = frames.numbers[position] == numbers
        return position[found], found

    def gapless(self, frames: FrameFiles) -> bool:
        """Whether the images of a sequence are numbered one by one from the split's first number on."""
        first = self.images if frames.named else 1
        return bool((frames.numbers == np.arange(first, first + len(frames))).all())


def first_in_truth(files: Iterable[Path]) -> int:
    """What the ground truth of a split counts from: 1, unless a row of it is of frame 0. Files need not be there."""
    return 0 if any(FRAME_0.search(b"\n" + _bytes(file)) for file in files) else 1


def first_in_images(frames: Iterable[FrameFiles]) -> int:
    """What the images of a split count from: 1, unless one of them is image 0."""
    return 0 if any(one.named and len(one) and one.numbers[0] == 0 for one in frames) else 1


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes().removeprefix(BOM_UTF8)
    except OSError:
        return b""  # whoever reads its rows says what is wrong
