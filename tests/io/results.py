"""Tracks and frames for the tests of what is written."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.mot_text import read_results
from memotr.data.problems import Problems
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


class MotFrame(NamedTuple):
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]  # xyxy
    scores: NDArray[np.float64]


def read_mot(path: Path) -> dict[int, MotFrame]:
    """Frame number, as in the file → its objects; frames without any are missing."""
    rows = read_results(path, Problems(stop=True))
    columns = rows.ids, rows.boxes, rows.marks
    return {
        number: MotFrame(*(column[rows.frames == number] for column in columns))
        for number in np.unique(rows.frames).tolist()
    }
