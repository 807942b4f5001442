"""Forward pass and losses of a clip, as one module: data parallelism sees one forward and one backward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from memotr.config import LossConfig, TrainingConfig
from memotr.models.memotr import Encoded, MeMOTR
from memotr.structures import Assignment, ClipBatch, FrameOutput, ImageBatch, TrackState
from memotr.tracking.lifecycle import advance
from memotr.training.identity import SeenFrame, find_sightings, identity_loss
from memotr.training.losses import LOSS_NAMES, clip_losses
from memotr.training.matching import Choice, assign, match, read_predictions
from memotr.training.perturb import perturb
from memotr.training.targets import PaddedTargets, pad_targets, upload
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
"""Prefixes of the published names of parameters that get a gradient from every clip."""


@dataclass(frozen=True, eq=False)
class ClipResult:
    """Losses of a batch of clips.

    Attributes:
        total: () weighted sum, to be minimised.
        parts: (7,) detached: unweighted focal, L1 and GIoU loss of the last layer; their sums over the earlier layers,
            with the layer weights; the identity loss (0 if its weight is 0).
        tracks: for each frame but the last, the tracks of each video after it.
    """

    total: Tensor
    parts: Tensor
    tracks: list[list[TrackState]]

    def named(self) -> dict[str, float]:
        """Return total and parts by name. It waits for the device."""
        names = [*LOSS_NAMES, *(f"aux_{name}" for name in LOSS_NAMES), "identity_loss"]
        return {"total": self.total.item(), **dict(zip(names, self.parts.tolist(), strict=True))}


class ClipRunner(nn.Module):
    """Module that tracks the objects of a clip, with decisions by ground truth, and sums the losses.

    Args:
        model: model to train, on its device.
        loss: weights of the losses and of the matching costs.
        drop_rate: fraction of tracks that are dropped after each frame, in [0, 1].
        insert_rate: fraction of tracks for which a false positive is inserted, in [0, 1].
        keep_strays: see :func:`memotr.training.perturb.perturb`.
        frames_at_once: largest number of frames of a clip that are encoded as one batch; 1 for a model whose frames
            depend on each other (:func:`frames_are_independent`).
    """

    def __init__(
        self,
        model: MeMOTR,
        loss: LossConfig | None = None,
        drop_rate: float = 0.0,
        insert_rate: float = 0.0,
        keep_strays: bool = False,
        frames_at_once: int = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss = loss or LossConfig()
        self.drop_rate, self.insert_rate, self.keep_strays = drop_rate, insert_rate, keep_strays
        self.frames_at_once = frames_at_once if frames_are_independent(model) else 1
        self.merge_layer = model.transformer.decoder.merge_layer
        aux = loss.aux if loss.aux is not None else (1.0,) * (len(model.class_embed) - 1)
        if len(aux) != len(model.class_embed) - 1:
            raise ValueError(f"{len(aux)} auxiliary loss weights for {len(model.class_embed)} decoder layers")
        layer_weights = torch.tensor([*aux, 1.0], device=model.device)
        loss_weights = torch.tensor([loss.label, loss.l1, loss.giou], device=model.device)
        self.register_buffer("layer_weights", layer_weights, persistent=False)
        self.register_buffer("loss_weights", loss_weights, persistent=False)

    layer_weights: Tensor
    loss_weights: Tensor

    def forward(self, clip: ClipBatch, no_grad_frames: int = 0, generator: torch.Generator | None = None) -> ClipResult:
        """Compute the losses of B clips of T frames. The host waits for the device once a frame.

        Args:
            clip: batch of clips on the device of the model.
            no_grad_frames: number of first frames that run without gradient. The perturbation starts after the last of
                them, and the last frame of the clip always runs with gradient.
            generator: random generator of the perturbation, on the CPU; required if there is a perturbation.
        """
        num_frames = len(clip)
        no_grad_frames = min(no_grad_frames, num_frames - 1)
        targets = pad_targets(clip.targets, self.model.device)
        followed = [VideoTracks.none(self.model) for _ in clip.targets[0]]
        encoded: deque[Encoded] = deque()
        seen: list[SeenFrame] = []
        history: list[list[TrackState]] = []
        remembering = False  # whether the memory has run with gradient
        for t in range(num_frames):
            prefix = t < no_grad_frames
            with torch.set_grad_enabled(torch.is_grad_enabled() and not prefix), cast_cache(not prefix):
                if not encoded:
                    encoded.extend(self._encode(clip.frames[t : no_grad_frames if prefix else None]))
                output = self.model.decode(encoded.popleft(), [each.tracks for each in followed], aux=True)
                if not self.loss.identity:
                    output = replace(output, encoded=None)  # frees the features of a prefix
                predictions = read_predictions(output, targets[t], self.merge_layer, self.loss)
                matchings = [
                    match(each, old.ids, ids, self.merge_layer)
                    for each, old, ids in zip(predictions, followed, targets[t].ids, strict=True)
                ]
                seen.append(SeenFrame(output, predictions, matchings, targets[t]))
                if t < num_frames - 1:
                    random = generator if t >= no_grad_frames - 1 else None
                    choices = [self._decide(seen[t], b, followed[b], random) for b in range(len(followed))]
                    followed = self._advance(seen[t], choices, followed)
                    history.append([each.tracks for each in followed])
                    remembering |= torch.is_grad_enabled() and any(len(each.ids) for each in followed)
        layers = [each.output.layers for each in seen if each.output.layers is not None]
        losses = clip_losses(layers, [each.matchings for each in seen], targets)  # (Ld, 3)
        losses = losses / mean_over_ranks(sum(sum(each.counts) for each in targets), losses.device)
        identity = losses.new_zeros(())
        if self.loss.identity:
            sightings = find_sightings(seen, self.merge_layer)
            identity = torch.stack([identity_loss(each) for each in sightings]).mean()
        return self._result(losses, identity, history, remembering)

    def _encode(self, frames: Sequence[ImageBatch]) -> list[Encoded]:
        """Encode the next frames as one batch: at most ``frames_at_once``, and all of one shape."""
        group = [frames[0]]
        for frame in frames[1 : self.frames_at_once]:
            if frame.pixels.shape != frames[0].pixels.shape:
                break
            group.append(frame)
        return self.model.encode_frames(group)

    def _decide(self, seen: SeenFrame, b: int, followed: VideoTracks, generator: torch.Generator | None) -> Choice:
        """Decide which tracks of video b continue or start after a frame."""
        predictions, ids = seen.predictions[b], seen.targets.ids[b]
        keep = self.model.query_updater.update_threshold
        choice = assign(predictions, seen.matchings[b], followed.ids, followed.iou, ids, keep)
        if not self.drop_rate and not self.insert_rate:
            return choice
        drop, insert = (self.drop_rate, self.insert_rate) if generator is not None else (0.0, 0.0)
        return perturb(choice, predictions, drop, insert, generator or torch.Generator(), self.keep_strays)

    def _advance(self, seen: SeenFrame, choices: list[Choice], followed: list[VideoTracks]) -> list[VideoTracks]:
        """Apply the decisions and update the memory, for all videos at once; return the tracks of each."""
        output, assignment, videos, order = join_videos(seen.output, choices, seen.targets)
        tracks = advance(TrackState.cat([each.tracks for each in followed]), output, assignment)
        if order is not None:
            tracks = tracks[order]
        apart = None if videos is None else videos[:, None] != videos  # (N, N)
        tracks = self.model.memory(tracks, apart)
        counts = [len(choice.next_ids) for choice in choices]
        parts = [tracks] if len(choices) == 1 else tracks.split(counts)
        return [VideoTracks(p, choice.next_ids, choice.next_iou) for p, choice in zip(parts, choices, strict=True)]

    def _result(
        self, losses: Tensor, identity: Tensor, history: list[list[TrackState]], remembering: bool
    ) -> ClipResult:
        weighted = losses * self.layer_weights[:, None]  # (Ld, 3)
        total = (weighted * self.loss_weights).sum() + self._every_parameter(remembering)
        if self.loss.identity:
            total = total + self.loss.identity * identity
        parts = torch.cat((losses[-1], weighted[:-1].sum(dim=0), identity[None])).detach()  # (7,)
        return ClipResult(total, parts, history)

    def _every_parameter(self, remembering: bool) -> Tensor:
        """Return zero, with a gradient for parameters that a clip may not use: the memory's, if there are no tracks.

        Data parallelism requires a gradient of every parameter on every rank.
        """
        used = (*ALWAYS_USED, "query_updater.") if remembering else ALWAYS_USED
        parameters = [
            p.flatten()[:1]
            for name, p in self.model.named_parameters()
            if p.requires_grad and not published_name(name).startswith(used)
        ]
        return 0.0 * torch.cat(parameters).sum() if parameters else self.layer_weights.new_zeros(())


@dataclass(frozen=True, eq=False)
class VideoTracks:
    """The tracks of one video between two frames.

    Attributes:
        tracks: their states, on the device.
        ids: (N,) their ids, on the host.
        iou: (N,) IoU of each track with the object that it was last matched to, on the host.
    """

    tracks: TrackState
    ids: NDArray[np.int64]
    iou: NDArray[np.float32]

    @classmethod
    def none(cls, model: MeMOTR) -> VideoTracks:
        """Return the state before the first frame."""
        return cls(model.no_tracks(), np.zeros(0, np.int64), np.zeros(0, np.float32))


def join_videos(
    output: FrameOutput, choices: list[Choice], targets: PaddedTargets
) -> tuple[FrameOutput, Assignment, Tensor | None, Tensor | None]:
    """Join B videos into one, for :func:`memotr.tracking.lifecycle.advance`, without waiting for the device.

    Args:
        output: output for B videos.
        choices: decision for each video.
        targets: ground truth of the frame.

    Returns:
        The output as that of one video, with all detection queries first; the decision for it; for each track after the
        decision its video (N',); and the order (N',) that sorts these tracks by video. The last two are None for one
        video.
    """
    n, device, count = output.num_detections, output.boxes.device, len(choices)
    queries, objects = output.boxes.shape[1], targets.labels.shape[1]
    keep = np.concatenate([choice.track_keep for choice in choices])
    births = np.concatenate([b * n + choice.births for b, choice in enumerate(choices)])
    wanted = [np.where(c.birth_targets >= 0, b * objects + c.birth_targets, -1) for b, c in enumerate(choices)]
    arrays = [
        np.concatenate([choice.track_ids for choice in choices]),
        np.concatenate([choice.birth_ids for choice in choices]),
        np.flatnonzero(keep),
        births,
        np.concatenate(wanted),
    ]
    if count > 1:
        tracks = [b * queries + n + np.arange(len(choice.track_ids)) for b, choice in enumerate(choices)]
        rows = np.concatenate([b * queries + np.arange(n) for b in range(count)] + tracks)
        kept, born = ([int(c.track_keep.sum()) for c in choices], [len(c.births) for c in choices])
        videos = np.repeat(np.tile(np.arange(count), 2), kept + born)
        order = np.argsort(videos, kind="stable")
        arrays += [rows, videos[order], order]
    joined = upload(np.concatenate(arrays), device).split([len(array) for array in arrays])
    track_ids, birth_ids, kept_rows, births, birth_targets, *more = joined
    output = output.join(more[0] if more else None)
    from_initial = birth_targets < 0
    labels = torch.where(from_initial, output.logits[births].argmax(dim=1), targets.labels.flatten()[birth_targets])
    assignment = Assignment(
        track_ids=track_ids,
        track_keep=None if keep.all() else kept_rows,
        disappear_time=torch.zeros_like(track_ids),
        births=births,
        birth_ids=birth_ids,
        birth_labels=labels,
        birth_from_initial=from_initial,
    )
    return output, assignment, *(more[1:] if more else (None, None))


def frames_are_independent(model: nn.Module) -> bool:
    """Return whether encoding frames in one batch equals encoding them one by one: no batch statistics, no dropout."""
    for module in model.modules():
        settings = getattr(getattr(module, "config", None), "__dict__", {})  # of a backbone of transformers
        rates = [value for name, value in settings.items() if "drop" in name]
        rates += [getattr(module, name, None) for name in ("p", "drop_prob", "dropout")]
        if isinstance(module, _BatchNorm) or any(isinstance(rate, int | float) and rate > 0 for rate in rates):
            return False
    return True


@contextmanager
def cast_cache(enabled: bool) -> Iterator[None]:
    """Switch autocast's cache of cast weights on or off.

    Weights that were cast without gradient must not be reused by frames with gradient, which would get none (PyTorch
    issue 112583).
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(before and enabled)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


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
        """Return the loss to minimise, and a detached vector (8,) of the loss and its parts."""
        result = self.runner(clip, no_grad_frames, generator)
        return result.total, torch.cat((result.total.detach()[None], result.parts))


def make_clip_loss(model: MeMOTR, training: TrainingConfig) -> ClipLoss:
    """Return the module with the loss weights and perturbation rates of the settings."""
    perturbation = training.drop_rate, training.insert_rate, training.keep_strays
    return ClipLoss(ClipRunner(model, training.loss, *perturbation, training.frames_at_once))
