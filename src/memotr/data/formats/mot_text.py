"""Text of MOTChallenge: ground truth and results alike, one box a line.

``frame, id, left, top, width, height[, mark or score[, class[, visibility]]]``, frames from 1 (or 0), boxes in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import LARGEST_INTEGER, NO_CATEGORY, AnnotationTable, Bools, Floats, Ints, Origin
from memotr.data.formats.dataset_format import ResultFormat
from memotr.data.problems import Problems
from memotr.documents import DocumentError, brief, read_text
from memotr.io.mot import MotSink

COLUMNS = "frame, id, left, top, width, height[, mark, class, visibility]"
FEWEST = 6
MARK, CLASS, VISIBILITY = 6, 7, 8
WITH_CLASS = (8, 9)  # columns of ground truth with classes; of ten (MOT15) the last three are world coordinates
NO_CLASS = "class {value} (column 8) is not a whole number"
BLANK = ", \t\r"  # what a line without values may hold
MOT_RESULTS = ResultFormat(".txt", lambda file, _, class_numbers: MotSink(file, class_numbers))


@dataclass(frozen=True, eq=False)
class TextRows:
    """The values of a file.

    Attributes:
        file: the file.
        values: (N, 6 or more) float64.
        lines: (N,) line numbers from 1.
    """

    file: Path
    values: Floats
    lines: Ints

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, rows: NDArray[Any]) -> TextRows:
        return TextRows(self.file, self.values[rows], self.lines[rows])

    def column(self, index: int) -> Floats | None:
        """Return a column that not every file has: (N,), or None."""
        return self.values[:, index] if self.values.shape[1] > index else None

    def without(self, wrong: Bools, column: int, message: str, problems: Problems) -> TextRows:
        """Return the rows that are not ``wrong`` (N,); those that are become errors.

        ``message`` may name the ``{value}`` in ``column``.
        """
        for k in np.flatnonzero(wrong).tolist():
            problems.error(self.file, message.format(value=f"{self.values[k, column]:.15g}"), int(self.lines[k]))
        return self[~wrong] if wrong.any() else self


def read_truth(file: Path, problems: Problems) -> AnnotationTable:
    """Read ground truth.

    A class counts in files of 8 or 9 columns, where -1 means none; visibility in files of 9.

    Args:
        file: text in UTF-8, its columns separated by commas or blanks.
        problems: takes lines that cannot be understood and rows that no rules can use.
    """
    rows = read_values(file, problems)
    if (marks := rows.column(MARK)) is not None:
        rows = rows.without(~np.isfinite(marks), MARK, "mark {value} (column 7) is not a number", problems)
    categories, visibility = np.full(len(rows), NO_CATEGORY), None
    if rows.values.shape[1] in WITH_CLASS:
        rows = rows.without(~_whole(rows.values[:, CLASS]), CLASS, NO_CLASS, problems)
        categories, visibility = rows.values[:, CLASS].astype(np.int64), rows.column(VISIBILITY)
    return make_table(rows, categories, rows.column(MARK), visibility).checked(problems)


def read_results(file: Path, problems: Problems, *, numbered: bool = False) -> AnnotationTable:
    """Read results of a tracker: the mark is a score, and the eighth column, where there is one, is the class.

    Args:
        file, problems: as for :func:`read_truth`.
        numbered: classes count, and those that are not whole numbers are errors.
    """
    rows = read_values(file, problems)
    if numbered and (classes := rows.column(CLASS)) is not None:
        broken = ~_whole(classes) & ~np.isnan(classes)
        rows = rows.without(broken, CLASS, NO_CLASS, problems)
    return results_table(rows, problems)


def results_table(rows: TextRows, problems: Problems) -> AnnotationTable:
    """Return results as a table; see :func:`read_results`."""
    categories = np.full(len(rows), NO_CATEGORY)
    if (classes := rows.column(CLASS)) is not None:
        known = ~np.isnan(classes)
        categories[known] = np.clip(classes[known], -LARGEST_INTEGER, LARGEST_INTEGER).astype(np.int64)
    return make_table(rows, categories, rows.column(MARK), None).checked(problems, results=True)


def read_values(file: Path, problems: Problems) -> TextRows:
    """Read the rows of a file whose frames and ids are whole numbers, none of an empty file.

    Args:
        file: text in UTF-8, its columns separated by commas or blanks; blank lines and a comma at the end are passed
            over.
        problems: takes every line with too few columns, with other columns than the first one, or without numbers.
    """
    try:
        lines = read_text(file).removesuffix("\n").split("\n")
    except DocumentError as error:
        problems.unreadable(file, error)
        lines = []
    else:
        if not any(map(str.strip, lines)):
            problems.note(file, "no rows: every frame counts as one without objects")
    rows = _read_quickly(file, lines) or _read_slowly(file, lines, problems)
    for column, name in enumerate(("frame", "id")):
        message = f"{name} {{value}} is not a whole number"
        rows = rows.without(~_whole(rows.values[:, column]), column, message, problems)
    return rows


def _read_quickly(file: Path, lines: list[str]) -> TextRows | None:
    """Return the rows of a file of which every line is one; None where NumPy gives up on it."""
    if not lines or not lines[0].strip(BLANK):
        return None
    try:
        values = np.loadtxt(lines, delimiter="," if "," in lines[0] else None, comments=None, ndmin=2)
    except ValueError:
        return None
    if values.shape[1] < FEWEST or len(values) != len(lines):
        return None
    return TextRows(file, values, np.arange(1, len(lines) + 1))


def _read_slowly(file: Path, lines: list[str], problems: Problems) -> TextRows:
    """Return the good rows among bad ones, each of which is an error, and blank lines."""
    good: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip(BLANK):
            continue
        cells = line.rstrip(BLANK).split("," if "," in line else None)
        try:
            row = [_number(cell) for cell in cells]
            if len(row) < FEWEST:
                raise ValueError(f"found {len(row)} values; expected {COLUMNS}")
            if good and len(row) != len(good[0]):
                raise ValueError(f"found {len(row)} values, line {numbers[0]} has {len(good[0])}")
        except ValueError as error:
            problems.error(file, str(error), number)
        else:
            good.append(row)
            numbers.append(number)
    values = np.array(good, np.float64) if good else np.zeros((0, FEWEST))
    return TextRows(file, values, np.array(numbers, np.int64))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{brief(cell.strip())} is not a number; columns are {COLUMNS}") from None


def _whole(values: Floats) -> Bools:
    """(N,) values that are whole numbers which float64 can tell apart."""
    whole: Bools = (values == np.floor(values)) & (np.abs(values) < LARGEST_INTEGER)
    return whole


def make_table(
    rows: TextRows,
    categories: Ints,
    marks: Floats | None,
    visibility: Floats | None,
    regions: Bools | None = None,
) -> AnnotationTable:
    """Return rows as a table that is not checked yet; all columns are (N,)."""
    corner, size = rows.values[:, 2:4], rows.values[:, 4:6]
    return AnnotationTable.of(
        rows.values[:, 0],
        rows.values[:, 1],
        categories,
        np.concatenate([corner, corner + size], axis=1),
        Origin.lines(rows.file, rows.lines),
        marks=marks,
        visibility=visibility,
        regions=regions,
    )
