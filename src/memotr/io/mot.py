"""MOTChallenge text: ``frame,id,left,top,width,height,score,-1,-1,-1``, frames from 1, boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.sinks import TextSink
from memotr.tracks import Tracks

COLUMNS = 6  # those that every such file has: frame, id, box
SCORE = 6  # position of the score


class MotSink(TextSink):
    """One line an object, the score always 1, as the published tracker writes it.

    The number of a frame is its number in the source plus 1, so that with a start or a stride the lines still belong to
    the right images. Numbers have as many digits as it takes to read back the same box: left, top and their sums with
    width and height are the float32 corners exactly.

    Args:
        path: of the file.
        class_numbers: what the column of the class says, for each label; None: -1 where there is but one class, else
            the label + 1, as ground truth of several classes counts them.
    """

    def __init__(self, path: Path, class_numbers: Sequence[int] | None = None) -> None:
        super().__init__(path)
        self.class_numbers = class_numbers

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        count = len(tracks.class_names)
        numbers = self.class_numbers or ([-1] if count == 1 else range(1, count + 1))
        classes = [numbers[label] for label in tracks.labels]
        for i, (x1, y1, x2, y2), c in zip(tracks.ids.tolist(), tracks.boxes.tolist(), classes, strict=True):
            self.file.write(f"{tracks.frame + 1},{i},{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},1,{c},-1,-1\n")


@dataclass(frozen=True, eq=False)
class MotFrame:
    """The objects of one frame of a MOTChallenge file.

    Attributes:
        ids: (N,) int64, no id twice.
        boxes: (N, 4) float64, xyxy in pixels.
        scores: (N,) float64, as written; 1 where the file has no such column.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


def read_mot(path: Path) -> dict[int, MotFrame]:
    """Results in the MOTChallenge format; columns behind the score are not looked at.

    Args:
        path: text file, columns separated by commas, or by spaces as some trackers write.

    Returns:
        Frame number (from 1, as in the file) → its objects, in ascending order; frames without objects are missing.

    Raises:
        UserError: the file cannot be read, or a line of it is malformed (named with its number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read {path}: {reason}") from error
    rows: dict[int, dict[int, tuple[float, ...]]] = {}  # frame → id → (x1, y1, x2, y2, score)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            frame, track_id, row = _parse(line)
            if track_id in rows.setdefault(frame, {}):
                raise ValueError(f"id {track_id} is in frame {frame} already")
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {error}; expected frame,id,left,top,width,height,score,…"
            ) from error
        rows[frame][track_id] = row
    return {frame: _frame(rows[frame]) for frame in sorted(rows)}


def _parse(line: str) -> tuple[int, int, tuple[float, ...]]:
    """(frame, id, (x1, y1, x2, y2, score)) of a line; ValueError with the reason if it is malformed."""
    cells = line.replace(",", " ").split()
    if len(cells) < COLUMNS:
        raise ValueError(f"{len(cells)} columns")
    values = []
    for cell in cells[: SCORE + 1]:
        try:
            values.append(float(cell))
        except ValueError:
            raise ValueError(f"{cell!r} is not a number") from None
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    frame, track_id, left, top, width, height = values[:COLUMNS]
    if frame < 1 or not frame.is_integer():
        raise ValueError(f"{cells[0]} is not a frame number (they begin at 1)")
    if not track_id.is_integer():
        raise ValueError(f"{cells[1]} is not an id")
    score = values[SCORE] if len(values) > SCORE else 1.0
    return int(frame), int(track_id), (left, top, left + width, top + height, score)


def _frame(rows: dict[int, tuple[float, ...]]) -> MotFrame:
    table = np.array(list(rows.values()), np.float64)  # (N, 5)
    return MotFrame(np.array(list(rows), np.int64), table[:, :4], table[:, 4])
