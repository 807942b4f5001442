"""MOTChallenge text of ground truth and results, one box per line.

``frame, id, left, top, width, height[, mark or score[, class[, visibility]]]``, frames from 1 (or 0), boxes in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memotr.data.annotations import MAX_INTEGER, NO_CATEGORY, AnnotationTable, Bools, Floats, Ints, Origin
from memotr.data.formats.dataset_format import ResultFormat
from memotr.data.problems import Problems
from memotr.documents import DocumentError, brief, read_text
from memotr.io.mot import MotSink

COLUMNS = "frame, id, left, top, width, height[, mark, class, visibility]"
MIN_COLUMNS = 6
MARK, CLASS, VISIBILITY = 6, 7, 8
WITH_CLASS = (8, 9)  # numbers of columns with which column 8 is the class; with more, a world coordinate (MOT15)
VISDRONE_COLUMNS = 10  # the last three are category, truncation (0, 1) and occlusion (0, 1, 2)
VISDRONE_CATEGORIES = range(12)
IGNORED_REGION, OTHERS = 0, 11  # categories of VisDrone that are ignore regions
NO_CLASS = "class {value} (column 8) is not a whole number"
BLANK = ", \t\r"  # a line of only these characters has no values
MOT_RESULTS = ResultFormat(".txt", lambda file, _, class_numbers: MotSink(file, class_numbers))


@dataclass(frozen=True, eq=False)
class TextRows:
    """Numeric rows of a text file.

    Attributes:
        file: the file.
        values: (N, 6 or more) float64.
        lines: (N,) line numbers, from 1.
    """

    file: Path
    values: Floats
    lines: Ints

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, rows: NDArray[Any]) -> TextRows:
        return TextRows(self.file, self.values[rows], self.lines[rows])

    def column(self, index: int) -> Floats | None:
        """Return a column (N,), or None if the file does not have it."""
        return self.values[:, index] if self.values.shape[1] > index else None

    def without(self, wrong: Bools, column: int, message: str, problems: Problems) -> TextRows:
        """Return the rows that are not in the mask ``wrong`` (N,), and report the others as errors.

        In ``message``, ``{value}`` is replaced by the value in ``column``.
        """
        for k in np.flatnonzero(wrong).tolist():
            problems.error(self.file, message.format(value=f"{self.values[k, column]:.15g}"), int(self.lines[k]))
        return self[~wrong] if wrong.any() else self


def read_truth(file: Path, problems: Problems) -> AnnotationTable:
    """Read ground truth.

    Column 8 is the class in files with 8 or 9 columns (-1: none), and column 9 the visibility. With 10 or more
    columns, column 8 is a world coordinate (MOT15), with two exceptions: the file has the columns of VisDrone; or
    column 8 is a positive whole number in every row that counts, and nearly constant for each id.

    Args:
        file: UTF-8 text with columns separated by commas or blanks.
        problems: collects malformed lines and unusable rows.
    """
    rows = read_values(file, problems)
    if (marks := rows.column(MARK)) is not None:
        rows = rows.without(~np.isfinite(marks), MARK, "mark {value} (column 7) is not a number", problems)
        _note_uncounted(rows, problems)
    if _is_visdrone(rows):
        return visdrone_table(rows, problems)
    categories, visibility = np.full(len(rows), NO_CATEGORY), None
    columns = rows.values.shape[1]
    named = _has_extra_classes(rows)
    if named:
        problems.note(file, f"column 8 of {columns} has positive whole numbers: used as classes, not as coordinates")
    if named or columns in WITH_CLASS:
        rows = rows.without(~_whole(rows.values[:, CLASS]), CLASS, NO_CLASS, problems)
        categories = rows.values[:, CLASS].astype(np.int64)
        visibility = None if named else rows.column(VISIBILITY)
    return make_table(rows, categories, rows.column(MARK), visibility).checked(problems)


def visdrone_table(rows: TextRows, problems: Problems) -> AnnotationTable:
    """Return the table of VisDrone annotations; its ignored regions and ``others`` become ignore regions."""
    marks, classes = rows.column(MARK), rows.column(CLASS)
    categories = np.zeros(len(rows), np.int64) if classes is None else classes.astype(np.int64)
    regions = np.isin(categories, (IGNORED_REGION, OTHERS))
    return make_table(rows, categories, marks, None, regions, "visdrone").checked(problems)


def _is_visdrone(rows: TextRows) -> bool:
    if not len(rows) or rows.values.shape[1] != VISDRONE_COLUMNS:
        return False
    mark, category, truncation, occlusion = rows.values[:, MARK:].T
    known = np.isin(category, VISDRONE_CATEGORIES).all() and np.isin(mark, (0, 1)).all()
    return bool(known and category.any() and np.isin(truncation, (0, 1)).all() and np.isin(occlusion, (0, 1, 2)).all())


def _has_extra_classes(rows: TextRows) -> bool:
    """Return whether column 8 of 10 or more has classes: they are nearly constant for each id, unlike coordinates."""
    if rows.values.shape[1] <= max(WITH_CLASS):
        return False
    counted = rows.values[np.trunc(rows.values[:, MARK]) != 0]
    positive = _whole(counted[:, CLASS]) & (counted[:, CLASS] > 0)
    objects, pairs = (len(np.unique(counted[:, columns], axis=0)) for columns in ([1], [1, CLASS]))
    return bool(positive.all() and pairs < 2 * objects)  # False without any row


def _note_uncounted(rows: TextRows, problems: Problems) -> None:
    """Report how many rows do not count, unless these are some of the rows, and all marked with exactly 0."""
    marks = rows.values[:, MARK]
    uncounted = np.trunc(marks) == 0
    if (uncounted & (marks != 0)).any() or (len(rows) and uncounted.all()):
        count = f"{np.count_nonzero(uncounted):,} of {len(rows):,} rows do not count"
        hint = "; is it a score, in a file of detections or results?" if (marks % 1 != 0).mean() > 0.8 else ""
        problems.note(rows.file, f"{count}: the integer part of their mark (column 7) is 0{hint}")


def read_results(file: Path, problems: Problems, *, numbered: bool = False) -> AnnotationTable:
    """Read tracking results: column 7 is the score, and column 8, if present, the class.

    Args:
        file: UTF-8 text with columns separated by commas or blanks.
        problems: collects malformed lines and unusable rows.
        numbered: report classes that are not whole numbers as errors.
    """
    rows = read_values(file, problems)
    if numbered and (classes := rows.column(CLASS)) is not None:
        broken = ~_whole(classes) & ~np.isnan(classes)
        rows = rows.without(broken, CLASS, NO_CLASS, problems)
    return results_table(rows, problems)


def results_table(rows: TextRows, problems: Problems) -> AnnotationTable:
    """Return the table of tracking results; see :func:`read_results`."""
    categories = np.full(len(rows), NO_CATEGORY)
    if (classes := rows.column(CLASS)) is not None:
        known = ~np.isnan(classes)
        categories[known] = np.clip(classes[known], -MAX_INTEGER, MAX_INTEGER).astype(np.int64)
    return make_table(rows, categories, rows.column(MARK), None).checked(problems, results=True)


def read_values(file: Path, problems: Problems) -> TextRows:
    """Read the rows of a file; report rows whose frame or id is not a whole number.

    Args:
        file: UTF-8 text with columns separated by commas or blanks; blank lines and trailing commas are skipped.
        problems: collects lines that have too few columns, another number of columns than the first line, or a value
            that is not a number; and a note if the file is empty.
    """
    try:
        lines = read_text(file).removesuffix("\n").split("\n")
    except DocumentError as error:
        problems.unreadable(file, error)
        lines = []
    else:
        if not any(map(str.strip, lines)):
            problems.note(file, "no rows: no frame has an object")
    rows = _read_quickly(file, lines) or _read_slowly(file, lines, problems)
    for column, name in enumerate(("frame", "id")):
        message = f"{name} {{value}} is not a whole number"
        rows = rows.without(~_whole(rows.values[:, column]), column, message, problems)
    return rows


def _read_quickly(file: Path, lines: list[str]) -> TextRows | None:
    """Return the rows of a file without blank or malformed lines; None for other files (see :func:`_read_slowly`)."""
    if not lines or not lines[0].strip(BLANK):
        return None
    try:
        values = np.loadtxt(lines, delimiter="," if "," in lines[0] else None, comments=None, ndmin=2)
    except ValueError:
        return None
    if values.shape[1] < MIN_COLUMNS or len(values) != len(lines):
        return None
    return TextRows(file, values, np.arange(1, len(lines) + 1))


def _read_slowly(file: Path, lines: list[str], problems: Problems) -> TextRows:
    """Return the valid rows; report malformed lines as errors and skip blank ones."""
    good: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip(BLANK):
            continue
        cells = line.rstrip(BLANK).split("," if "," in line else None)
        try:
            row = [_number(cell) for cell in cells]
            if len(row) < MIN_COLUMNS:
                raise ValueError(f"found {len(row)} values; expected {COLUMNS}")
            if good and len(row) != len(good[0]):
                raise ValueError(f"found {len(row)} values, but line {numbers[0]} has {len(good[0])}")
        except ValueError as error:
            problems.error(file, str(error), number)
        else:
            good.append(row)
            numbers.append(number)
    values = np.array(good, np.float64) if good else np.zeros((0, MIN_COLUMNS))
    return TextRows(file, values, np.array(numbers, np.int64))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{brief(cell.strip())} is not a number; columns are {COLUMNS}") from None


def _whole(values: Floats) -> Bools:
    """Return a mask (N,) of the values that are integers and exactly representable in float64."""
    whole: Bools = (values == np.floor(values)) & (np.abs(values) < MAX_INTEGER)
    return whole


def make_table(
    rows: TextRows,
    categories: Ints,
    marks: Floats | None,
    visibility: Floats | None,
    regions: Bools | None = None,
    rules: str | None = None,
) -> AnnotationTable:
    """Return the unchecked table of rows and of further columns (N,); ``rules`` as in :class:`Origin`."""
    corner, size = rows.values[:, 2:4], rows.values[:, 4:6]
    return AnnotationTable.from_columns(
        rows.values[:, 0],
        rows.values[:, 1],
        categories,
        np.concatenate([corner, corner + size], axis=1),
        Origin.from_lines(rows.file, rows.lines, rules),
        marks=marks,
        visibility=visibility,
        regions=regions,
    )
