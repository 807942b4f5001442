"""Tracking and scoring of checkpoints on a benchmark."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from memotr.config import Config
from memotr.data.sequences import list_names
from memotr.data.synth.domain import foreign_domain
from memotr.errors import UserError
from memotr.evaluation.benchmark import Benchmark
from memotr.evaluation.benchmark_run import track_benchmark
from memotr.evaluation.progress_bars import ScoringProgress
from memotr.evaluation.run_record import open_results_folder
from memotr.evaluation.score_files import write_scores
from memotr.evaluation.scoring import Scores, evaluate
from memotr.files import hold_run
from memotr.models.memotr import MeMOTR
from memotr.tracking.gate import explain_no_tracks
from memotr.tracking.precision import resolve_precision
from memotr.training.devices import launch
from memotr.vocabulary import Precision
from memotr.weights.model_files import open_model
from memotr.weights.named import weights_file


class CheckpointDeletedError(UserError):
    """Error for a checkpoint that was deleted before every rank had read it; raised on all ranks."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Settings of the evaluation of checkpoints.

    Attributes:
        fabric: launched by the first call of :meth:`track`, if it is not launched.
        benchmark: sequences to track.
        source: description of the benchmark as stored by ``memotr score``, ready for JSON.
        settings: ``key=value`` pairs that override a checkpoint's own settings.
        config: preset or YAML file that replaces the configuration stored with a checkpoint.
        precision: numerical precision of the network.
        batch: number of sequences that each rank tracks at once.
    """

    fabric: Fabric
    benchmark: Benchmark
    source: Mapping[str, Any]
    settings: Sequence[str] = ()
    config: str | None = None
    precision: Precision = "auto"
    batch: int = 1

    def track(self, checkpoint: Path, folder: Path, *, fleeting: bool = False) -> tuple[Path, Config]:
        """Track all sequences without results. Call it on every rank.

        Args:
            checkpoint: weights of a tracker.
            folder: folder of the run.
            fleeting: a training run may delete the checkpoint meanwhile; the fabric must be launched.

        Returns:
            The folder of the results, and the settings of the model.

        Raises:
            UserError: a checkpoint, an image or a setting is invalid, or the folder holds results of another run.
            SystemExit: the same, on other ranks than the first.
            CheckpointDeletedError: a fleeting checkpoint has been deleted.
        """
        with self._tracked(checkpoint, folder, fleeting) as tracked:
            return tracked

    def score(self, checkpoint: Path, folder: Path, *, fleeting: bool = False) -> tuple[Scores, list[Path]] | None:
        """Track and score a checkpoint, and write results and scores to ``folder``.

        Returns:
            Scores and files on the first rank, None on the others.

        Raises:
            UserError, SystemExit, CheckpointDeletedError: as for :meth:`track`.
        """
        with self._tracked(checkpoint, folder, fleeting) as (results, config):
            if not self.fabric.is_global_zero:
                return None
            assert self.benchmark.truth is not None
            with ScoringProgress() as progress:
                if_empty = explain_no_tracks(config.classes, config.tracking)
                scores = evaluate(self.benchmark.truth, results, workers=None, progress=progress, if_empty=if_empty)
            file = weights_file(checkpoint)
            source = {**self.source, "results": str(results.absolute()), "checkpoint": str(file.absolute())}
            return scores, write_scores(folder, scores, title=folder.name, source=source)

    @contextmanager
    def _tracked(self, checkpoint: Path, folder: Path, fleeting: bool) -> Iterator[tuple[Path, Config]]:
        """Yield the result of :meth:`track` while no other process can use ``folder``."""
        with ExitStack() as held:
            try:
                model = (self._load_fleeting if fleeting else self._load)(checkpoint)
                launch(self.fabric)  # after all checks; does nothing if launched before
                held.enter_context(hold_run(self.fabric, folder))
                precision = resolve_precision(self.precision, self.fabric.device)
                results = open_results_folder(folder, model, self.source, precision)
                failure = track_benchmark(
                    self.fabric, model, self.benchmark, results, precision=precision, batch=self.batch
                )
                if failure is not None:
                    raise UserError(failure)
            except CheckpointDeletedError:
                raise
            except (UserError, KeyboardInterrupt):
                if self.fabric.is_global_zero:
                    raise
                raise SystemExit(0) from None  # the first rank reports it, and its exit code counts
            yield results, model.config

    def _load(self, checkpoint: Path) -> MeMOTR:
        model = open_model(checkpoint, config=self.config, settings=self.settings, device="cpu")
        self.benchmark.class_numbers(model.config.classes)
        if unknown := self.benchmark.unknown_to(model.config.classes):
            warnings.warn(f"{checkpoint}: has no class {list_names(unknown)}: scored as not found", stacklevel=2)
        if foreign := foreign_domain(
            model.config, [sequence.frames[0].parent for sequence in self.benchmark.sequences]
        ):
            warnings.warn(foreign, stacklevel=2)
        return model

    def _load_fleeting(self, checkpoint: Path) -> MeMOTR:
        """Load a checkpoint on all ranks or on none: ranks that continued alone would wait for the others."""
        model = None
        try:
            model = self._load(checkpoint)
        except (UserError, FileNotFoundError):
            if checkpoint.exists():
                raise
        missing = self.fabric.all_reduce(torch.tensor(float(model is None)), reduce_op="sum")
        if model is None or missing:
            raise CheckpointDeletedError(f"{checkpoint}: was deleted before it was read")
        return model
