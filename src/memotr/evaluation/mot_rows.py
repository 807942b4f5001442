"""Rows of a MOTChallenge text file as arrays, checked, every complaint with its line.

``frame, id, left, top, width, height[, score or mark[, class[, …]]]``: ground truth and results are written alike.
Files of a hundred thousand rows are common: NumPy reads them, and only where it gives up are lines looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memotr.documents import brief, read_text
from memotr.errors import UserError
from memotr.evaluation.teta_boxes import Bools, Floats, Ints, VideoBoxes

COLUMNS = "frame,id,left,top,width,height"
BOX_COLUMNS = ("left", "top", "width", "height")
SCORE, CLASS = 6, 7  # columns; in ground truth the first of them is the mark
BLANK = ", \t\r"  # in a line with nothing else
FAR = 1e9  # pixels; what lies beyond is no box, and squares of it overflow


@dataclass(frozen=True, eq=False)
class MotRows:
    """What one file says, in its order.

    Attributes:
        path: the file.
        values: (N, 6 or more) float64, the columns of the file.
    """

    path: Path
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    @property
    def frames(self) -> Ints:
        """(N,) frame numbers."""
        return self.values[:, 0].astype(np.int64)

    @property
    def ids(self) -> Ints:
        """(N,)"""
        return self.values[:, 1].astype(np.int64)

    @property
    def boxes(self) -> Floats:
        """(N, 4) xyxy in pixels."""
        corner, size = self.values[:, 2:4], self.values[:, 4:6]
        return np.concatenate([corner, corner + size], axis=1)

    def later(self, frames: int) -> MotRows:
        """The same rows, so many frames later."""
        if not frames:
            return self
        values = self.values.copy()
        values[:, 0] += frames
        return MotRows(self.path, values)

    def column(self, index: int, missing: float) -> Floats:
        """(N,) a column that not every file has; ``missing`` where it is not there."""
        if self.values.shape[1] <= index:
            return np.full(len(self), missing)
        return self.values[:, index]

    def refuse(self, wrong: Bools, message: str) -> None:
        """Raises UserError with the line of the first row that is ``wrong`` (N,), if there is one.

        ``message`` may name the row's ``{frame}`` and ``{id}``.
        """
        if wrong.any():
            raise self.error(int(np.flatnonzero(wrong)[0]), message)

    def error(self, row: int, message: str) -> UserError:
        """What is wrong about one row, with its line; the message as in :meth:`refuse`."""
        frame, track_id = self.values[row, :2]
        text = message.format(frame=f"{frame:.15g}", id=f"{track_id:.15g}")
        return UserError(f"{self.path}, line {line_of(self.path, row)}: {text}")


def read_rows(path: Path) -> MotRows:
    """All rows of a file; none of an empty one.

    Args:
        path: columns separated by commas, or by spaces as some trackers write. Blank lines are skipped.

    Raises:
        UserError: it cannot be read, or a line of it (named) has too few columns, other columns than the first line, a
            cell that is no number, a frame or an id that is no whole number, an id below 0, a box that is not finite,
            or an id that its frame has already.
    """
    text = read_text(path)
    if not text.strip():
        return MotRows(path, np.zeros((0, SCORE)))
    lines = text.split("\n")
    try:
        values = np.loadtxt(lines, delimiter="," if "," in text else None, comments=None, ndmin=2)
    except ValueError:
        values = _parse_slowly(path, lines)
    rows = MotRows(path, values)
    _check(rows)
    return rows


def by_frame(rows: MotRows, frames: Sequence[int], labels: Ints, ignore: Bools) -> tuple[VideoBoxes, Ints]:
    """The rows of some frames, sorted by frame and else in the order of the file; and which rows these are.

    Args:
        rows: of a file.
        frames: numbers of the frames, one by one; the boxes have indices from 0 instead.
        labels, ignore: of all rows.
    """
    position = rows.frames - frames[0]  # (N,)
    inside = (position >= 0) & (position < len(frames))
    order = np.flatnonzero(inside)[np.argsort(position[inside], kind="stable")]
    return VideoBoxes(position[order], rows.ids[order], labels[order], rows.boxes[order], ignore[order]), order


def whole(values: Floats) -> Bools:
    """(N,) which are whole numbers that float64 can tell apart."""
    found: Bools = (values == np.floor(values)) & (np.abs(values) < 2**53)
    return found


def line_of(path: Path, row: int) -> int:
    """Number of the line, from 1, that a row (from 0) of a file stands in."""
    filled = (number for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip(BLANK))
    return next(number for k, number in enumerate(filled) if k == row)


def _parse_slowly(path: Path, lines: list[str]) -> Floats:
    """Raises UserError with the first line that is wrong; oddities that are none (a comma at the end) are read."""
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip(BLANK):
            continue
        cells = line.rstrip(BLANK).split("," if "," in line else None)
        try:
            rows.append([_number(cell) for cell in cells])
            if len(cells) != len(rows[0]):
                raise ValueError(f"{len(cells)} columns, the first line has {len(rows[0])}")
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}; expected {COLUMNS},…") from None
    return np.array(rows, np.float64) if rows else np.zeros((0, SCORE))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{brief(cell.strip())} is not a number") from None


def _check(rows: MotRows) -> None:
    values = rows.values
    if values.shape[1] < SCORE:
        line = line_of(rows.path, 0)
        raise UserError(f"{rows.path}, line {line}: {values.shape[1]} columns; expected {COLUMNS},…")
    for column, name in enumerate(BOX_COLUMNS, start=2):
        bad = ~(np.abs(values[:, column]) < FAR)  # NaN too
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise rows.error(row, f"{name} is {values[row, column]:g}; boxes are in pixels")
    rows.refuse(~whole(values[:, 0]), "{frame} is not a frame number")
    rows.refuse(~whole(values[:, 1]), "{id} is not an id")
    rows.refuse(values[:, 1] < 0, "id {id}: is this a file of detections? ids of tracks begin at 0")
    again = _seen_before(rows.frames, rows.ids)
    rows.refuse(again, "id {id} is in frame {frame} already")


def _seen_before(frames: Ints, ids: Ints) -> Bools:
    """(N,) rows whose frame and id another row above has, too."""
    order = np.lexsort((ids, frames))  # stable: of equal rows the upper one comes first
    same = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    seen = np.zeros(len(frames), np.bool_)
    seen[order[1:][same]] = True
    return seen
