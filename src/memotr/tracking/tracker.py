"""Tracker that returns the tracks of each frame and keeps a memory between frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.data.preprocess import preprocess_on
from memotr.models.inference import for_inference
from memotr.models.memotr import MeMOTR
from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance
from memotr.tracking.motion import extrapolate
from memotr.tracking.precision import autocast_dtype, exact_convolutions
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker, as_table
from memotr.tracks import Tracks
from memotr.vocabulary import Precision

Forward = Callable[[ImageBatch, Sequence[TrackState]], list[FrameOutput]]
"""Forward pass of B images with B track states; returns B outputs."""


class Tracker(VideoTracker):
    """Tracker of the objects of one video.

    Several trackers may share one model: each has its own memory and its own ids. Time and memory per frame depend on
    the number of visible objects, not on the length of the video.

    Args:
        model: model from :func:`memotr.load_model`; put in evaluation mode, left on its device. Later changes of its
            weights or kernel may have no effect.
        det_thresh: lowest score of a detection that starts a track, in [0, 1].
        track_thresh: score below which a track counts as unseen, in [0, 1].
        result_thresh: score above which a track is reported, in [0, 1].
        miss_tolerance: number of consecutive unseen frames after which a track ends.
        min_area: area above which a box is reported, in square pixels of the frame.
        precision: numerical precision of the network: "32" (exact, without TF32), "bf16" or "fp16".
        preprocess_on_device: resize and normalise frames on the device of the network, which is faster on a GPU;
            results may differ in the last bits.

        All thresholds default to those of the model's configuration.

    Raises:
        memotr.errors.UserError: a threshold is out of range, or the precision is unknown.
    """

    def __init__(
        self,
        model: MeMOTR,
        *,
        det_thresh: float | None = None,
        track_thresh: float | None = None,
        result_thresh: float | None = None,
        miss_tolerance: int | None = None,
        min_area: float | None = None,
        precision: Precision = "32",
        preprocess_on_device: bool = False,
    ) -> None:
        super().__init__(model.config, det_thresh, track_thresh, result_thresh, miss_tolerance, min_area)
        self.model = model.eval()
        if preprocess_on_device:
            self.preprocess = partial(preprocess_on, model.device)
        self.dtype = autocast_dtype(precision)
        self.network = for_inference(model, self.dtype)
        self.forward: Forward = self._forward
        self.reset()

    def another(self) -> Tracker:
        """Return a tracker of another video with the same network and settings and its own memory."""
        other = copy.copy(self)
        other.reset()
        return other

    def prepare(self, frame: NDArray[np.uint8] | Tensor) -> PreparedFrame:
        prepared = super().prepare(frame)
        if self.model.device.type == "cuda" and prepared.images.pixels.device.type == "cpu":
            return replace(prepared, images=prepared.images.pin_memory())
        return prepared

    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""
        motion = self.settings.motion
        self.tracks: TrackState = self.model.no_tracks(history=motion.max_length if motion.enabled else 0)
        self.next_id = 0
        self.frame = 0
        self.full = False

    @torch.inference_mode()
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        s = self.settings
        (output,) = self.forward(images.to(self.model.device), [self.tracks])
        output = output.float()  # decisions and memory are always exact
        choice = gate(
            output,
            self.tracks,
            det_thresh=s.det_thresh,
            track_thresh=s.track_thresh,
            miss_tolerance=s.miss_tolerance,
            next_id=self.next_id,
            max_tracks=s.max_tracks,
        )
        tracks = self.network.memory(advance(self.tracks, output, choice))
        if s.motion.enabled:
            tracks = extrapolate(tracks, s.motion.min_length, s.motion.weight)
        self.tracks = tracks
        self.next_id += len(choice.births)
        self.frame += 1
        table = as_table(tracks.boxes, tracks.scores.amax(dim=1), tracks.ids, tracks.labels)
        return self._report(table.cpu().numpy(), height, width)

    @torch.inference_mode()
    def _forward(self, images: ImageBatch, tracks: Sequence[TrackState]) -> list[FrameOutput]:
        autocast = torch.autocast(self.model.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)
        with autocast, exact_convolutions(self.dtype is None):
            output: FrameOutput = self.network(images, tracks)
        return [output[b] for b in range(len(tracks))]
