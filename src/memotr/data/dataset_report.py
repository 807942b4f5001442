"""Report on the content and the problems of a data set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from memotr.consoles import console
from memotr.data.layouts import Layout
from memotr.data.problems import Problems
from memotr.data.sequences import BoxTable, Sequence

WIDTH_OF_FILES = 160  # characters per line if the output is not a terminal
SMALL = 32**2  # square pixels; COCO calls objects below this area small


@dataclass(frozen=True, eq=False)
class Report:
    """Content and problems of a data set.

    Attributes:
        layout: recognised format and splits of the folder.
        splits: name of a split → its readable sequences.
        sizes: (height, width) → number of frames of this size.
        problems: all problems; with an error among them, training would fail.
    """

    layout: Layout
    splits: dict[str, list[Sequence]]
    sizes: Counter[tuple[int, int]]
    problems: Problems

    @property
    def sequences(self) -> list[Sequence]:
        """Sequences of all splits."""
        return [sequence for split in self.splits.values() for sequence in split]


def track_numbers(sequences: list[Sequence], table: BoxTable) -> NDArray[np.int64]:
    """Return the track number (G,) of each box, from 0; each id of each sequence has its own number."""
    owner = np.repeat(np.arange(len(sequences)), [sum(map(len, s.boxes or ())) for s in sequences])
    _, tracks = np.unique(np.stack([owner, table.ids], axis=1), axis=0, return_inverse=True)
    return tracks.reshape(-1)


def print_report(report: Report) -> None:
    """Print tables of the content, then all problems with their places, notes first."""
    target = console(width=WIDTH_OF_FILES)
    target.print(f"{report.layout.root}: {report.layout.explanation}", soft_wrap=True)
    for table in (_splits_table(report), _classes_table(report), _frames_table(report)):
        if table.row_count:
            target.print(table)
    for heading, color, found in (
        ("note", "yellow", report.problems.notes),
        ("error", "red", report.problems.errors),
    ):
        for problem in found:
            target.print(Text.assemble((heading, color), f": {problem}"), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    """Return an empty table with a text column followed by number columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", header_style="dim")
    return table


def _splits_table(report: Report) -> Table:
    table = _table(
        "Splits", "split", "sequences", "frames", "shortest", "median", "longest", "empty", "boxes", "per frame", "ids"
    )
    for name, sequences in report.splits.items():
        if not sequences:
            continue
        boxes = BoxTable.from_sequences(sequences)
        lengths = [len(sequence) for sequence in sequences]
        counted = [f"{sum(lengths):,}", f"{min(lengths):,}", f"{np.median(lengths):,.0f}", f"{max(lengths):,}"]
        if all(sequence.boxes is None for sequence in sequences):
            table.add_row(name, f"{len(sequences):,}", *counted, "no ground truth", "", "", "")
            continue
        table.add_row(
            name,
            f"{len(sequences):,}",
            *counted,
            f"{int((boxes.per_frame == 0).sum()):,}",
            f"{len(boxes.labels):,}",
            f"{boxes.per_frame.mean():.1f}, at most {boxes.per_frame.max():,}",
            "stills" if all(s.still for s in sequences) else f"{len(np.unique(track_numbers(sequences, boxes))):,}",
        )
    return table


def _classes_table(report: Report) -> Table:
    """Return a table of the number and sizes of boxes by class, over all splits."""
    table = _table("Boxes (pixels; median, and 5 to 95 %)", "class", "boxes", "ids", "width", "height", "below 32×32")
    annotated = [sequence for sequence in report.sequences if sequence.boxes]
    if not annotated:
        return table
    boxes = BoxTable.from_sequences(annotated)
    tracks = track_numbers(annotated, boxes)
    sides = boxes.boxes[:, 2:] - boxes.boxes[:, :2]  # (N, 2)
    for label, name in enumerate(annotated[0].classes):
        own = boxes.labels == label
        if not own.any():
            table.add_row(name, "0", "", "", "", "")
            continue
        width, height = sides[own].T
        small = np.mean(width * height < SMALL)
        ids = len(np.unique(tracks[own]))
        table.add_row(name, f"{own.sum():,}", f"{ids:,}", _spread(width), _spread(height), f"{small:.0%}")
    return table


def _spread(values: NDArray[np.float32]) -> str:
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{median:,.0f} ({low:,.0f}–{high:,.0f})"


def _frames_table(report: Report) -> Table:
    """Return a table of frame sizes, frame rates, and the lengths and gaps of tracks."""
    table = _table("Frames and tracks", "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    sizes = [f"{width}×{height} ({count:,})" for (height, width), count in report.sizes.most_common(4)]
    others = len(report.sizes) - len(sizes)
    if sizes:
        table.add_row("frame sizes", ", ".join(sizes) + (f", {others:,} other sizes" if others else ""))
    rates = sorted({sequence.fps for sequence in report.sequences if sequence.fps is not None})
    if rates:
        table.add_row("frames per second", ", ".join(f"{rate:g}" for rate in rates))
    videos = [sequence for sequence in report.sequences if sequence.boxes and not sequence.still]
    boxes = BoxTable.from_sequences(videos)
    if len(boxes.labels):
        tracks = track_numbers(videos, boxes)
        seen = np.bincount(tracks)  # (tracks,) number of frames with each id
        low, median, high = np.percentile(seen, [5, 50, 95])
        table.add_row("frames per id", f"{median:,.0f} (5 to 95 %: {low:,.0f}–{high:,.0f})")
        table.add_row("ids that reappear", f"{_returning(boxes, tracks):,} of {len(seen):,}")
        table.add_row("boxes partly outside", f"{_partly_outside(videos):.1%}")
    return table


def _returning(boxes: BoxTable, tracks: NDArray[np.int64]) -> int:
    """Return the number of ids that are missing in at least one frame between their first and last frame."""
    frames = np.repeat(np.arange(len(boxes.offsets) - 1), boxes.per_frame)  # (G,)
    seen = np.bincount(tracks)
    first, last = np.full(len(seen), len(boxes.offsets)), np.zeros(len(seen), np.int64)
    np.minimum.at(first, tracks, frames)
    np.maximum.at(last, tracks, frames)
    return int((last - first + 1 > seen).sum())


def _partly_outside(sequences: list[Sequence]) -> float:
    """Return the share of boxes that extend beyond their image, over sequences with a known image size."""
    outside = total = 0
    for sequence in sequences:
        if sequence.size is not None:
            x1, y1, x2, y2 = BoxTable.from_sequences([sequence]).boxes.T
            outside += int(((x1 < 0) | (y1 < 0) | (x2 > sequence.size[1]) | (y2 > sequence.size[0])).sum())
            total += len(x1)
    return outside / max(1, total)
