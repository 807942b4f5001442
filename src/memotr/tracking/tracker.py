"""The tracker: one frame in, the tracks of that frame out, and a memory in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.boxes import cxcywh_to_xyxy
from memotr.data.preprocess import preprocess
from memotr.errors import UserError
from memotr.io.sources import open_source
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch, TrackState
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance
from memotr.tracking.motion import extrapolate
from memotr.tracks import Tracks

Precision = Literal["32", "bf16", "fp16"]


class Tracker:
    """Follows the objects of one video.

    Several trackers may share one model: each has its own memory and its own ids. Time and memory per frame depend on
    the number of objects in sight, not on the length of the video.

    Args:
        model: from :func:`memotr.load_model`; put in evaluation mode, left on its device.
        det_thresh: a detection that scores at least this begins a track, in [0, 1].
        track_thresh: a track that scores less counts as unseen, in [0, 1].
        result_thresh: only tracks that score more are reported, in [0, 1].
        miss_tolerance: frames in a row after which an unseen track ends.
        min_area: boxes are reported above this area, in square pixels of the frame.
        precision: "32", or "bf16" / "fp16" for the heavy arithmetic.

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
    ) -> None:
        given = {
            "det_thresh": det_thresh,
            "track_thresh": track_thresh,
            "result_thresh": result_thresh,
            "miss_tolerance": miss_tolerance,
            "min_area": min_area,
        }
        if precision not in get_args(Precision):
            raise UserError(f"there is no precision {precision!r}: take {', '.join(get_args(Precision))}")
        self.model = model.eval()
        self.settings = model.config.tracking.override({k: v for k, v in given.items() if v is not None})
        self.precision: Precision = precision
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame begins a new video, with ids from 0."""
        motion = self.settings.motion
        self.tracks: TrackState = self.model.no_tracks(history=motion.max_length if motion.enabled else 0)
        self.next_id = 0
        self.frame = 0

    def update(self, frame: NDArray[np.uint8] | Tensor) -> Tracks:
        """Look at the next frame of the video.

        Args:
            frame: RGB, (H, W, 3), uint8.

        Returns:
            The objects in sight, boxes in pixels of ``frame``.

        Raises:
            ValueError: the frame has another shape or type.
        """
        image = frame.cpu().numpy() if isinstance(frame, Tensor) else frame
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"expected an RGB frame (H, W, 3) of uint8, got {image.dtype} {tuple(image.shape)}")
        size = self.model.config.input
        pixels = preprocess(image, size.short_side, size.longest_side)
        return self.step(ImageBatch.from_images([pixels]), image.shape[0], image.shape[1])

    @torch.inference_mode()
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        """:meth:`update` for a frame that is already normalised and padded (a batch of one).

        Args:
            images: the frame as the network takes it.
            height: of the original frame in pixels, the unit of the boxes returned.
            width: likewise.
        """
        s = self.settings
        with self._autocast():
            output = self.model(images.to(self.model.device), [self.tracks])[0]
        output = output.float()  # decisions and memory are always exact
        choice = gate(
            output,
            self.tracks,
            det_thresh=s.det_thresh,
            track_thresh=s.track_thresh,
            miss_tolerance=s.miss_tolerance,
            next_id=self.next_id,
        )
        tracks = self.model.memory(advance(self.tracks, output, choice))
        if s.motion.enabled:
            tracks = extrapolate(tracks, s.motion.min_length, s.motion.weight)
        self.tracks = tracks
        self.next_id += len(choice.births)
        self.frame += 1
        return self._report(tracks, height, width)

    def track(self, source: str | Path) -> Iterator[Tracks]:
        """Follow the objects of a whole source, frame by frame, from a fresh memory.

        Args:
            source: a video file, a folder of images, a MOT sequence folder, a camera number or a stream's URL.

        Yields:
            The tracks of each frame.

        Raises:
            memotr.errors.UserError: the source is missing or cannot be read.
        """
        self.reset()
        with open_source(source) as frames:
            for frame in frames:
                yield self.update(frame.image)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.model.device.type, dtype=dtype)

    def _report(self, tracks: TrackState, height: int, width: int) -> Tracks:
        """What is said of the frame: one copy from the device, the rest in NumPy."""
        size = torch.tensor([width, height, width, height], dtype=torch.float32, device=tracks.boxes.device)
        columns = (
            cxcywh_to_xyxy(tracks.boxes.float()) * size,
            tracks.scores.float().amax(dim=1, keepdim=True),
            tracks.ids[:, None],
            tracks.labels[:, None],
        )
        table = torch.cat([column.double() for column in columns], dim=1).cpu().numpy()  # (N, 7)
        area = (table[:, 2] - table[:, 0]) * (table[:, 3] - table[:, 1])
        table = table[(table[:, 4] > self.settings.result_thresh) & (area > self.settings.min_area)]
        return Tracks(
            ids=table[:, 5].astype(np.int64),
            boxes=table[:, :4].astype(np.float32),
            scores=table[:, 4].astype(np.float32),
            labels=table[:, 6].astype(np.int64),
            frame=self.frame - 1,
            class_names=self.model.config.classes,
        )
