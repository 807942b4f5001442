"""Ladder of speed against accuracy: one set of weights, tracked in several ways and scored."""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memotr.bench.measure import Cell, Contender, Row, alternate
from memotr.bench.options import Ladder, Options
from memotr.bench.report import Table
from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark, load_benchmark
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import track_sequences
from memotr.files import replacing_all
from memotr.io.image_files import read_image
from memotr.models.memotr import MeMOTR
from memotr.terminal import plot_text
from memotr.tracking.tracker import Tracker
from memotr.tracks import Tracks
from memotr.vocabulary import Precision
from memotr.weights.model_files import load_model

CSV, PLOT = "ladder.csv", "ladder.png"
MILLISECONDS, FRONT = "ms a frame", "front"
SHARES = (1.0, 5 / 6, 2 / 3, 1 / 2)
"""Short sides without --short-side, in parts of the configured one."""
TIMED_FRAMES = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#111111")  # by precision, distinguishable with colour blindness
MARKERS = "osD^vP*X"  # by number of decoder layers
Way = tuple[int, Precision, int]
"""Short side, precision and number of decoder layers."""
NOTE = (
    "ms a frame: median of resizing and tracking, without decoding, divided by k. Frames that are not the k-th have "
    "the last tracks unchanged, as a live viewer would show them, and are scored as well."
)


def measure(options: Options) -> Iterator[Table]:
    """Track and score all combinations, write ``ladder.csv`` and ``ladder.png``, and yield a table.

    Raises:
        UserError: checkpoint or data set is missing or cannot be used, or a combination is not possible.
    """
    ladder = options.ladder
    if ladder is None:
        raise UserError("the ladder tracks and scores a data set: pass --checkpoint and --dataset")
    benchmark = load_benchmark(ladder.dataset, split=ladder.split, only=ladder.sequences)
    model = load_model(ladder.checkpoint, device=options.device)
    combinations = list(_combinations(ladder, model))
    trackers = _make_trackers(model, dict.fromkeys(way for way, _ in combinations))
    frames = [read_image(file) for file in benchmark.sequences[0].frames[:TIMED_FRAMES]]
    contenders = [
        Contender(str(way), partial(_track, tracker, frames), amount=len(frames)) for way, tracker in trackers.items()
    ]
    timed = alternate(contenders, options.rounds, options.device)
    seconds = {way: each.spread.middle for way, each in zip(trackers, timed, strict=True)}
    title = f"{ladder.checkpoint}: {len(benchmark.sequences)} sequences, {benchmark.num_frames} frames"
    rows: list[Row] = []
    for way, every in combinations:
        row: Row = dict(zip(("short side", "precision", "decoder layers"), way, strict=True))
        row |= {"every k-th frame": every, MILLISECONDS: 1e3 * seconds[way] / every}
        rows = mark_front([*rows, row | _score(HoldingTracker(trackers[way], every), benchmark)])
        with replacing_all(ladder.folder, CSV, PLOT) as (table, plot):  # an interrupted run keeps what it measured
            write_csv(table, rows)
            plot_front(plot, rows, title)
    yield Table(title, rows, NOTE)


def _combinations(ladder: Ladder, model: MeMOTR) -> Iterator[tuple[Way, int]]:
    """Yield every combination of a way to track a frame and k."""
    configured, decoder = model.config.input.short_side, model.transformer.decoder
    precisions: Sequence[Any] = ladder.precisions  # an unknown one is refused by the tracker
    ways = itertools.product(
        ladder.short_sides or tuple(round(share * configured) for share in SHARES),
        precisions or (("32", "tf32", "bf16") if model.device.type == "cuda" else ("32", "bf16")),
        ladder.decoder_layers or tuple(range(len(decoder.layers), decoder.merge_layer, -1)),
    )
    return itertools.product(ways, ladder.every)


