"""Tracks and frames for the tests of what is written."""

import numpy as np

from memotr.io.frames import Frame
from memotr.tracks import Tracks


def make_tracks(
    boxes: list[list[float]], *, frame: int = 0, ids: list[int] | None = None, names: tuple[str, ...] = ("person",)
) -> Tracks:
    count = len(boxes)
    return Tracks(
        ids=np.array(range(count) if ids is None else ids, np.int64),
        boxes=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.linspace(0.9, 0.6, count, dtype=np.float32),
        labels=np.arange(count) % len(names),
        frame=frame,
        class_names=names,
    )


def make_frame(index: int = 0, height: int = 48, width: int = 64, level: int = 100) -> Frame:
    return Frame(index, np.full((height, width, 3), level, np.uint8), index / 25, None)
