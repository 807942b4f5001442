"""Sequences: as yielded by the readers of formats, and as used for training and tracking."""

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

MAX_LISTED = 5  # names in a message


@dataclass(frozen=True, eq=False)
class Recording:
    """Sequence as yielded by the reader of a format: existing images and raw annotations.

    Attributes:
        name: unique name within its split, and a valid file name, because result files are named after it.
        source: source file or folder, for messages.
        images: existing image files in order.
        numbers: (len(images),) frame number of each image, as in the annotations.
        frames: frame numbers of all frames as in the annotations, ascending, with or without an image.
        table: annotations; None if there are none (test splits).
        categories: category number → name; empty if the data does not name its categories.
        image_names: image file names of all ``frames``; empty if the annotations do not have them.
        folder: folder of the sequence; None if it has no folder of its own.
        image_folder: folder of its images, if any.
        first_image: number of ``images[0]`` in the numbering of the source.
        fps: frames per second, if known.
        size: (height, width) in pixels, if the annotations have it.
        still: True for a still image, from which training makes a clip by shifting it (CrowdHuman).
        gapless: True if no image is missing before or between the others.
        info: content of its seqinfo.ini, if any.
        length_known: False if the length is only known from the last annotated frame.
        rules: name of the benchmark rules that its annotations imply; None: those of its format or its name.
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
        ids: (G,) int64, unique within the frame; an object has the same id in all frames of the sequence.
        labels: (G,) int64, indices into the sequence's classes.
        boxes: (G, 4) float32, xyxy in pixels as annotated; may extend beyond the image.
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
    """Return the number of training frames of a half split of n frames: n // 2 + 1, as in CenterTrack and ByteTrack.

    The other frames are for validation. The published MOT17 half-validation results use this split.
    """
    return num_frames // 2 + 1


@dataclass(frozen=True, eq=False)
class Sequence:
    """Video as image files, or one still image.

    Attributes:
        name: unique name within its split, and a valid file name, because result files are named after it.
        frames: image files in order.
        boxes: ground truth of every frame; None if there is none (test splits).
        classes: names of the classes.
        fps: frames per second, if known.
        size: (height, width) in pixels, if known without opening an image.
        still: True for a still image, from which training makes a clip by shifting it (CrowdHuman).
        first_frame: number of ``frames[0]`` in the numbering of the source; larger for a second half.
        gapless: True if no image is missing before or between the others. Results are written and scored by position,
            which is only correct for gapless sequences.
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
    """Concatenated ground truth of several sequences: G boxes in F frames.

    It has a few arrays rather than an object per frame, because worker processes would copy the memory of millions of
    small Python objects when their reference counts change.

    Attributes:
        ids: (G,) int64, unique within a frame.
        labels: (G,) int64.
        boxes: (G, 4) float32 xyxy in pixels.
        offsets: (F + 1,) int64; the boxes of frame f are the rows offsets[f] to offsets[f + 1], exclusive.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_sequences(cls, sequences: Iterable[Sequence]) -> Self:
        """Concatenate the ground truth of the sequences; those without ground truth are left out."""
        truths = [FrameBoxes.empty(), *(truth for sequence in sequences for truth in sequence.boxes or ())]
        return cls(
            np.concatenate([truth.ids for truth in truths]),
            np.concatenate([truth.labels for truth in truths]),
            np.concatenate([truth.boxes for truth in truths]),
            np.cumsum([len(truth) for truth in truths]),
        )

    def frame(self, number: int) -> FrameBoxes:
        """Return the ground truth of a frame; ``number`` counts from 0 over all sequences."""
        rows = slice(self.offsets[number], self.offsets[number + 1])
        return FrameBoxes(self.ids[rows], self.labels[rows], self.boxes[rows])

    @property
    def per_frame(self) -> NDArray[np.int64]:
        """Number of boxes of each frame, (F,)."""
        return np.diff(self.offsets)


class FrameSizeError(UserError):
    """Error for a frame whose size differs from that of its sequence."""


def size_problem(size: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """Return an error message if the (height, width) of a frame differs from that of its sequence; else None.

    Such frames are always rejected, because it is unknown in which of the sizes their boxes are given.
    """
    if size == expected:
        return None
    return (
        f"is {size[1]}×{size[0]}, but its sequence is {expected[1]}×{expected[0]}, and its boxes may be in pixels of "
        "either: give all images of a sequence the same size"
    )


def check_frame_size(file: Path, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise FrameSizeError unless the (height, width) of a frame is that of its sequence."""
    if problem := size_problem(size, expected):
        raise FrameSizeError(f"{file}: {problem}")


def matching_names(names: Iterable[str], patterns: Many[str]) -> list[str]:
    """Return the names that match at least one of the patterns; all names if there are no patterns."""
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def list_names(names: Iterable[str]) -> str:
    """Return the names separated by commas; of more than five names, the first five and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    return ", ".join(listed[:MAX_LISTED]) + more
