"""Output of a comparison as tables, files and a plot."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from memotr.evaluation.compare import Comparison, Difference, metric_names, unit
from memotr.evaluation.run_folder import write_json
from memotr.files import replacing_all
from memotr.terminal import plot_text

JSON, CSV, PLOT = "compare.json", "compare.csv", "compare.png"
MAX_DRAWN = 60  # number of sequences in the plot
PLOTTED = ("TETA", "HOTA", "DetA", "AssA", "MOTA", "IDF1")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # distinguishable with colour blindness


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return a table of all metrics and their differences, and a table of the main metric by sequence."""
    return [_metric_table(comparison), _sequence_table(comparison)]


def write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    """Write ``compare.json``, ``compare.csv`` (every metric of every sequence and run) and ``compare.png``.

    Returns:
        Paths of the files.

    Raises:
        UserError: the folder cannot be written to.
    """
    names = JSON, CSV, PLOT
    with replacing_all(folder, *names) as (content, table, plot):
        write_json(content, _content(comparison))
        _write_csv(table, comparison)
        _plot(plot, comparison)
    return [folder / name for name in names]


def _write_csv(path: Path, comparison: Comparison) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["metric", "sequence", *comparison.runs])
        for metric in metric_names(comparison):
            writer.writerow([metric, "combined", *comparison.values[metric].tolist()])
            columns = comparison.by_sequence[metric].T.tolist()  # S lists of R
            writer.writerows([metric, name, *row] for name, row in zip(comparison.sequences, columns, strict=True))


def _content(comparison: Comparison) -> dict[str, Any]:
    def as_json(difference: Difference) -> dict[str, Any]:
        interval = None if np.isnan(difference.low) else [difference.low, difference.high]
        return {"value": difference.value, "interval": interval, "beyond_noise": difference.beyond_noise}

    return {
        "runs": list(comparison.runs),
        "sequences": list(comparison.sequences),
        "metrics": {
            metric: {
                "values": comparison.values[metric].tolist(),
                "differences": [as_json(difference) for difference in comparison.differences[metric]],
            }
            for metric in metric_names(comparison)
        },
        "sentences": comparison.sentences(),
    }


def _metric_table(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("metric", no_wrap=True)
    for name in comparison.runs:
        table.add_column(Text(name), justify="right")
    for name in comparison.runs[1:]:
        table.add_column(_difference_heading(comparison, name), justify="right")
        table.add_column("95 % interval", no_wrap=True)
    for metric in metric_names(comparison):
        cells: list[Text | str] = [_shown(metric, value) for value in comparison.values[metric].tolist()]
        for difference in comparison.differences[metric]:
            style = "bold" if difference.beyond_noise else ""
            cells += [Text(_signed(metric, difference.value), style), Text(_interval(metric, difference), style)]
        table.add_row(metric.removeprefix("CLR_"), *cells)
    return table


def _sequence_table(comparison: Comparison) -> Table:
    values = 100 * comparison.by_sequence[comparison.main]  # (R, S)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        title=comparison.main,
        title_justify="left",
    )
    table.add_column("sequence", no_wrap=True)
    for name in comparison.runs:
        table.add_column(Text(name), justify="right")
    for name in comparison.runs[1:]:
        table.add_column(_difference_heading(comparison, name), justify="right")
    for s in _by_change(comparison):
        cells = [f"{value:.1f}" for value in values[:, s]] + [f"{value:+.1f}" for value in values[1:, s] - values[0, s]]
        table.add_row(Text(comparison.sequences[s]), *cells)
    return table


def _difference_heading(comparison: Comparison, run: str) -> Text:
    return Text("difference" if len(comparison.runs) == 2 else f"{run}\n− {comparison.runs[0]}")


def _by_change(comparison: Comparison) -> list[int]:
    """Return sequence indices sorted by the gain of the last run over the first in the main metric, descending."""
    values = comparison.by_sequence[comparison.main]  # (R, S)
    order: list[int] = np.argsort(values[0] - values[-1], kind="stable").tolist()
    return order


