"""Table of the annotations or tracking results of one sequence, the same for every file format."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from memotr.data.problems import Place, Problems
from memotr.documents import brief

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_CATEGORY = -1
FAR = 1e9  # pixels; nothing beyond is a position, and squares of it overflow
LARGEST_INTEGER = 2**53  # from here on float64 does not represent every integer
FRACTION = 2.5  # pixels; fractions of the image are at most 1, and sums of two at most 2
FEWEST_BOXES = 10  # from which the meaning of their columns is judged


def like_corners(boxes: NDArray[Any]) -> float:
    """Return the share of boxes (N, 4) xyxy whose width is above x1 and whose height is above y1.

    It is 1 where corners x1, y1, x2, y2 were read as left, top, width, height, and below 0.3 in every sequence of
    MOT17, MOT20 and DanceTrack.
    """
    x1, y1, x2, y2 = boxes.T
    return float(((x2 - x1 > x1) & (y2 - y1 > y1)).mean()) if len(boxes) >= FEWEST_BOXES else 0.0


def like_fractions(boxes: NDArray[Any]) -> bool:
    """Return whether boxes (N, 4) xyxy are so small that they seem to be fractions of the image rather than pixels."""
    return len(boxes) >= FEWEST_BOXES and bool((np.abs(boxes) <= FRACTION).all())


def like_box_numbers(ids: Ints) -> bool:
    """Return whether the ids (N,) of the boxes of a sequence are nearly all different: they seem to number boxes."""
    _, counts = np.unique(ids, return_counts=True)
    return len(ids) >= FEWEST_BOXES and bool(np.count_nonzero(counts == 1) > 0.9 * len(ids))


@dataclass(frozen=True, eq=False)
class Origin:
    """Files and places that the rows of a table were read from.

    Attributes:
        files: source files.
        file: (N,) index of each row's file in ``files``.
        positions: (N, P) place in the file: a line number from 1 (P = 1), or indices into lists of a JSON file.
        wording: format of positions in messages, such as ``annotations[{}]``; empty for lines.
        ids: text that the ids 0, 1, … stand for; empty where the file's ids are numbers.
        rules: name of the :class:`memotr.data.protocols.BenchmarkRules` of the benchmark whose columns the file has,
            where they differ from MOTChallenge's.
    """

    files: tuple[Path, ...]
    file: Ints
    positions: Ints
    wording: str = ""
    ids: tuple[str, ...] = ()
    rules: str | None = None

    @classmethod
    def lines(cls, file: Path, lines: Ints, rules: str | None = None) -> Origin:
        """Return the origin of rows that are lines (N,), counted from 1, of one file."""
        return cls((file,), np.zeros(len(lines), np.int64), lines[:, None], rules=rules)

    def of(self, row: int) -> tuple[Path, Place]:
        """Return the file of a row and its place in that file."""
        position = self.positions[row].tolist()
        return self.files[self.file[row]], self.wording.format(*position) if self.wording else position[0]


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """N boxes of a sequence as written in the file, in its order, before any benchmark rules apply.

    Attributes:
        frames: (N,) frame numbers as the file counts them.
        ids: (N,) ids of objects, or of tracks in results.
        categories: (N,) category numbers; ``NO_CATEGORY`` where a row has none.
        boxes: (N, 4) xyxy in pixels.
        marks: (N,) mark of ground truth, or score of results; NaN where the file has none.
        visibility: (N,) visible share of the object in [0, 1]; NaN where the file has none.
        regions: (N,) rows that are crowds or ignore regions rather than objects.
        origin: file and place of each row, for messages.
    """

    frames: Ints
    ids: Ints
    categories: Ints
    boxes: Floats
    marks: Floats
    visibility: Floats
    regions: Bools
    origin: Origin

    def __post_init__(self) -> None:
        n = len(self.frames)
        for name in ("ids", "categories", "marks", "visibility", "regions"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"AnnotationTable: {n} frames, {name} of shape {getattr(self, name).shape}")
        if self.boxes.shape != (n, 4) or len(self.origin.positions) != n:
            raise ValueError(f"AnnotationTable: {n} frames, boxes {self.boxes.shape}")

    @classmethod
    def of(
        cls,
        frames: Any,
        ids: Any,
        categories: Any,
        boxes: Any,
        origin: Origin,
        *,
        marks: Floats | None = None,
        visibility: Floats | None = None,
        regions: Any = None,
    ) -> Self:
        """Return a table of array-likes; optional columns that are left out are NaN or False."""
        frames = np.asarray(frames, np.int64)
        missing = np.broadcast_to(np.nan, frames.shape)
        return cls(
            frames,
            np.asarray(ids, np.int64),
            np.asarray(categories, np.int64),
            np.asarray(boxes, np.float64).reshape(-1, 4),
            missing if marks is None else marks,
            missing if visibility is None else visibility,
            np.broadcast_to(np.False_, frames.shape) if regions is None else np.asarray(regions, np.bool_),
            origin,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: NDArray[Any]) -> Self:
        """Return the rows of a mask (N,) or of indices."""
        origin = replace(self.origin, file=self.origin.file[rows], positions=self.origin.positions[rows])
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "origin"}
        return type(self)(**columns, origin=origin)

    @property
    def marked(self) -> Bools:
        """Mask (N,) of the rows that count: no mark, or one whose integer part is not 0, as in TrackEval."""
        marked: Bools = np.trunc(self.marks) != 0
        return marked

    def report(self, wrong: Bools, message: str, problems: Problems, *, note: bool = False) -> None:
        """Report each of the rows that are ``wrong`` (N,) with its place.

        Args:
            wrong: mask of the rows.
            message: text with optional fields ``{frame}``, ``{id}`` and ``{category}``.
            problems: collects one error or note per row.
            note: report notes instead of errors.
        """
        add = problems.note if note else problems.error
        for k in np.flatnonzero(wrong).tolist():
            file, place = self.origin.of(k)
            number = self.ids[k]
            track = brief(self.origin.ids[number]) if self.origin.ids else number
            row = {"frame": self.frames[k], "id": track, "category": self.categories[k]}
            add(file, message.format(**row), place)

    def checked(self, problems: Problems, *, results: bool = False) -> Self:
        """Return the usable rows and report the others as errors.

        Errors are boxes that are not finite or beyond any image, negative ids (allowed in ignored rows), and ids that
        are repeated within a frame. Regions need no ids.

        Args:
            problems: collects the errors.
            results: the table holds tracking results, whose marks are scores.
        """
        near = np.abs(self.boxes).max(axis=1, initial=0) < FAR  # False for NaN
        objects = ~self.regions
        known = ~objects | (self.ids >= 0) | (~self.marked & (not results))
        self.report(~near, "a coordinate is NaN, infinite or beyond any image; boxes are in pixels", problems)
        self.report(
            ~known, "id {id}: is this a file of detections? Ids of objects and tracks are 0 or greater", problems
        )
        again = np.zeros(len(self), np.bool_)
        rows = np.flatnonzero(objects & (self.ids >= 0))
        order = rows[np.lexsort((self.ids[rows], self.frames[rows]))]  # stable: keeps the first of equal rows
        same = (np.diff(self.frames[order]) == 0) & (np.diff(self.ids[order]) == 0)
        again[order[1:][same]] = True
        self.report(again, "id {id} is in frame {frame} already", problems)
        good = near & known & ~again
        return self if good.all() else self[good]
