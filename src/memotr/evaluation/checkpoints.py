"""From a checkpoint to its results on a benchmark, and from these to its scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from memotr.data.sequences import list_names
from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark
from memotr.evaluation.benchmark_run import track_benchmark
from memotr.evaluation.output import write_scores
from memotr.evaluation.progress import ScoringProgress
from memotr.evaluation.run_record import open_run
from memotr.evaluation.scoring import Scores, evaluate
from memotr.files import hold_run
from memotr.models.memotr import MeMOTR
from memotr.tracking.precision import Precision
from memotr.training.devices import launch
from memotr.weights.tracker import load_model


class GoneError(UserError):
    """A checkpoint was deleted before every rank had read it. Raised on all of them."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How checkpoints are evaluated.

    Attributes:
        fabric: launched by the first call of :meth:`track`, if it is not yet.
        benchmark: what they are to track.
        source: the same in words, as ``memotr score`` keeps it; ready for JSON.
        settings: ``key=value`` in place of a checkpoint's own.
        config: preset or YAML file in place of what is found with a checkpoint.
        precision: of the heavy arithmetic.
        batch: how many sequences each rank tracks at once.
    """

    fabric: Fabric
    benchmark: Benchmark
    source: Mapping[str, Any]
    settings: Sequence[str] = ()
    config: str | None = None
    precision: Precision = "32"
    batch: int = 1

    def track(self, checkpoint: Path, folder: Path, *, fleeting: bool = False) -> Path:
        """The folder of the results; sequences that have theirs already are not tracked again. Called by every rank.

        Args:
            checkpoint: weights of a tracker.
            folder: of the run.
            fleeting: a training may delete the checkpoint meanwhile; the fabric is launched.

        Raises:
            UserError: a checkpoint, an image or a setting is wrong, or the folder holds results of something else.
            SystemExit: the same, on other ranks than the first.
            GoneError: a fleeting checkpoint is not there any more.
        """
        with self._tracked(checkpoint, folder, fleeting) as results:
            return results

    def score(self, checkpoint: Path, folder: Path, *, fleeting: bool = False) -> tuple[Scores, list[Path]] | None:
        """Results and their scores, written to ``folder``; scores and files on the first rank, None on the others.

        Raises:
            UserError, SystemExit, GoneError: as :meth:`track`.
        """
        with self._tracked(checkpoint, folder, fleeting) as results:
            if not self.fabric.is_global_zero:
                return None
            assert self.benchmark.truth is not None
            with ScoringProgress() as progress:
                scores = evaluate(self.benchmark.truth, results, workers=None, progress=progress)
            source = {**self.source, "results": str(results.absolute()), "checkpoint": str(checkpoint.absolute())}
            return scores, write_scores(folder, scores, title=folder.name, source=source)

    @contextmanager
    def _tracked(self, checkpoint: Path, folder: Path, fleeting: bool) -> Iterator[Path]:
        """See :meth:`track`. Within the context no other process can use ``folder``."""
        with ExitStack() as held:
            try:
                model = (self._load_fleeting if fleeting else self._load)(checkpoint)
                launch(self.fabric)  # after all that can be wrong is told; once launched, it does nothing
                held.enter_context(hold_run(self.fabric, folder))
                results = open_run(folder, model, self.source, self.precision)
                failure = track_benchmark(
                    self.fabric, model, self.benchmark, results, precision=self.precision, batch=self.batch
                )
                if failure is not None:
                    raise UserError(failure)
            except GoneError:
                raise
            except (UserError, KeyboardInterrupt):
                if self.fabric.is_global_zero:
                    raise
                raise SystemExit(0) from None  # the first rank says it, and its exit code counts
            yield results

    def _load(self, checkpoint: Path) -> MeMOTR:
        model = load_model(checkpoint, config=self.config, settings=self.settings, device="cpu")
        self.benchmark.class_numbers(model.config.classes)
        if unknown := self.benchmark.unknown_to(model.config.classes):
            warnings.warn(f"{checkpoint}: knows no {list_names(unknown)}: scored as if none was found", stacklevel=2)
        return model

    def _load_fleeting(self, checkpoint: Path) -> MeMOTR:
        """All ranks have the checkpoint, or none goes on with it: those that went on would wait for the others."""
        model = None
        try:
            model = self._load(checkpoint)
        except (UserError, FileNotFoundError):
            if checkpoint.exists():
                raise
        missing = self.fabric.all_reduce(torch.tensor(float(model is None)), reduce_op="sum")
        if model is None or missing:
            raise GoneError(f"{checkpoint}: was deleted before it was read")
        return model
