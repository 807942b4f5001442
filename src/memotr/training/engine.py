"""Training loop with checkpoints, metrics, figures and validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from numpy.random import SeedSequence
from torch import Tensor

from memotr.config import Config
from memotr.data.clips import ClipDataset
from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.openmp import adapt_waiting
from memotr.signals import StopRequest
from memotr.structures import ClipBatch
from memotr.tracking.gate import explain_no_tracks
from memotr.training.clip_runner import make_clip_loss
from memotr.training.ema import MovingAverage
from memotr.training.figure import ShownClip, draw, predict
from memotr.training.inputs import make_loader
from memotr.training.metrics import StepMetrics, Sums, peak_memory
from memotr.training.optim import make_optimizer, no_grad_frames, set_learning_rates
from memotr.training.run_report import Report
from memotr.training.run_state import (
    LAST,
    Progress,
    RunState,
    generator_states,
    keep_epoch,
    set_generator_states,
    write_state,
)
from memotr.weights.model_files import save_model
from memotr.weights.published_names import load_published, published_state

MAX_SKIPPED = 10
"""Number of consecutive steps with non-finite loss or gradient after which a run ends."""


class Validate(Protocol):
    """Interface of the validation after an epoch."""

    def check_classes(self, classes: Sequence[str], /) -> None:
        """Raise UserError if a model with these classes cannot be validated; called before training."""

    def __call__(self, model: MeMOTR, epoch: int, /) -> Mapping[str, float]:
        """Return name → score, higher is better, after an epoch, from 1. The first score selects the best model."""


class Training:
    """Training run on one rank.

    Args:
        fabric: launched Fabric.
        config: all settings.
        model: model with the weights to start from.
        dataset: training clips.
        folder: folder to which the first rank writes.
        stop: true once this rank has received a stop signal.
        shown: clip for the figures; None for no figures.
        validate: validation, which runs on the first rank while the others wait; None for no validation.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: Config,
        model: MeMOTR,
        dataset: ClipDataset,
        folder: Path,
        stop: StopRequest,
        shown: ShownClip | None = None,
        validate: Validate | None = None,
    ) -> None:
        adapt_waiting()
        self.fabric, self.config, self.settings, self.output = fabric, config, config.training, config.training.output
        self.folder, self.stop, self.shown, self.validate = folder, stop, shown, validate
        self.model = model.recompute_activations(self.settings.checkpoint_activations)
        if self.settings.compile:
            model.compile_layers()
        fused = fabric.device.type == "cuda" and getattr(fabric.strategy.precision, "scaler", None) is None
        loss = make_clip_loss(model, self.settings)
        optimizer = make_optimizer(model, self.settings.optimizer, fused=fused)
        self.loss, self.optimizer = fabric.setup(loss, optimizer)
        self.average = MovingAverage(model, self.settings.ema_decay) if self.settings.ema_decay else None
        self.loader, self.sampler = make_loader(dataset, config, fabric.global_rank, fabric.world_size, fabric.device)
        # For the estimate of the remaining time, by epoch: frames of a batch, and of all batches of a rank.
        epochs = range(self.settings.epochs)
        self.frames = [config.data.sampling.length(epoch) * config.batch_size(epoch) for epoch in epochs]
        self.work = [self.sampler.total(epoch) * self.frames[epoch] for epoch in epochs]
        self.progress, self.sums = Progress(), Sums(fabric.device)
        self.rates: dict[str, float] = {}
        self.report: Report | None = None
        self.stopping = False
        self.saved_at = 0
        torch.manual_seed(self.settings.seed + fabric.global_rank)  # dropout differs between ranks

    def run(self) -> None:
        """Train to the end of the last epoch, or until a stop is requested.

        Raises:
            UserError: the data cannot be read, a checkpoint cannot be written, or loss or gradient was not finite in
                ``MAX_SKIPPED`` consecutive steps.
        """
        self.on_first_rank(self.open_report)
        with self.report or nullcontext():
            if self.progress.outcome_due:
                self.show_outcome()
            while self.progress.epoch < self.settings.epochs and not self.stopping:
                self.train_epoch()
                if not self.stopping:
                    self.finish_epoch()

    def open_report(self) -> None:
        """Open the report of the run, on the first rank."""
        self.report = Report(self.folder, self.progress.steps)

    def train_epoch(self) -> None:
        """Run the remaining steps of the epoch, with logging and saving, until a stop is requested."""
        self.rates = set_learning_rates(self.optimizer, self.settings.optimizer, self.progress.epoch)
        self.loss.train()
        batches = self.start_batches()
        self.sums.start_clock()
        while clips := list(islice(batches, self.settings.accumulation)):
            self.step(clips)
            if self.progress.steps % self.output.log_every == 0:
                self.log()
            if self.save_is_due():
                self.save()
            if self.stopping:
                return
        self.sums.stop_clock()

    def step(self, clips: list[ClipBatch]) -> None:
        """Take one optimiser step, with a forward and a backward pass for each batch of clips."""
        parts = [self.forward_backward(clip, len(clips), last=clip is clips[-1]) for clip in clips]
        limit = self.settings.optimizer.clip_norm or torch.inf
        norm = self.fabric.clip_gradients(self.loss, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None
        values = torch.cat((torch.stack(parts).mean(dim=0), norm[None]))  # (9,)
        finite, self.stopping = self.agree(values)
        self.progress.steps += 1
        if finite:
            self.optimizer.step()
            if self.average:
                self.average.update(self.model)
        self.sums.add(values if finite else None)
        self.count_skipped(finite)
        self.optimizer.zero_grad()
        if self.report:
            self.report.step()

    def forward_backward(self, clip: ClipBatch, share: int, *, last: bool) -> Tensor:
        """Run forward and backward pass of one batch of clips, and return its losses (8,).

        Args:
            clip: batch of clips.
            share: number of batches in the step, by which the loss is divided.
            last: this is the step's last batch, after which gradients are reduced over all ranks.
        """
        frames = no_grad_frames(self.settings.no_grad_frames, self.settings.no_grad_steps, self.progress.epoch)
        with self.fabric.no_backward_sync(self.loss, enabled=not last):
            total: Tensor
            parts: Tensor
            total, parts = self.loss(clip.to(self.fabric.device), frames, self.generator())
            self.fabric.backward(total / share)
        self.progress.clips += self.share
        return parts

    def agree(self, values: Tensor) -> tuple[bool, bool]:
        """Return whether all ranks have finite values, and whether any should stop, with one wait for the device."""
        non_finite, stop = (~values.isfinite()).any().float(), values.new_full((), float(bool(self.stop)))
        flags = torch.stack((non_finite, stop))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        any_non_finite, any_stop = flags.tolist()
        return not any_non_finite, bool(any_stop)

    def count_skipped(self, finite: bool) -> None:
        """Count a step if its values were not finite; end the run after ``MAX_SKIPPED`` consecutive ones."""
        progress = self.progress
        if finite:
            progress.skipped_in_a_row = 0
            return
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.update()  # float16: a smaller loss scale may avoid an overflow
        if progress.skipped_in_a_row == MAX_SKIPPED:
            saved = self.folder / LAST
            good = f"the last good checkpoint is {saved}" if saved.is_file() else "there is no checkpoint yet"
            self.fail(
                f"loss or gradient was not finite in {MAX_SKIPPED} consecutive steps, up to step {progress.steps}; "
                f"{good}; lower training.optimizer.lr or training.optimizer.clip_norm"
            )

    @property
    def share(self) -> int:
        """Number of clips in a batch of all ranks together, in the current epoch."""
        return self.fabric.world_size * self.config.batch_size(self.progress.epoch)

    # Between steps and epochs

    def start_batches(self) -> Iterator[ClipBatch]:
        """Return the remaining batches of the epoch, in an order that depends on seed and epoch only."""
        progress, accumulation = self.progress, self.settings.accumulation
        self.sampler.set_epoch(progress.epoch)
        self.sampler.skip(progress.clips // self.share)
        if self.report:
            total, done = self.sampler.total(progress.epoch), progress.clips // self.share
            steps = -(-total // accumulation)
            self.report.begin_epoch(progress.epoch, self.settings.epochs, steps, -(-done // accumulation))
        return iter(self.loader)

    def generator(self) -> torch.Generator:
        """Return the perturbations' generator for the next batch, seeded by seed, rank and position in the run."""
        key = (self.settings.seed, self.fabric.global_rank, self.progress.epoch, self.progress.clips)
        return torch.Generator().manual_seed(int(SeedSequence(key).generate_state(1)[0]))

    def finish_epoch(self) -> None:
        """Save a checkpoint, then export, draw and validate.

        If that fails, for example at an unreadable image, the run makes up for it when it is resumed.
        """
        progress = self.progress
        if len(self.sums) and progress.epoch + 1 == self.settings.epochs:
            self.log()
        progress.epoch += 1
        progress.clips = 0
        progress.outcome_due = True
        self.save()
        self.show_outcome()

    def show_outcome(self) -> None:
        """Export, draw and validate the model on the first rank, and keep the epoch's checkpoint."""
        self.on_first_rank(self.show_epoch)
        self.progress.best = self.fabric.broadcast(self.progress.best)
        self.progress.outcome_due = False
        self.save(of_epoch=True)

    def show_epoch(self) -> None:
        """Write weights, figure and scores of the model, with averaged weights if the run averages them."""
        assert self.report is not None
        epoch, step, every = self.progress.epoch, self.progress.steps, self.output.val_every
        with self.average.applied(self.model) if self.average else nullcontext():
            save_model(self.model, self.folder / "last.safetensors", epoch=epoch)
            if self.shown:
                title = f"{self.config.name} after epoch {epoch}"
                if_empty = explain_no_tracks(self.config.classes, self.config.tracking)
                self.report.figure(draw(self.shown, predict(self.model, self.shown), title, if_empty), step, epoch)
            if self.validate and every and (epoch % every == 0 or epoch == self.settings.epochs):
                scores = self.validate(self.model, epoch)
                self.report.validation(scores, step, epoch)
                self.keep_best(next(iter(scores.values())))

    def keep_best(self, score: float) -> None:
        """Save the model if its score is the best one so far."""
        best = self.progress.best
        if best is None or score > best:
            save_model(self.model, self.folder / "best.safetensors", epoch=self.progress.epoch)
            self.progress.best = score

    def log(self) -> None:
        """Report the means of the metrics over all ranks since the last line."""
        means, seconds = self.sums.finish()
        self.on_first_rank(lambda: self.show_steps(means, seconds))

    def show_steps(self, means: dict[str, float], seconds: float) -> None:
        """Report metrics, rates, memory and the estimated remaining time."""
        assert self.report is not None
        progress = self.progress
        frames = self.frames[progress.epoch]
        frames_left = sum(self.work[progress.epoch :]) - progress.clips // self.share * frames
        left = frames_left * seconds / (self.settings.accumulation * frames)
        memory = peak_memory(self.fabric.device)
        line = StepMetrics(progress.steps, progress.epoch, means, self.rates, progress.skipped, seconds, memory, left)
        self.report.metrics(line)

    # Saving

    def save_is_due(self) -> bool:
        """Return whether to save a checkpoint within an epoch: at intervals, and at a stop.

        After a skipped step nothing is saved until a step succeeds, because the current weights may be the cause of the
        non-finite loss. The end of an epoch is always saved, with the weights before the skipped steps.
        """
        due = self.stopping or 0 < self.output.save_every <= self.progress.steps - self.saved_at
        return due and not self.progress.skipped_in_a_row

    def save(self, *, of_epoch: bool = False) -> None:
        """Write the checkpoint from which the run can continue; with ``of_epoch`` also keep it under its number."""
        self.saved_at = self.progress.steps
        own = {"generators": generator_states(), "sums": self.sums.state_dict()}
        ranks = [own]
        if dist.is_available() and dist.is_initialized():
            ranks = [{} for _ in range(self.fabric.world_size)]
            dist.all_gather_object(ranks, own)

        def write() -> None:
            write_state(self.folder / LAST, self.state(ranks))
            if of_epoch:
                keep_epoch(self.folder, self.progress.epoch, self.output.keep_last, self.output.keep_every)

        self.on_first_rank(write)

    def state(self, ranks: list[dict[str, Any]]) -> RunState:
        """Return the state of the run, with the states of all ranks."""
        return RunState(
            settings=self.config.model_dump(mode="json"),
            progress=self.progress,
            model=published_state(self.model),
            optimizer=self.optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            average=self.average.state_dict() if self.average else None,
            ranks=ranks,
        )

    def restore(self, state: RunState) -> None:
        """Continue from a state; with the same ranks and settings, the results are those of an uninterrupted run."""
        self.progress = state.progress
        self.saved_at = state.progress.steps
        load_published(self.model, state.model)
        self.optimizer.load_state_dict(state.optimizer)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.settings.optimizer.weight_decay  # as configured now, like the learning rates
        if state.scaler:  # missing after a run in another precision
            self.fabric.strategy.precision.load_state_dict(state.scaler)
        if self.average and state.average:
            self.average.load_state_dict(state.average)
        elif (
            self.average
        ):  # newly enabled: the average from the constructor has the weights before the state was loaded
            self.average = MovingAverage(self.model, self.settings.ema_decay)
        if len(state.ranks) == self.fabric.world_size:
            own = state.ranks[self.fabric.global_rank]
            set_generator_states(own["generators"])
            self.sums.load_state_dict(own["sums"])

    def on_first_rank(self, action: Callable[[], None]) -> None:
        """Run an action on the first rank while the others wait; an error ends the run on all ranks."""
        error, unexpected = None, None
        if self.fabric.is_global_zero:
            try:
                action()
            except UserError as caught:
                error = str(caught)
            except OSError as caught:
                error = f"{caught.filename or self.folder}: {caught.strerror or caught}"
            except Exception as caught:
                error, unexpected = str(caught), caught
        error = self.fabric.broadcast(error)
        if unexpected is not None:
            raise unexpected
        if error is not None:
            self.fail(error)

    def fail(self, message: str) -> NoReturn:
        """End the run with exit code 2; all ranks must call this, and the first one reports the reason."""
        raise UserError(message) if self.fabric.is_global_zero else SystemExit(2)
