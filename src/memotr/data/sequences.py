"""Sequences: as a format's reader yields them, and as training and tracking take them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import AnnotationTable, Ints
from memotr.filenames import check_filename
from memotr.io.seqinfo import SeqInfo


@dataclass(frozen=True, eq=False)
class Recording:
    """One sequence as its files describe it: the images that are there, and its annotations, not judged yet.

    Attributes:
        name: unique within its split; results are called after it, so it is checked to be the name of a file.
        source: file or folder that it was read from, for messages.
        images: image files that are there, in order.
        numbers: (len(images),) the frame number of each image, as the annotations count frames.
        frames: numbers of all frames as the annotations count them, ascending, whether their images are there or not.
        table: annotations; None where there are none (test splits).
        categories: number of a category → its name, where the data names them.
        image_names: names of the image files of all ``frames``, where the annotations have them; else empty.
        folder: of the sequence; None where it has none of its own.
        image_folder: where its images are looked for; None: nowhere.
        first_image: number of ``images[0]`` in the source's own counting.
        fps: frames per second, where known.
        size: (height, width) in pixels, where the annotations say it.
        still: a single image of which training makes a clip by shifting it (CrowdHuman).
        gapless: no image is missing between the others, nor before them.
        info: what its seqinfo.ini says, where the format has one.
        length_known: ``frames`` does not end with the last annotated frame for want of any other information.
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

    def __post_init__(self) -> None:
        check_filename(self.name, self.source)


@dataclass(frozen=True, eq=False)
class FrameBoxes:
    """Ground truth of one frame.

    Attributes:
        ids: (G,) int64, unique in the frame; the same object keeps its id through the sequence.
        labels: (G,) int64, indices into the sequence's classes.
        boxes: (G, 4) float32, xyxy in pixels, as annotated: they may reach out of the image.
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
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))

    def __len__(self) -> int:
        return len(self.ids)


def first_half_length(num_frames: int) -> int:
    """How many of n frames a half split trains on: n // 2 + 1, the cut of CenterTrack and ByteTrack.

    The published MOT17 half-validation numbers belong to it; the rest is for validation.
    """
    return num_frames // 2 + 1


@dataclass(frozen=True, eq=False)
class Sequence:
    """One video as image files, or one still image.

    Attributes:
        name: unique within its split; results are called after it, so it is checked to be the name of a file.
        frames: image files in order.
        boxes: ground truth of every frame; None where there is none (test splits).
        classes: names of the classes.
        fps: frames per second, where known.
        size: (height, width) in pixels, where known without opening an image.
        still: a single image of which training makes a clip by shifting it (CrowdHuman).
        first_frame: number of ``frames[0]`` in the source's own counting (a second half begins later).
        gapless: no image is missing between the others, nor before them: their positions are frame numbers, which those
            who write or score results by position depend on.
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
