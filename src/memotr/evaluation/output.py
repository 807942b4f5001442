"""All files of a scored run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memotr.evaluation.plots import plot_thresholds
from memotr.evaluation.run_folder import COUNTS, METRICS, write_run
from memotr.evaluation.scoring import Scores
from memotr.evaluation.tables import write_csv
from memotr.files import replacing_all

PLOT, TABLE = "thresholds.png", "metrics.csv"


def write_scores(folder: Path, scores: Scores, *, title: str, source: Mapping[str, object] | None = None) -> list[Path]:
    """Write ``metrics.json``, ``counts.json``, ``metrics.csv`` and ``thresholds.png``: all, or after an error none.

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
    names = TABLE, PLOT, COUNTS, METRICS  # the last one says that a run is scored
    with replacing_all(folder, *names) as (table, plot, counts, metrics):
        write_csv(table, scores)
        plot_thresholds(plot, scores, title)
        write_run(metrics, counts, scores, source or {})
    return [folder / name for name in (METRICS, COUNTS, TABLE, PLOT)]