def _make_trackers(model: MeMOTR, ways: Iterable[Way]) -> dict[Way, Tracker]:
    """Return a tracker for each way; those of the same precision and layers share their weights."""
    first: dict[tuple[Precision, int], Tracker] = {}
    trackers = {}
    for short_side, precision, layers in ways:
        if (precision, layers) not in first:
            first[precision, layers] = Tracker(model, precision=precision, decoder_layers=layers)
        tracker = first[precision, layers].another()
        size = model.config.input
        longest = round(size.longest_side * short_side / size.short_side)
        changed = size.model_copy(update={"short_side": short_side, "longest_side": longest})
        tracker.config = model.config.model_copy(update={"input": changed})
        trackers[short_side, precision, layers] = tracker
    return trackers


def _track(tracker: Tracker, frames: Sequence[NDArray[np.uint8]]) -> None:
    tracker.reset()
    for frame in frames:
        tracker.update(frame)


def _score(tracker: HoldingTracker, benchmark: Benchmark) -> Row:
    """Track and score all sequences."""
    with tempfile.TemporaryDirectory() as name:
        numbers = benchmark.class_numbers(tracker.tracker.config.classes)
        track_sequences(tracker, benchmark.sequences, Path(name), benchmark.results, class_numbers=numbers)
        assert benchmark.truth is not None
        scores = evaluate(benchmark.truth, Path(name)).combined
    return {"HOTA": 100 * scores["HOTA"], "AssA": 100 * scores["AssA"]}


class HoldingTracker:
    """Tracker that processes every k-th frame and repeats its tracks until the next one."""

    def __init__(self, tracker: Tracker, every: int) -> None:
        self.tracker, self.every = tracker, every
        self.reset()

    def reset(self) -> None:
        """Start a new video."""
        self.tracker.reset()
        self.number, self.held = 0, Tracks.empty(0, self.tracker.config.classes)

    def prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame, which :meth:`update` prepares if it tracks it."""
        return frame

    def update(self, frame: NDArray[np.uint8]) -> Tracks:
        """Track the frame, or return the tracks of the last one that was tracked."""
        if self.number % self.every == 0:
            self.held = self.tracker.update(frame)
        self.number += 1
        return replace(self.held, frame=self.number - 1)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, with a heading."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def mark_front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by time, with a star on the Pareto front: those that no faster row equals or exceeds in HOTA."""
    best, marked = -1.0, []
    for row in sorted(rows, key=lambda row: (_number(row[MILLISECONDS]), -_number(row["HOTA"]))):
        on_front = _number(row["HOTA"]) > best
        best = max(best, _number(row["HOTA"]))
        marked.append({**row, FRONT: "*" if on_front else ""})
    return marked


def plot_front(path: Path, rows: Sequence[Row], title: str) -> None:
    """Plot HOTA against milliseconds as PNG, with the Pareto front as a line whose points are described."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for (k, precision), (j, layers) in itertools.product(
        enumerate(dict.fromkeys(row["precision"] for row in rows)),
        enumerate(sorted({_number(row["decoder layers"]) for row in rows})),
    ):
        chosen = [row for row in rows if (row["precision"], row["decoder layers"]) == (precision, layers)]
        if not chosen:
            continue
        axes.scatter(
            [_number(row[MILLISECONDS]) for row in chosen],
            [_number(row["HOTA"]) for row in chosen],
            color=COLOURS[k % len(COLOURS)],
            marker=MARKERS[j % len(MARKERS)],
            label=f"{precision}, {layers:.0f} decoder layers",
            s=22,
        )
    front = [row for row in rows if row[FRONT]]
    points = [(_number(row[MILLISECONDS]), _number(row["HOTA"])) for row in front]
    axes.plot(*zip(*points, strict=True), color="#999999", linewidth=1, zorder=0, label="Pareto front")
    for row, point in zip(front, points, strict=True):
        text = f"{row['short side']} px, k = {row['every k-th frame']}"
        axes.annotate(text, point, xytext=(-4, 4), textcoords="offset points", fontsize=7, ha="right")
    axes.set(xlabel="ms a frame", ylabel="HOTA", xscale="log")
    axes.margins(x=0.15)
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format(lambda value, _: f"{value:g}")
    axes.set_title(plot_text(title))
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, format="png", dpi=150)


def _number(cell: Cell) -> float:
    assert isinstance(cell, int | float)
    return cell
