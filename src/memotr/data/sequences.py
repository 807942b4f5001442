"""Sequences as format readers yield them, and as training and tracking use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import AnnotationTable, Ints
from memotr.errors import UserError
from memotr.filenames import check_filename
from memotr.io.seqinfo import SeqInfo

LISTED_AT_MOST = 5  # names in a message


@dataclass(frozen=True, eq=False)
class Recording:
    """Sequence as described by its files: existing images and raw annotations.

    Attributes:
        name: unique within its split; checked to be a valid file name, because result files are named after it.
        source: file or folder that it was read from, for messages.
        images: existing image files in order.
        numbers: (len(images),) frame number of each image, as the annotations count frames.
        frames: numbers of all frames as the annotations count them, ascending, with or without an image.
        table: annotations; None if there are none (test splits).
        categories: category number → name; empty if the data does not name its categories.
        image_names: image file names of all ``frames``; empty if the annotations do not have them.
        folder: folder of the sequence; None if it has none of its own.
        image_folder: folder of its images, if any.
        first_image: number of ``images[0]`` in the source's own numbering.
        fps: frames per second, if known.
        size: (height, width) in pixels, if the annotations have it.
        still: a still image that training turns into a clip by shifting it (CrowdHuman).
        gapless: no image is missing before or between the others.
        info: content of its seqinfo.ini, if any.
        length_known: False if the last annotated frame is the only information about the length.
        rules: name of the benchmark rules that its annotations call for; None: those of its format or its name.
    """

    name: str
    source: Path
    images: tuple[Path, ...]
    numbers: Ints
    frames: Many[int]
    table: AnnotationTable | None
    categories: Mapping[int, str] = field(default_factory=dict)
    image_names: tuple[str, ...] = ()
    folder: Path | None = None
    image_folder: Path | None = None
    first_image: int = 1
    fps: float | None = None
    size: tuple[int, int] | None = None
    still: bool = False
    gapless: bool = True
    info: SeqInfo = field(default_factory=SeqInfo)
    length_known: bool = True
    rules: str | None = None

    def __post_init__(self) -> None:
        check_filename(self.name, self.source)


@dataclass(frozen=True, eq=False)
class FrameBoxes:
    """Ground truth of one frame for training.

    Attributes:
        ids: (G,) int64, unique within the frame; an object keeps its id through the sequence.
        labels: (G,) int64, indices into the sequence's classes.
        boxes: (G, 4) float32, xyxy in pixels as annotated; may reach out of the image.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.labels.shape != (n,) or self.boxes.shape != (n, 4):
            raise ValueError(f"FrameBoxes: {n} ids, labels {self.labels.shape}, boxes {self.boxes.shape}")

    @classmethod
    def empty(cls) -> FrameBoxes:
        """Return the boxes of a frame without objects."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))

    def __len__(self) -> int:
        return len(self.ids)


def first_half_length(num_frames: int) -> int:
    """Return how many of n frames a half split trains on: n // 2 + 1, the cut of CenterTrack and ByteTrack.

    The other frames are for validation; the published MOT17 half-validation numbers use this cut.
    """
    return num_frames // 2 + 1


@dataclass(frozen=True, eq=False)
class Sequence:
    """Video as image files, or one still image.

    Attributes:
        name: unique within its split; checked to be a valid file name, because result files are named after it.
        frames: image files in order.
        boxes: ground truth of every frame; None if there is none (test splits).
        classes: names of the classes.
        fps: frames per second, if known.
        size: (height, width) in pixels, if known without opening an image.
        still: a still image that training turns into a clip by shifting it (CrowdHuman).
        first_frame: number of ``frames[0]`` in the source's own numbering (a second half begins later).
        gapless: no image is missing before or between the others, so that positions are frame numbers; writing and
            scoring results by position depends on it.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: tuple[FrameBoxes, ...] | None
    classes: tuple[str, ...]
    fps: float | None = None
    size: tuple[int, int] | None = None
    still: bool = False
    first_frame: int = 1
    gapless: bool = True

    def __post_init__(self) -> None:
        check_filename(self.name, self.frames[0].parent if self.frames else "sequence")
        if self.boxes is not None and len(self.boxes) != len(self.frames):
            raise ValueError(f"Sequence {self.name}: {len(self.frames)} frames, ground truth of {len(self.boxes)}")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Ground truth of many sequences end to end: G boxes in F frames.

    A few arrays rather than an object per frame: workers would copy millions of small Python objects, if only by
    changing their reference counts.

    Attributes:
        ids: (G,) int64, unique within a frame.
        labels: (G,) int64.
        boxes: (G, 4) float32 xyxy in pixels.
        offsets: (F + 1,) int64, rows at which the boxes of each frame begin and end.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Iterable[Sequence]) -> Self:
        """Return the ground truth of the sequences that have any."""
        truths = [FrameBoxes.empty(), *(truth for sequence in sequences for truth in sequence.boxes or ())]
        return cls(
            np.concatenate([truth.ids for truth in truths]),
            np.concatenate([truth.labels for truth in truths]),
            np.concatenate([truth.boxes for truth in truths]),
            np.cumsum([len(truth) for truth in truths]),
        )

    def frame(self, number: int) -> FrameBoxes:
        """Return the ground truth of a frame, counted over all sequences from 0."""
        rows = slice(self.offsets[number], self.offsets[number + 1])
        return FrameBoxes(self.ids[rows], self.labels[rows], self.boxes[rows])

    @property
    def per_frame(self) -> NDArray[np.int64]:
        """Number of boxes of each frame, (F,)."""
        return np.diff(self.offsets)


class FrameSizeError(UserError):
    """Error of a frame whose size is not that of its sequence."""


def size_problem(size: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """Return what is wrong with the (height, width) of a frame, given that of its sequence; None if they are equal.

    Such frames are refused everywhere, because nothing says which pixels their boxes count.
    """
    if size == expected:
        return None
    return (
        f"is {size[1]}×{size[0]}, its sequence {expected[1]}×{expected[0]}, and its boxes may be in pixels of either: "
        "give all images of a sequence one size"
    )


def check_frame_size(file: Path, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise FrameSizeError unless the (height, width) of a frame is that of its sequence."""
    if problem := size_problem(size, expected):
        raise FrameSizeError(f"{file}: {problem}")


def matching_names(names: Iterable[str], patterns: Many[str]) -> list[str]:
    """Return the names that match any of the patterns; all names if there is no pattern."""
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def list_names(names: Iterable[str]) -> str:
    """Return names separated by commas, the first few of many."""
    listed = list(names)
    more = f" and {len(listed) - LISTED_AT_MOST} more" if len(listed) > LISTED_AT_MOST else ""
    return ", ".join(listed[:LISTED_AT_MOST]) + more
