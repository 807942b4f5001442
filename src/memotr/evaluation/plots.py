"""The picture of a run: HOTA and its two halves over the localisation thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from memotr.evaluation.scoring import Scores
from memotr.metrics.hota import ALPHAS
from memotr.terminal import plot_text

COLOURS = {"HOTA": "#111111", "DetA": "#0072b2", "AssA": "#d55e00"}  # told apart by colour-blind readers, too
SEQUENCES = "#bbbbbb"


def plot_thresholds(path: Path, scores: Scores, title: str) -> None:
    """PNG of HOTA, DetA and AssA against α; the HOTA of single sequences thin behind them."""
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
