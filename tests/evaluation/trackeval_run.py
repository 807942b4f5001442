"""TrackEval's own evaluation of a folder, in its own conventions: what ours is held against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trackeval

from memotr.evaluation.scoring import ClassScores

METRICS = ("HOTA", "CLEAR", "Identity", "Count")
COMBINED = "COMBINED_SEQ"


def run_mot(gt: Path, results: Path, lengths: Mapping[str, int], benchmark: str, **settings: Any) -> dict[str, Any]:
    """Sequence (and COMBINED_SEQ) → metric → field of MotChallenge2DBox."""
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(gt),
            "TRACKERS_FOLDER": str(results.parent),
            "TRACKERS_TO_EVAL": [results.name],
            "TRACKER_SUB_FOLDER": "",
            "SEQ_INFO": dict(lengths),
            "BENCHMARK": benchmark,
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
        | settings
    )
    found = run(dataset, results.name)
    return {name: of["pedestrian"] for name, of in found.items()}


def run(dataset: Any, tracker: str) -> dict[str, Any]:
    """Sequence (and COMBINED_SEQ) → class → metric → field."""
    quiet = dict.fromkeys(
        ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"), False
    )
    evaluator = trackeval.Evaluator(quiet | {"LOG_ON_ERROR": None})
    silent = {"PRINT_CONFIG": False}
    metrics = [
        trackeval.metrics.HOTA(),
        trackeval.metrics.CLEAR(dict(silent)),
        trackeval.metrics.Identity(dict(silent)),
    ]
    results, messages = evaluator.evaluate([dataset], metrics)
    assert messages[dataset.get_name()][tracker] == "Success"
    return results[dataset.get_name()][tracker]


def assert_equal(ours: ClassScores, theirs: Mapping[str, Any], tolerance: float = 1e-12) -> None:
    """Every field of every sequence and of the combination."""
    assert set(theirs) == {*ours.fields, COMBINED}
    for name, metrics in theirs.items():
        mine = ours.combined_fields if name == COMBINED else ours.fields[name]
        for metric in METRICS:
            for field, value in metrics[metric].items():
                np.testing.assert_allclose(mine[field], value, rtol=0, atol=tolerance, err_msg=f"{name} {field}")
