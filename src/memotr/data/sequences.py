"""The record that every reader of a data set yields and everything else takes: frames, ground truth and classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.filenames import check_filename


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
