"""Tracker that returns the tracks of each frame and keeps a memory between frames."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.data.preprocess import preprocess_on
from memotr.errors import UserError
from memotr.models.inference import for_inference
from memotr.models.memotr import MeMOTR
from memotr.structures import TrackState
from memotr.tracking.graphs import GraphedStep, capture_on
from memotr.tracking.precision import autocast_dtype, products_in, resolve_precision
from memotr.tracking.slots import Rows, RunSlots, Slots, SlotStep
from memotr.tracking.step import FrameStep, Limits, Network
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker
from memotr.tracks import Tracks
from memotr.vocabulary import Channels, GraphMode, Precision
from memotr.weights.model_files import load_model


class Tracker(VideoTracker):
    """Tracker of the objects of one video.

    Several trackers may share one model: each has its own memory and its own ids. Time and memory per frame depend on
    the number of visible objects, not on the length of the video.

    Args:
        model: model from :func:`memotr.load_model`; put in evaluation mode, left on its device. Later changes of its
            weights or kernel may have no effect. Or an argument of that function: a name of weights, or a file.
        device: device for weights given by name or file; not used if ``model`` is a model.
        det_thresh: lowest score of a detection that starts a track, in [0, 1].
        track_thresh: score below which a track counts as unseen, in [0, 1].
        result_thresh: score above which a track is reported, in [0, 1].
        miss_tolerance: number of consecutive unseen frames after which a track ends.
        min_area: area above which a box is reported, in square pixels of the frame.
        precision: numerical precision of the network: "32" (exact, without TF32), "tf32", "bf16", "fp16", or "auto",
            which is "tf32" on CUDA and "32" elsewhere.
        preprocess_on_device: resize and normalise frames on the device of the network, with bitwise equal results;
            None: only on CUDA, where it is faster.
        graph: "auto" captures the frame step on CUDA as a graph when two consecutive frames have the same size; "off"
            runs it eagerly.
        decoder_layers: number of first layers of the decoder to use, which is faster and less accurate; None: all.
        network: network to run in place of the model's own, such as a :class:`memotr.tracking.batch.Batch`; only a
            :class:`memotr.models.memotr.MeMOTR` is captured.

        All thresholds default to those of the model's configuration.

    Raises:
        memotr.errors.UserError: a threshold is out of range, or the precision is unknown or not available on the
            device.
    """

    def __init__(
        self,
        model: MeMOTR | str | Path,
        *,
        device: str | torch.device = "auto",
        det_thresh: float | None = None,
        track_thresh: float | None = None,
        result_thresh: float | None = None,
        miss_tolerance: int | None = None,
        min_area: float | None = None,
        precision: Precision = "auto",
        preprocess_on_device: bool | None = None,
        graph: GraphMode = "auto",
        decoder_layers: int | None = None,
        network: Network | None = None,
    ) -> None:
        if graph not in get_args(GraphMode):
            raise UserError(f"there is no graph mode {graph!r}: take {', '.join(get_args(GraphMode))}")
        if not isinstance(model, MeMOTR):
            model = load_model(model, device=device)
        super().__init__(model.config, det_thresh, track_thresh, result_thresh, miss_tolerance, min_area)
        self.model = model.eval()
        self.device, self.preprocess_on_device, self.graph = model.device, preprocess_on_device, graph
        self.precision = resolve_precision(precision, self.device)
        self.dtype = autocast_dtype(self.precision)
        self.network: Network = for_inference(model, self.dtype, decoder_layers) if network is None else network
        s, motion = self.settings, self.settings.motion
        limits = Limits(
            s.det_thresh,
            s.track_thresh,
            s.miss_tolerance,
            s.max_tracks,
            (motion.min_length, motion.weight) if motion.enabled else None,
        )
        self.frame_step = FrameStep(self.network, limits, self.dtype)
        self._run_slots = self._make_run_slots()
        self.reset()

    def _make_run_slots(self) -> RunSlots | None:
        """Return a function that runs the step with slots; None: the step runs eagerly, without slots."""
        capture = capture_on(self.device) if self.graph == "auto" else None
        if capture is None or not isinstance(self.network, MeMOTR):
            return None
        return GraphedStep(SlotStep(self.frame_step), self.network, capture)

    def another(self, network: Network | None = None) -> Tracker:
        """Return a tracker of another video with the same settings, its own memory, and the same or another network."""
        s = self.settings
        if network is None:
            network = copy.copy(self.network)
            if isinstance(network, MeMOTR):
                network.layouts = {}  # separate cache, for the frame size of its own video
        return Tracker(
            self.model,
            det_thresh=s.det_thresh,
            track_thresh=s.track_thresh,
            result_thresh=s.result_thresh,
            miss_tolerance=s.miss_tolerance,
            min_area=s.min_area,
            precision=self.precision,
            preprocess_on_device=self.preprocess_on_device,
            graph=self.graph,
            network=network,
        )

    @property
    def tracks(self) -> TrackState:
        """The tracks after the last frame."""
        return self.video.tracks

    @property
    def next_id(self) -> int:
        """The id of the next track to start."""
        return self.video.next_id

    def prepare(self, frame: NDArray[np.uint8] | Tensor, channels: Channels = "rgb") -> PreparedFrame:
        """Prepare a frame as the base class does; if the device is CUDA, there or in page-locked memory."""
        prepared = super().prepare(frame, channels)
        if self.device.type != "cuda":
            return prepared
        if prepared.images.pixels.device.type == "cpu":
            return replace(prepared, images=prepared.images.pin_memory())
        return replace(prepared, ready=torch.cuda.current_stream(self.device).record_event())  # of this thread

    def _preprocess(self, image: NDArray[np.uint8], short_side: int, longest_side: int) -> Tensor:
        chosen = self.preprocess_on_device
        if self.device.type == "cuda" if chosen is None else chosen:
            return preprocess_on(self.device, image, short_side, longest_side)
        return super()._preprocess(image, short_side, longest_side)

    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""
        tracks, run = self._first_tracks(), self._run_slots
        self.video = Rows(self.frame_step, tracks, len(tracks)) if run is None else Slots(run, tracks, len(tracks))
        self.frame = 0
        self.full = False

    def _first_tracks(self) -> TrackState:
        """Return the tracks before the first frame of a video."""
        motion = self.settings.motion
        return self.model.no_tracks(history=motion.max_length if motion.enabled else 0)

    @torch.inference_mode()
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame, channels: Channels = "rgb") -> Tracks:
        """Track the next frame.

        Args:
            frame: (H, W, 3), uint8; or the result of :meth:`prepare`.
            channels: order of the colours of the frame, "rgb" or, as OpenCV has it, "bgr".

        Raises:
            ValueError: the frame has another shape or type.
            memotr.errors.UserError: the model was moved to another device.
        """
        if self.model.device != self.device:
            raise UserError(f"the model was moved from {self.device} to {self.model.device}: create a new tracker")
        prepared = self._prepared(frame, channels)
        if prepared.ready is not None:
            torch.cuda.current_stream(self.device).wait_event(prepared.ready)
        with products_in(self.precision):
            table = self.video.advance(prepared.images.to(self.device))
        self.frame += 1
        return self._report(table, prepared)
