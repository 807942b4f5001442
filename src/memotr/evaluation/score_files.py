"""Files of a scored run: metrics, counts, table and plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from memotr.evaluation.run_folder import COUNTS, METRICS, write_run
from memotr.evaluation.scoring import Scores
from memotr.evaluation.tables import write_csv
from memotr.files import replacing_all
from memotr.metrics.hota import ALPHAS
from memotr.terminal import plot_text

PLOT, TABLE = "thresholds.png", "metrics.csv"
COLOURS = {"HOTA": "#111111", "DetA": "#0072b2", "AssA": "#d55e00"}  # distinguishable with colour blindness
SEQUENCES = "#bbbbbb"


def write_scores(folder: Path, scores: Scores, *, title: str, source: Mapping[str, object] | None = None) -> list[Path]:
    """Write ``metrics.json``, ``counts.json``, ``metrics.csv`` and ``thresholds.png``; after an error, none of them.

    Args:
        folder: folder for the files; created if it does not exist.
        scores: result of :func:`memotr.evaluation.scoring.evaluate`.
        title: title of the plot.
        source: paths and options of the scored data for ``metrics.json``, with JSON values.

    Returns:
        Paths of the files.

    Raises:
        UserError: the files cannot be written.
    """
    names = TABLE, PLOT, COUNTS, METRICS  # METRICS is written last, because it marks a scored run
    with replacing_all(folder, *names) as (table, plot, counts, metrics):
        write_csv(table, scores)
        plot_thresholds(plot, scores, title)
        write_run(metrics, counts, scores, source or {})
    return [folder / name for name in (METRICS, COUNTS, TABLE, PLOT)]


def plot_thresholds(path: Path, scores: Scores, title: str) -> None:
    """Plot HOTA, DetA and AssA against the threshold α as PNG, with thin curves of the HOTA of each sequence."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for fields in scores.mean.fields.values():
        axes.plot(ALPHAS, 100 * fields["HOTA"], color=SEQUENCES, linewidth=0.7, zorder=1)
    for name, colour in COLOURS.items():
        curve = 100 * scores.mean.combined_fields[name]  # (19,)
        axes.plot(ALPHAS, curve, color=colour, linewidth=2, label=f"{name} {np.mean(curve):.1f}")
    if len(scores.mean.fields) > 1:
        axes.plot([], [], color=SEQUENCES, linewidth=0.7, label="HOTA of a sequence")
    axes.set(xlabel="localisation threshold α (IoU)", ylabel="%", xlim=(0, 1), ylim=(0, 100))
    axes.set_title(plot_text(title))
    axes.set_xticks(np.arange(0, 1.01, 0.1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)
    figure.savefig(path, format="png", dpi=150)
