"""The tracker: one frame in, the tracks of that frame out, and a memory in between."""

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
from memotr.tracking.precision import Precision, autocast_dtype, exact_convolutions
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker, as_table
from memotr.tracks import Tracks

Look = Callable[[ImageBatch, Sequence[TrackState]], list[FrameOutput]]
"""From B images and the tracks followed in each to what the model says of each."""


class Tracker(VideoTracker):
    """Follows the objects of one video.

    Several trackers may share one model: each has its own memory and its own ids. Time and memory per frame depend on
    the number of objects in sight, not on the length of the video.

    Args:
        model: from :func:`memotr.load_model`; put in evaluation mode, left on its device. Its weights and kernel are
            taken as they are now: what is changed later may not be noticed.
        det_thresh: a detection that scores at least this begins a track, in [0, 1].
        track_thresh: a track that scores less counts as unseen, in [0, 1].
        result_thresh: only tracks that score more are reported, in [0, 1].
        miss_tolerance: frames in a row after which an unseen track ends.
        min_area: boxes are reported above this area, in square pixels of the frame.
        precision: "32" (exact: no TF32), or "bf16" / "fp16" for the heavy arithmetic.
        preprocess_on_device: resize and normalise frames where the network is: quicker on a GPU, and not to the same
            bits.

        All thresholds default to those of the model's configuration.

    Raises:
        memotr.errors.UserError: a threshold is out of range, or there is no such precision.
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
        self.look: Look = self._look
        self.reset()

    def another(self) -> Tracker:
        """A tracker of another video, with the same network and settings and a memory of its own."""
        other = copy.copy(self)
        other.reset()
        return other

    def prepare(self, frame: NDArray[np.uint8] | Tensor) -> PreparedFrame:
        prepared = super().prepare(frame)
        if self.model.device.type == "cuda" and prepared.images.pixels.device.type == "cpu":
            return replace(prepared, images=prepared.images.pin_memory())
        return prepared

    def reset(self) -> None:
        """Forget everything: the next frame begins a new video, with ids from 0."""
        motion = self.settings.motion
        self.tracks: TrackState = self.model.no_tracks(history=motion.max_length if motion.enabled else 0)
        self.next_id = 0
        self.frame = 0
        self.full = False

    @torch.inference_mode()
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        s = self.settings
        (output,) = self.look(images.to(self.model.device), [self.tracks])
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
    def _look(self, images: ImageBatch, tracks: Sequence[TrackState]) -> list[FrameOutput]:
        autocast = torch.autocast(self.model.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)
        with autocast, exact_convolutions(self.dtype is None):
            output: FrameOutput = self.network(images, tracks)
        return [output[b] for b in range(len(tracks))]
