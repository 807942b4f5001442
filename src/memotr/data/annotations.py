"""Table of the annotations or tracking results of one sequence, independent of the file format."""

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
MAX_COORDINATE = 1e9  # pixels; larger absolute values are no positions, and their squares could overflow
MAX_INTEGER = 2**53  # float64 represents every integer only up to here
MAX_FRACTION = 2.5  # coordinates as fractions of the image are at most 1, and sums of two at most 2
MIN_BOXES = 10  # fewer boxes do not suffice to check the meaning of their columns


def corner_likeness(boxes: NDArray[Any]) -> float:
    """Return the share of boxes (N, 4) xyxy with width > x1 and height > y1; 0 for fewer than ``MIN_BOXES``.

    A share of 1 indicates a file of corners x1, y1, x2, y2 that was read as left, top, width, height. It is below 0.3
    in every sequence of MOT17, MOT20 and DanceTrack.
    """
    x1, y1, x2, y2 = boxes.T
    return float(((x2 - x1 > x1) & (y2 - y1 > y1)).mean()) if len(boxes) >= MIN_BOXES else 0.0


def seem_fractions(boxes: NDArray[Any]) -> bool:
    """Return whether boxes (N, 4) xyxy are probably fractions of the image rather than pixels: all within ±2.5."""
    return len(boxes) >= MIN_BOXES and bool((np.abs(boxes) <= MAX_FRACTION).all())


def seem_box_numbers(ids: Ints) -> bool:
    """Return whether the ids (N,) of a sequence probably number boxes, not tracks: over 90 % occur only once."""
    _, counts = np.unique(ids, return_counts=True)
    return len(ids) >= MIN_BOXES and bool(np.count_nonzero(counts == 1) > 0.9 * len(ids))


@dataclass(frozen=True, eq=False)
class Origin:
    """Source file and place of each row of a table.

    Attributes:
        files: source files.
        file: (N,) index of each row's file in ``files``.
        positions: (N, P) place in the file: a line number from 1 (P = 1), or indices into the lists of a JSON file.
        place_format: format string for positions in messages, such as ``annotations[{}]``; empty for line numbers.
        ids: original text of the ids 0, 1, …; empty if the ids in the file are numbers.
        rules: name of the :class:`memotr.data.protocols.BenchmarkRules` that the columns of the file imply; None for
            the columns of MOTChallenge.
    """

    files: tuple[Path, ...]
    file: Ints
    positions: Ints
    place_format: str = ""
    ids: tuple[str, ...] = ()
    rules: str | None = None

    @classmethod
    def from_lines(cls, file: Path, lines: Ints, rules: str | None = None) -> Origin:
        """Return the origin of rows from one file, given their line numbers (N,), counted from 1."""
        return cls((file,), np.zeros(len(lines), np.int64), lines[:, None], rules=rules)

    def locate(self, row: int) -> tuple[Path, Place]:
        """Return the file of a row and its place in that file."""
        position = self.positions[row].tolist()
        return self.files[self.file[row]], self.place_format.format(*position) if self.place_format else position[0]


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """Table of N boxes of a sequence, as written in the file and in its order; no benchmark rules are applied.

    Attributes:
        frames: (N,) frame numbers as the file counts them.
        ids: (N,) ids of objects, or of tracks in results.
        categories: (N,) category numbers; ``NO_CATEGORY`` where a row has none.
        boxes: (N, 4) xyxy in pixels.
        marks: (N,) mark of ground truth (0: the row does not count), or score of results; NaN where the file has none.
        visibility: (N,) visible share of the object in [0, 1]; NaN where the file has none.
        regions: (N,) mask of the rows that are crowds or ignore regions rather than objects.
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
    def from_columns(
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
        """Return a table made from array-likes; omitted optional columns are filled with NaN or False."""
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
        """Return the rows selected by a mask (N,) or by indices."""
        origin = replace(self.origin, file=self.origin.file[rows], positions=self.origin.positions[rows])
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "origin"}
        return type(self)(**columns, origin=origin)

    @property
    def marked(self) -> Bools:
        """Mask (N,) of the rows that count: they have no mark or, as in TrackEval, one whose integer part is not 0."""
        marked: Bools = np.trunc(self.marks) != 0
        return marked

    def report(self, wrong: Bools, message: str, problems: Problems, *, note: bool = False) -> None:
        """Report each row selected by the mask ``wrong`` (N,), with its place.

        Args:
            wrong: mask of the rows to report.
            message: text with optional fields ``{frame}``, ``{id}`` and ``{category}``.
            problems: collects one error or note per row.
            note: report notes instead of errors.
        """
        add = problems.note if note else problems.error
        for k in np.flatnonzero(wrong).tolist():
            file, place = self.origin.locate(k)
            number = self.ids[k]
            track = brief(self.origin.ids[number]) if self.origin.ids else number
            row = {"frame": self.frames[k], "id": track, "category": self.categories[k]}
            add(file, message.format(**row), place)

    def checked(self, problems: Problems, *, results: bool = False) -> Self:
        """Return the usable rows and report the others as errors.

        Errors are coordinates that are not finite or beyond ±1e9, negative ids (allowed in ignored rows), and ids
        that are repeated within a frame. Regions need no ids.

        Args:
            problems: collects the errors.
            results: the table holds tracking results, whose marks are scores.
        """
        in_range = np.abs(self.boxes).max(axis=1, initial=0) < MAX_COORDINATE  # False for NaN
        objects = ~self.regions
        valid_id = ~objects | (self.ids >= 0) | (~self.marked & (not results))
        self.report(~in_range, "a coordinate is NaN, infinite or beyond ±1e9; boxes must be in pixels", problems)
        self.report(
            ~valid_id, "id {id} is negative: is this a file of detections? Ids of tracks must be 0 or greater", problems
        )
        repeated = np.zeros(len(self), np.bool_)
        rows = np.flatnonzero(objects & (self.ids >= 0))
        order = rows[np.lexsort((self.ids[rows], self.frames[rows]))]  # stable: keeps the first of equal rows
        same = (np.diff(self.frames[order]) == 0) & (np.diff(self.ids[order]) == 0)
        repeated[order[1:][same]] = True
        self.report(repeated, "id {id} is repeated in frame {frame}", problems)
        usable = in_range & valid_id & ~repeated
        return self if usable.all() else self[usable]
