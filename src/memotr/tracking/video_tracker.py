"""All of a tracker but the step that it takes from frame to frame."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.boxes import cxcywh_to_xyxy
from memotr.config import Config
from memotr.data.preprocess import preprocess
from memotr.io.sources import open_source
from memotr.structures import ImageBatch
from memotr.tracks import Tracks


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A frame as the network takes it (a batch of one), and the height and width in pixels that it had before."""

    images: ImageBatch
    height: int
    width: int


class VideoTracker(ABC):
    """Prepares frames, and says what of a step's outcome is reported.

    Args:
        config: of the model that takes the steps.
        det_thresh: these five stand in the place of the configuration's, where they are given.
        track_thresh: likewise.
        result_thresh: likewise.
        miss_tolerance: likewise.
        min_area: likewise.

    Raises:
        memotr.errors.UserError: a threshold is out of range.
    """

    def __init__(
        self,
        config: Config,
        det_thresh: float | None,
        track_thresh: float | None,
        result_thresh: float | None,
        miss_tolerance: int | None,
        min_area: float | None,
    ) -> None:
        given = {
            "det_thresh": det_thresh,
            "track_thresh": track_thresh,
            "result_thresh": result_thresh,
            "miss_tolerance": miss_tolerance,
            "min_area": min_area,
        }
        self.config = config
        self.settings = config.tracking.override({k: v for k, v in given.items() if v is not None})
        self.frame = 0
        self.full = False
        self.preprocess: Callable[[NDArray[np.uint8], int, int], Tensor] = preprocess

    smallest = 1
    """Sides of a padded frame are at least so many pixels."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: the next frame begins a new video, with ids from 0."""

    @abstractmethod
    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        """:meth:`update` for a frame that is already normalised and padded (a batch of one).

        Args:
            images: the frame as the network takes it.
            height: of the original frame in pixels, the unit of the boxes returned.
            width: likewise.
        """

    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame) -> Tracks:
        """Look at the next frame of the video.

        Args:
            frame: RGB, (H, W, 3), uint8; or what :meth:`prepare` made of it.

        Returns:
            The objects in sight, boxes in pixels of the frame.

        Raises:
            ValueError: the frame has another shape or type.
        """
        prepared = frame if isinstance(frame, PreparedFrame) else self.prepare(frame)
        return self.step(prepared.images, prepared.height, prepared.width)

    def prepare(self, frame: NDArray[np.uint8] | Tensor) -> PreparedFrame:
        """Resize, normalise and pad a frame. Another thread may do this ahead of :meth:`update`: it uses no memory.

        Raises:
            ValueError: the frame has another shape or type.
        """
        image = _as_image(frame)
        size = self.config.input
        pixels = self.preprocess(image, size.short_side, size.longest_side)
        return PreparedFrame(ImageBatch.from_images([pixels], smallest=self.smallest), image.shape[0], image.shape[1])

    def track(self, source: str | Path | int) -> Iterator[Tracks]:
        """Follow the objects of a whole source, frame by frame, from a fresh memory.

        Args:
            source: a video file, a folder of images, a MOT sequence folder, a camera number or a stream's URL.

        Yields:
            The tracks of each frame.

        Raises:
            memotr.errors.UserError: the source is missing or cannot be read.
        """
        self.reset()
        with open_source(str(source)) as frames:
            for frame in frames:
                yield self.update(frame.image)

    def _report(self, table: NDArray[np.float64], height: int, width: int) -> Tracks:
        """What is said of the frame.

        Args:
            table: (N, 7) from :func:`as_table`.
            height: of the original frame in pixels.
            width: likewise.
        """
        most = self.settings.max_tracks
        if len(table) >= most and not self.full:
            self.full = True  # said once a video
            warnings.warn(
                f"frame {self.frame - 1}: {most:,} tracks are followed, as many as tracking.max_tracks allows: of "
                "detections only the best begin a track from here on (are the thresholds too low?)",
                stacklevel=2,
            )
        boxes = table[:, :4].astype(np.float32) * np.array([width, height] * 2, np.float32)
        area = (boxes[:, 2].astype(np.float64) - boxes[:, 0]) * (boxes[:, 3].astype(np.float64) - boxes[:, 1])
        said = (table[:, 4] > self.settings.result_thresh) & (area > self.settings.min_area)
        return Tracks(
            ids=table[said, 5].astype(np.int64),
            boxes=boxes[said],
            scores=table[said, 4].astype(np.float32),
            labels=table[said, 6].astype(np.int64),
            frame=self.frame - 1,
            class_names=self.config.classes,
        )


def _as_image(frame: Any) -> NDArray[np.uint8]:
    """The frame as an array. Raises ValueError for what is no RGB frame."""
    if isinstance(frame, Tensor) and frame.dtype == torch.uint8:
        frame = frame.cpu().numpy()
    if not isinstance(frame, np.ndarray):
        found = f"a tensor of {frame.dtype}" if isinstance(frame, Tensor) else type(frame).__name__
        ended = "; OpenCV gives None where a video has ended or a file is not there" if frame is None else ""
        raise ValueError(f"expected an RGB frame (H, W, 3) of uint8, got {found}{ended}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"expected an RGB frame (H, W, 3) of uint8, got {frame.dtype} {tuple(frame.shape)}")
    return frame


def as_table(boxes: Tensor, scores: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
    """N tracks as one tensor (N, 7) float64, to be copied from the device at once: xyxy in [0, 1], score, id, label.

    Boxes (N, 4) come as cxcywh in [0, 1], scores, ids and labels are (N,).
    """
    if boxes.device.type == "mps":  # which has no float64
        boxes, scores, ids, labels = (each.cpu() for each in (boxes, scores, ids, labels))
    columns = (cxcywh_to_xyxy(boxes.float()), scores.float()[:, None], ids[:, None], labels[:, None])
    return torch.cat([column.double() for column in columns], dim=1)
