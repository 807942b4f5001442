"""Validation of a model during training."""

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
from memotr.models.memotr import MeMOTR
from memotr.terminal import log
from memotr.tracking.gate import explain_no_tracks
from memotr.tracking.tracker import Tracker

SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")


def make_validation(
    config: Config, folder: Path, files: AnnotationFiles | None = None
) -> Callable[[MeMOTR, int], dict[str, float]] | None:
    """Return a function that scores a model after an epoch (HOTA first), with results in ``folder/epoch_<n>``.

    Args:
        config: training configuration; if ``data.val`` is None, there is no validation, and None is returned.
        folder: folder for the results.
        files: cache of annotation files.

    Raises:
        UserError: the split or its ground truth is missing or invalid.
    """
    val = config.data.val
    if val is None:
        return None
    path = Path(config.data.root) / val.path
    split = val.split or _usual_split(path, val)
    benchmark = load_benchmark(path, split=split, layout=val.format, files=files)
    truth = benchmark.truth
    assert truth is not None

    def validate(model: MeMOTR, epoch: int) -> dict[str, float]:
        results = folder / f"epoch_{epoch}"
        shutil.rmtree(results, ignore_errors=True)  # of another model, if training was resumed from an earlier epoch
        training = model.training
        numbers = benchmark.class_numbers(model.config.classes)
        track_sequences(Tracker(model), benchmark.sequences, results, benchmark.results, class_numbers=numbers)
        model.train(training)
        scores = evaluate(truth, results, if_empty=explain_no_tracks(model.config.classes, model.config.tracking))
        log(*(f"validation after epoch {epoch}: {line}" for line in scores.notes))
        return {name: scores.combined[name] for name in SHOWN}

    return validate


def _usual_split(path: Path, val: SplitConfig) -> str | None:
    """Return ``val`` if it exists, or None if there is only one split. Raises UserError if neither is the case."""
    splits = recognise(path, val.format).splits
    if "val" in splits or len(splits) == 1:
        return "val" if "val" in splits else None
    raise UserError(f"{path}: has the splits {', '.join(splits)}; choose one as data.val.split")