def _shown(metric: str, value: float) -> str:
    return f"{value:,.0f}" if unit(metric) == "count" else f"{100 * value:.1f}"


def _signed(metric: str, value: float) -> str:
    return f"{value:+,.0f}" if unit(metric) == "count" else f"{100 * value:+.2f}"


def _interval(metric: str, difference: Difference) -> str:
    if np.isnan(difference.low):
        return "–"
    return f"{_signed(metric, difference.low)} to {_signed(metric, difference.high)}"


def _plot(path: Path, comparison: Comparison) -> None:
    shown = _most_changed(comparison)
    figure = Figure(figsize=(11, max(6.5, 1.5 + 0.16 * len(shown) * len(comparison.runs))), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    values, differences = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    sequences = figure.add_subplot(grid[:, 1])
    metrics = [name for name in PLOTTED if name in comparison.values]
    _plot_values(values, comparison, metrics)
    _plot_differences(differences, comparison, metrics)
    _plot_sequences(sequences, comparison, shown)
    for axes in (values, differences, sequences):
        axes.set_axisbelow(True)
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*values.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, format="png", dpi=130)


def _most_changed(comparison: Comparison) -> list[int]:
    """Return the sequence indices to plot, in the order of the table; of more than 60, the first and last 30."""
    order, half = _by_change(comparison), MAX_DRAWN // 2
    return order if len(order) <= MAX_DRAWN else order[:half] + order[-half:]


def _plot_values(axes: Axes, comparison: Comparison, metrics: list[str]) -> None:
    """Draw bars of the values over all sequences, one group per metric."""
    width = 0.84 / len(comparison.runs)
    for k, name in enumerate(comparison.runs):
        heights = [100 * comparison.values[metric][k] for metric in metrics]
        places = np.arange(len(metrics)) + (k + 0.5) * width - 0.42
        bars = axes.bar(places, heights, width * 0.92, color=_colour(k), label=plot_text(name))
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2, rotation=90 if len(comparison.runs) > 2 else 0)
    axes.set_xticks(range(len(metrics)), metrics)
    axes.margins(y=0.12)
    axes.set(ylabel="%", title="all sequences combined")


def _plot_differences(axes: Axes, comparison: Comparison, metrics: list[str]) -> None:
    """Draw differences with their intervals; markers are filled if zero is outside the interval."""
    step = 0.6 / (len(comparison.runs) - 1)
    for k in range(1, len(comparison.runs)):
        for row, metric in enumerate(metrics):
            difference = comparison.differences[metric][k - 1]
            y = row + (k - len(comparison.runs) / 2) * step
            axes.plot([100 * difference.low, 100 * difference.high], [y, y], color=_colour(k), linewidth=2)
            face = _colour(k) if difference.beyond_noise else "white"
            axes.plot(100 * difference.value, y, "o", color=_colour(k), markerfacecolor=face, markersize=6)
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks(range(len(metrics)), metrics)
    axes.invert_yaxis()
    axes.set(xlabel="points", title=f"difference from {plot_text(comparison.runs[0])} (95 %; hollow: within noise)")
    axes.grid(axis="x", alpha=0.3)


def _plot_sequences(axes: Axes, comparison: Comparison, shown: list[int]) -> None:
    values = 100 * comparison.by_sequence[comparison.main]  # (R, S)
    count = len(comparison.runs) - 1
    for k in range(1, count + 1):
        places = np.arange(len(shown)) + (k - (count + 1) / 2) * 0.8 / count
        axes.barh(places, (values[k] - values[0])[shown], 0.75 / count, color=_colour(k))
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [plot_text(comparison.sequences[s]) for s in shown], fontsize=8)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    some = f" ({len(shown)} of {values.shape[1]})" if len(shown) < values.shape[1] else ""
    title = f"{comparison.main} of each sequence{some}, difference from {plot_text(comparison.runs[0])}"
    axes.set(xlabel="points", title=title)
    axes.grid(axis="x", alpha=0.3)


def _colour(run: int) -> str:
    return COLOURS[run % len(COLOURS)]
