"""The clip runner as data parallelism and mixed precision take it, set up from a configuration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memotr.config import TrainingConfig
from memotr.models.memotr import MeMOTR
from memotr.structures import ClipBatch
from memotr.training.clip_runner import ClipRunner


class ClipLoss(nn.Module):
    """What is wrapped: a clip goes in, nothing but tensors comes out."""

    def __init__(self, runner: ClipRunner) -> None:
        super().__init__()
        self.runner = runner

    def forward(self, clip: ClipBatch, no_grad_frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss to be minimised; and detached (8,) it and its parts."""
        result = self.runner(clip, no_grad_frames, generator)
        return result.total, torch.cat((result.total.detach()[None], result.parts))


def make_clip_loss(model: MeMOTR, training: TrainingConfig) -> ClipLoss:
    """Return the module with the weights and rates of the settings."""
    perturbation = training.drop_rate, training.insert_rate, training.keep_strays
    return ClipLoss(ClipRunner(model, training.loss, *perturbation))
