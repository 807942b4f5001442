"""What a data set holds, in tables."""

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
from memotr.data.sequences import Sequence

WIDTH_OF_FILES = 160  # columns, where no terminal has a width
SMALL = 32**2  # pixels: below it COCO counts an object as small


@dataclass(frozen=True, eq=False)
class Report:
    """What a data set holds.

    Attributes:
        layout: what it was recognised as.
        splits: the sequences of every split that could be read.
        sizes: how many of the frames have which (height, width).
        problems: all that is wrong; training would fail where there is an error among them.
    """

    layout: Layout
    splits: dict[str, list[Sequence]]
    sizes: Counter[tuple[int, int]]
    problems: Problems

    @property
    def sequences(self) -> list[Sequence]:
        return [sequence for split in self.splits.values() for sequence in split]


@dataclass(frozen=True, eq=False)
class Boxes:
    """All boxes of many sequences: N boxes in F frames.

    Attributes:
        labels: (N,) int64.
        boxes: (N, 4) float32 xyxy in pixels.
        tracks: (N,) int64; one number for each id of each sequence.
        frames: (N,) int64; one number for each frame of all sequences.
        per_frame: (F,) int64, boxes of each frame.
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    tracks: NDArray[np.int64]
    frames: NDArray[np.int64]
    per_frame: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: list[Sequence]) -> Boxes:
        truths = [truth for sequence in sequences for truth in sequence.boxes or ()]
        per_frame = np.array([len(truth) for truth in truths], np.int64)
        owner = np.repeat(np.arange(len(sequences)), [sum(map(len, s.boxes or ())) for s in sequences])
        ids = np.concatenate([np.zeros(0, np.int64), *(truth.ids for truth in truths)])
        _, tracks = np.unique(np.stack([owner, ids], axis=1), axis=0, return_inverse=True)
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(truth.labels for truth in truths)]),
            np.concatenate([np.zeros((0, 4), np.float32), *(truth.boxes for truth in truths)]),
            tracks.reshape(-1),
            np.repeat(np.arange(len(truths)), per_frame),
            per_frame,
        )


def print_report(report: Report) -> None:
    """Tables of what there is, then every problem with its place, notes first."""
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
    """A table whose first column is text, the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", header_style="dim")
    return table


def _splits_table(report: Report) -> Table:
    table = _table(
        "Splits", "split", "sequences", "frames", "shortest", "median", "longest", "empty", "boxes", "a frame", "ids"
    )
    for name, sequences in report.splits.items():
        if not sequences:
            continue
        boxes = Boxes.of(sequences)
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
            "stills" if all(sequence.still for sequence in sequences) else f"{len(np.unique(boxes.tracks)):,}",
        )
    return table


def _classes_table(report: Report) -> Table:
    """Numbers and sizes of the boxes of every class that has some, all splits together."""
    table = _table("Boxes (pixels; median, and 5 to 95 %)", "class", "boxes", "ids", "width", "height", "below 32×32")
    annotated = [sequence for sequence in report.sequences if sequence.boxes]
    if not annotated:
        return table
    boxes = Boxes.of(annotated)
    sides = boxes.boxes[:, 2:] - boxes.boxes[:, :2]  # (N, 2)
    for label, name in enumerate(annotated[0].classes):
        own = boxes.labels == label
        if not own.any():
            table.add_row(name, "0", "", "", "", "")
            continue
        width, height = sides[own].T
        small = np.mean(width * height < SMALL)
        ids = len(np.unique(boxes.tracks[own]))
        table.add_row(name, f"{own.sum():,}", f"{ids:,}", _spread(width), _spread(height), f"{small:.0%}")
    return table


def _spread(values: NDArray[np.float32]) -> str:
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{median:,.0f} ({low:,.0f}–{high:,.0f})"


def _frames_table(report: Report) -> Table:
    """Frame sizes and rates, and how the tracks run through their sequences."""
    table = _table("Frames and tracks", "", "")
    table.show_header = False
    table.columns[1].justify = "left"
    sizes = [f"{width}×{height} ({count:,})" for (height, width), count in report.sizes.most_common(4)]
    others = len(report.sizes) - len(sizes)
    if sizes:
        table.add_row("frame sizes", ", ".join(sizes) + (f", {others:,} others" if others else ""))
    rates = sorted({sequence.fps for sequence in report.sequences if sequence.fps is not None})
    if rates:
        table.add_row("frames a second", ", ".join(f"{rate:g}" for rate in rates))
    videos = [sequence for sequence in report.sequences if sequence.boxes and not sequence.still]
    boxes = Boxes.of(videos)
    if len(boxes.labels):
        seen = np.bincount(boxes.tracks)  # (tracks,) frames that an id is in
        low, median, high = np.percentile(seen, [5, 50, 95])
        table.add_row("frames an id is in", f"{median:,.0f} (5 to 95 %: {low:,.0f}–{high:,.0f})")
        table.add_row("ids that come back", f"{_returning(boxes, len(seen)):,} of {len(seen):,}")
        table.add_row("boxes partly outside", f"{_partly_outside(videos):.1%}")
    return table


def _returning(boxes: Boxes, tracks: int) -> int:
    """How many ids are away for at least a frame between their first and last."""
    first = np.full(tracks, np.iinfo(np.int64).max)
    last = np.zeros(tracks, np.int64)
    np.minimum.at(first, boxes.tracks, boxes.frames)
    np.maximum.at(last, boxes.tracks, boxes.frames)
    return int((last - first + 1 > np.bincount(boxes.tracks, minlength=tracks)).sum())


def _partly_outside(sequences: list[Sequence]) -> float:
    """Share of the boxes that reach out of their image, of the sequences whose image size is known."""
    out = total = 0
    for sequence in sequences:
        if sequence.size is not None:
            x1, y1, x2, y2 = Boxes.of([sequence]).boxes.T
            out += int(((x1 < 0) | (y1 < 0) | (x2 > sequence.size[1]) | (y2 > sequence.size[0])).sum())
            total += len(x1)
    return out / max(1, total)
