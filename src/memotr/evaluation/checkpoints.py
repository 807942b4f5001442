"""Tracking and scoring of checkpoints on a benchmark."""

from __future__ import annotations

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
from memotr.errors import UserError, warn
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
from memotr.tracking.tracker import Tracker
from memotr.training.devices import launch
from memotr.vocabulary import GraphMode, Precision
from memotr.weights.model_files import open_model
from memotr.weights.named import weights_file


class CheckpointDeletedError(UserError):
    """Error for a checkpoint that was deleted before all ranks had read it; raised on all ranks."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Settings of the evaluation of checkpoints.

    Attributes:
        fabric: fabric; the first call of :meth:`track` launches it unless it is launched already.
        benchmark: sequences to track.
        source: description of the benchmark as stored by ``memotr score``, with JSON values.
        settings: ``key=value`` pairs that override settings of a checkpoint.
        config: preset or YAML file that replaces the configuration stored with a checkpoint.
        precision: numerical precision of the network.
        batch: number of sequences that each rank tracks at once.
        graph: capture the frame step as a CUDA graph: "auto" (on CUDA) or "off".
    """

    fabric: Fabric
    benchmark: Benchmark
    source: Mapping[str, Any]
    settings: Sequence[str] = ()
    config: str | None = None
    precision: Precision = "auto"
    batch: int = 1
    graph: GraphMode = "auto"

    def track(self, checkpoint: Path, folder: Path, *, may_be_deleted: bool = False) -> tuple[Path, Config]:
        """Track all sequences that have no results yet. Call this method on every rank.

        Args:
            checkpoint: weights of a tracker.
            folder: folder of the evaluation run.
            may_be_deleted: a training run may delete the checkpoint before it is read; the fabric must be launched.

        Returns:
            The folder of the results, and the configuration of the model.

        Raises:
            UserError: a checkpoint, an image or a setting is invalid, or the folder has results of another run.
            SystemExit: the same, on all ranks except the first.
            CheckpointDeletedError: the checkpoint was deleted, and ``may_be_deleted`` is True.
        """
        with self._tracked(checkpoint, folder, may_be_deleted) as tracked:
            return tracked

    def score(
        self, checkpoint: Path, folder: Path, *, may_be_deleted: bool = False
    ) -> tuple[Scores, list[Path]] | None:
        """Track and score a checkpoint, and write results and scores to ``folder``. Call this method on every rank.

        Returns:
            Scores and paths of the written files on the first rank, None on the others.

        Raises:
            UserError, SystemExit, CheckpointDeletedError: as for :meth:`track`.
        """
        with self._tracked(checkpoint, folder, may_be_deleted) as (results, config):
            if not self.fabric.is_global_zero:
                return None
            assert self.benchmark.truth is not None
            with ScoringProgress() as progress:
                if_empty = explain_no_tracks(config.classes, config.tracking)
                scores = evaluate(self.benchmark.truth, results, workers=None, progress=progress, if_empty=if_empty)
            file = weights_file(checkpoint)
            source = {
                **self.source,
                "results": str(results.absolute()),
                "checkpoint": str(file.absolute()),
                "precision": resolve_precision(self.precision, self.fabric.device),
            }
            return scores, write_scores(folder, scores, title=folder.name, source=source)

    @contextmanager
    def _tracked(self, checkpoint: Path, folder: Path, may_be_deleted: bool) -> Iterator[tuple[Path, Config]]:
        """Track like :meth:`track`, and yield its result; ``folder`` is locked for other processes."""
        with ExitStack() as stack:
            try:
                model = (self._load_on_all_ranks if may_be_deleted else self._load)(checkpoint)
                launch(self.fabric)  # after all checks; no effect if it is launched already
                stack.enter_context(hold_run(self.fabric, folder))
                precision = resolve_precision(self.precision, self.fabric.device)
                results = open_results_folder(folder, model, self.source, precision)
                tracker = Tracker(model.to(self.fabric.device), precision=precision, graph=self.graph)
                failure = track_benchmark(self.fabric, tracker, self.benchmark, results, batch=self.batch)
                if failure is not None:
                    raise UserError(failure)
            except CheckpointDeletedError:
                raise
            except (UserError, KeyboardInterrupt):
                if self.fabric.is_global_zero:
                    raise
                raise SystemExit(0) from None  # the first rank reports the error, and its exit code is used
            yield results, model.config

    def _load(self, checkpoint: Path) -> MeMOTR:
        model = open_model(checkpoint, config=self.config, settings=self.settings, device="cpu")
        self.benchmark.class_numbers(model.config.classes)
        if missing := self.benchmark.missing_classes(model.config.classes):
            warn(
                f"{checkpoint}: the model lacks the class {list_names(missing)}, whose objects are scored as not found"
            )
        folders = [sequence.frames[0].parent for sequence in self.benchmark.sequences]
        if foreign := foreign_domain(model.config, folders):
            warn(foreign)
        return model

    def _load_on_all_ranks(self, checkpoint: Path) -> MeMOTR:
        """Load a checkpoint on all ranks, or raise on all, because ranks that continued would wait for the others."""
        model = None
        try:
            model = self._load(checkpoint)
        except (UserError, FileNotFoundError):
            if checkpoint.exists():
                raise
        failed_ranks = self.fabric.all_reduce(torch.tensor(float(model is None)), reduce_op="sum")
        if model is None or failed_ranks:
            raise CheckpointDeletedError(f"{checkpoint}: was deleted before it was read")
        return model
