"""Validation of a model during training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from memotr.config import Config, SplitConfig
from memotr.data.formats.dataset_format import AnnotationFiles
from memotr.data.layouts import recognise
from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark, load_benchmark
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import track_sequences
from memotr.models.memotr import MeMOTR
from memotr.terminal import log
from memotr.tracking.gate import explain_no_tracks
from memotr.tracking.tracker import Tracker

SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")


class Validation:
    """Validation of a model on a split after an epoch.

    Args:
        benchmark: sequences with ground truth.
        folder: folder for the results, in ``epoch_<n>``.
    """

    def __init__(self, benchmark: Benchmark, folder: Path) -> None:
        self._benchmark = benchmark
        self._folder = folder

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raise UserError if the split does not have all of a model's classes."""
        try:
            self._benchmark.class_numbers(classes)
        except UserError as error:
            raise UserError(f"data.val: {error}") from None

    def __call__(self, model: MeMOTR, epoch: int) -> dict[str, float]:
        """Return the scores of a model, HOTA first."""
        results, benchmark = self._folder / f"epoch_{epoch}", self._benchmark
        assert benchmark.truth is not None
        shutil.rmtree(results, ignore_errors=True)  # of another model, if training was resumed from an earlier epoch
        training = model.training
        numbers = benchmark.class_numbers(model.config.classes)
        track_sequences(Tracker(model), benchmark.sequences, results, benchmark.results, class_numbers=numbers)
        model.train(training)
        if_empty = explain_no_tracks(model.config.classes, model.config.tracking)
        scores = evaluate(benchmark.truth, results, if_empty=if_empty)
        log(*(f"validation after epoch {epoch}: {line}" for line in scores.notes))
        return {name: scores.combined[name] for name in SHOWN}


def make_validation(config: Config, folder: Path, files: AnnotationFiles | None = None) -> Validation | None:
    """Return the validation on ``data.val``; None if it is not set.

    Args:
        config: training configuration.
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
    return Validation(load_benchmark(path, split=split, layout=val.format, files=files), folder)


def _usual_split(path: Path, val: SplitConfig) -> str | None:
    """Return ``val`` if it exists, or None if there is only one split. Raises UserError if neither is the case."""
    splits = recognise(path, val.format).splits
    if "val" in splits or len(splits) == 1:
        return "val" if "val" in splits else None
    raise UserError(f"{path}: has the splits {', '.join(splits)}; choose one as data.val.split")
