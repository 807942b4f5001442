"""All files of a scored run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memotr.evaluation.plots import plot_thresholds
from memotr.evaluation.run_folder import write_run
from memotr.evaluation.scoring import Scores
from memotr.evaluation.tables import write_csv

PLOT, TABLE = "thresholds.png", "metrics.csv"


def write_scores(folder: Path, scores: Scores, *, title: str, source: Mapping[str, object] | None = None) -> list[Path]:
    """Write ``metrics.json``, ``counts.json``, ``metrics.csv`` and ``thresholds.png``.

    Args:
        folder: is made where it is not there.
        scores: of :func:`memotr.evaluation.scoring.evaluate`.
        title: of the plot.
        source: what was scored and how, to be kept in ``metrics.json``; ready for JSON.

    Returns:
        The files.

    Raises:
        UserError: the folder cannot be written to.
    """
    write_csv(folder / TABLE, scores)
    plot_thresholds(folder / PLOT, scores, title)
    return [*write_run(folder, scores, source or {}), folder / TABLE, folder / PLOT]
