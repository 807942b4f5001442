"""Forward pass and losses of a clip, as one module: data parallelism sees one forward and one backward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from memotr.config import LossConfig, TrainingConfig
from memotr.models.memotr import MeMOTR
from memotr.structures import ClipBatch, FrameOutput, FrameTargets, TrackState
from memotr.tracking.lifecycle import advance
from memotr.training.identity import Sightings, identity_loss, sightings
from memotr.training.losses import LOSS_NAMES, frame_losses
from memotr.training.matching import Matching, assign, match
from memotr.training.perturb import perturb
from memotr.weights.published_names import published_name

ALWAYS_USED = (
    "backbone.",
    "feature_projs.",
    "transformer.encoder.layers.",
    "transformer.decoder.layers.",
    "transformer.decoder.bbox_embed.",
    "class_embed.",
    "det_",
)
"""Parameters that have a gradient whatever the clip and the number of layers, by how their published names begin."""


@dataclass(frozen=True, eq=False)
class ClipResult:
    """Losses of a batch of clips.

    Attributes:
        total: weighted sum, to be minimised; scalar.
        parts: (7,) unweighted focal, L1 and GIoU loss of the last layer, then of the earlier ones, then the loss of
            identities (0 where it has no weight), detached.
        tracks: the states after each frame but the last, by frame and batch element.
    """

    total: Tensor
    parts: Tensor
    tracks: list[list[TrackState]]

    def named(self) -> dict[str, float]:
        """Return total and parts by name (copies from the device)."""
        names = [*LOSS_NAMES, *(f"aux_{name}" for name in LOSS_NAMES), "identity_loss"]
        return {"total": self.total.item(), **dict(zip(names, self.parts.tolist(), strict=True))}


class ClipRunner(nn.Module):
    """Module that tracks the objects of a clip with ground-truth matching and sums the losses.

    Args:
        model: to be trained.
        loss: weights of the losses and of the matching costs.
        drop_rate: share of tracks dropped after each frame.
        insert_rate: share of tracks that bring in a false positive.
        keep_strays: see :func:`memotr.training.perturb.perturb`.
    """

    def __init__(
        self,
        model: MeMOTR,
        loss: LossConfig | None = None,
        drop_rate: float = 0.0,
        insert_rate: float = 0.0,
        keep_strays: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss = loss or LossConfig()
        self.drop_rate, self.insert_rate, self.keep_strays = drop_rate, insert_rate, keep_strays
        self.merge_layer = model.transformer.decoder.merge_layer
        aux = loss.aux if loss.aux is not None else (1.0,) * (len(model.class_embed) - 1)
        if len(aux) != len(model.class_embed) - 1:
            raise ValueError(f"{len(aux)} auxiliary loss weights for {len(model.class_embed)} decoder layers")
        self.register_buffer("layer_weights", torch.tensor([*aux, 1.0]), persistent=False)
        self.register_buffer("loss_weights", torch.tensor([loss.label, loss.l1, loss.giou]), persistent=False)

    layer_weights: Tensor
    loss_weights: Tensor

    def forward(self, clip: ClipBatch, no_grad_frames: int = 0, generator: torch.Generator | None = None) -> ClipResult:
        """Compute the losses of B clips of T frames.

        Args:
            clip: on the model's device.
            no_grad_frames: the first frames, run without gradient and without perturbation but for the last of them;
                the clip's last frame always has its gradient.
            generator: of the perturbation's random draws, on the CPU; needed where there is any.
        """
        tracks = [self.model.no_tracks() for _ in clip.targets[0]]
        history = []
        seen: list[list[Sightings]] = [[] for _ in tracks]  # by batch element and frame
        losses = self.layer_weights.new_zeros(len(self.layer_weights), 3)  # (Ld, 3)
        num_frames = len(clip)
        no_grad_frames = min(no_grad_frames, num_frames - 1)
        for t, (images, targets) in enumerate(zip(clip.frames, clip.targets, strict=True)):
            if t == no_grad_frames:  # autocast may keep weights that were cast without gradient (pytorch issue 112583)
                torch.clear_autocast_cache()
            with torch.set_grad_enabled(torch.is_grad_enabled() and t >= no_grad_frames):
                output = self.model(images, tracks, aux=True)
                perturbing = t >= no_grad_frames - 1
                choices = []
                for b, truth in enumerate(targets):
                    one = output[b]
                    matching = match(one, tracks[b], truth, self.merge_layer, self.loss)
                    losses = losses + frame_losses(one, matching, truth)
                    if self.loss.identity:
                        seen[b].append(sightings(one, matching, truth, self.merge_layer, t))
                    choices.append(self._assign(one, tracks[b], matching, truth, generator if perturbing else None))
                if t < num_frames - 1:
                    tracks = [self.model.memory(carried) for carried in choices]
                    history.append(tracks)
        losses = losses / mean_over_ranks(
            sum(len(truth) for targets in clip.targets for truth in targets), losses.device
        )
        identity = losses.new_zeros(())
        if self.loss.identity:
            identity = torch.stack([identity_loss(clip) for clip in seen]).mean()
        return self._result(losses, identity, history)

    def _assign(
        self,
        output: FrameOutput,
        tracks: TrackState,
        matching: Matching,
        truth: FrameTargets,
        generator: torch.Generator | None,
    ) -> TrackState:
        """Return the tracks of one video after a frame."""
        choice = assign(output, tracks, matching, truth, keep=self.model.query_updater.update_threshold)
        if self.drop_rate or self.insert_rate:
            drop, insert = (self.drop_rate, self.insert_rate) if generator is not None else (0.0, 0.0)
            choice = perturb(choice, output, drop, insert, generator or torch.Generator(), self.keep_strays)
        return advance(tracks, output, choice)

    def _result(self, losses: Tensor, identity: Tensor, history: list[list[TrackState]]) -> ClipResult:
        weighted = losses * self.layer_weights[:, None]  # (Ld, 3)
        total = (weighted * self.loss_weights).sum() + self.loss.identity * identity + self._every_parameter()
        parts = torch.cat((losses[-1], weighted[:-1].sum(dim=0), identity[None])).detach()  # (7,)
        return ClipResult(total, parts, history)

    def _every_parameter(self) -> Tensor:
        """Return zero with a gradient for parameters that a clip may not use, such as the memory without any track.

        Under data parallelism every rank must take part in the reduction of every gradient.
        """
        parameters = [
            p.flatten()[:1]
            for name, p in self.model.named_parameters()
            if p.requires_grad and not published_name(name).startswith(ALWAYS_USED)
        ]
        return 0.0 * torch.cat(parameters).sum() if parameters else self.layer_weights.new_zeros(())


def mean_over_ranks(count: int, device: torch.device) -> Tensor:
    """Return the mean of a number over the ranks of a distributed run, at least 1."""
    total = torch.full((), float(count), device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return total.clamp(min=1)


class ClipLoss(nn.Module):
    """Module that data parallelism and mixed precision wrap: it takes a clip and returns tensors only."""

    def __init__(self, runner: ClipRunner) -> None:
        super().__init__()
        self.runner = runner

    def forward(self, clip: ClipBatch, no_grad_frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the loss to be minimised, and, detached, the loss and its parts (8,)."""
        result = self.runner(clip, no_grad_frames, generator)
        return result.total, torch.cat((result.total.detach()[None], result.parts))


def make_clip_loss(model: MeMOTR, training: TrainingConfig) -> ClipLoss:
    """Return the module with the weights and rates of the settings."""
    perturbation = training.drop_rate, training.insert_rate, training.keep_strays
    return ClipLoss(ClipRunner(model, training.loss, *perturbation))
