"""Scores of a model in training, on the validation split that its configuration names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from memotr.config import Config
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.metrics import load_metrics
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import remove_unfinished, track_sequences
from memotr.models.memotr import MeMOTR
from memotr.tracking.tracker import Tracker

SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")


def make_validation(config: Config, folder: Path) -> Callable[[MeMOTR, int], dict[str, float]] | None:
    """What scores a model after so many epochs (HOTA first), its results kept in ``folder/epoch_<n>``.

    Args:
        config: ``data.val`` says what to track; without it there is nothing to validate on.
        folder: for the results.

    Raises:
        UserError: the split or its ground truth is missing or broken, or TrackEval is not installed.
    """
    val = config.data.val
    if val is None:
        return None
    load_metrics()
    benchmark = load_benchmark(Path(config.data.root) / val.path, split=val.split)
    truth = benchmark.truth
    assert truth is not None

    def validate(model: MeMOTR, epoch: int) -> dict[str, float]:
        results = folder / f"epoch_{epoch}"
        shutil.rmtree(results, ignore_errors=True)  # of a run that went on from an earlier epoch: another model's
        training = model.training
        numbers = benchmark.class_numbers(model.config.classes)
        track_sequences(Tracker(model), benchmark.sequences, results, as_bdd=benchmark.as_bdd, class_numbers=numbers)
        remove_unfinished(results)
        model.train(training)
        combined = evaluate(truth, results).combined
        return {name: combined[name] for name in SHOWN}

    return validate
