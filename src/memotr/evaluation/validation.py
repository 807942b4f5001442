"""Scores of a model in training, on the validation split that its configuration names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from memotr.config import Config, SplitConfig
from memotr.data.formats.dataset_format import AnnotationFiles
from memotr.data.layouts import recognise
from memotr.errors import UserError
from memotr.evaluation.benchmark import load_benchmark
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import track_sequences
from memotr.metrics.trackeval import load_metrics
from memotr.models.memotr import MeMOTR
from memotr.tracking.tracker import Tracker

SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")


def make_validation(
    config: Config, folder: Path, files: AnnotationFiles | None = None
) -> Callable[[MeMOTR, int], dict[str, float]] | None:
    """What scores a model after so many epochs (HOTA first), its results kept in ``folder/epoch_<n>``.

    Args:
        config: ``data.val`` says what to track; without it there is nothing to validate on.
        folder: for the results.
        files: annotation files that were read before, and those that are read now.

    Raises:
        UserError: the split or its ground truth is missing or broken, or TrackEval is not installed.
    """
    val = config.data.val
    if val is None:
        return None
    load_metrics()
    path = Path(config.data.root) / val.path
    split = val.split or _usual_split(path, val)
    benchmark = load_benchmark(path, split=split, layout=val.format, files=files)
    truth = benchmark.truth
    assert truth is not None

    def validate(model: MeMOTR, epoch: int) -> dict[str, float]:
        results = folder / f"epoch_{epoch}"
        shutil.rmtree(results, ignore_errors=True)  # of a run that went on from an earlier epoch: another model's
        training = model.training
        numbers = benchmark.class_numbers(model.config.classes)
        track_sequences(Tracker(model), benchmark.sequences, results, benchmark.results, class_numbers=numbers)
        model.train(training)
        combined = evaluate(truth, results).combined
        return {name: combined[name] for name in SHOWN}

    return validate


def _usual_split(path: Path, val: SplitConfig) -> str | None:
    """The split that is validated on where none is named: None if there is but one."""
    splits = recognise(path, val.format).splits
    if "val" in splits or len(splits) == 1:
        return "val" if "val" in splits else None
    raise UserError(f"{path}: has the splits {', '.join(splits)}; choose one as data.val.split")
