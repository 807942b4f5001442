"""Base class of trackers: everything except the per-frame step."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.config import Config, TrackingConfig
from memotr.data.preprocess import preprocess
from memotr.io.arrays import ArraySource
from memotr.io.frames import Selection
from memotr.io.sources import open_source
from memotr.openmp import adapt_waiting
from memotr.structures import ImageBatch
from memotr.tracking.gate import explain_no_tracks
from memotr.tracks import Tracks
from memotr.vocabulary import Channels, Precision


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """Input of the network for a frame (a batch of one), and the original height and width in pixels."""

    images: ImageBatch
    height: int
    width: int


class VideoTracker(ABC):
    """Base class of trackers, which prepares frames and selects the tracks to report.

    Args:
        config: configuration of the model.
        det_thresh: replaces the setting of the configuration; None: not replaced.
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
        adapt_waiting()
        self.config = config
        self._settings = config.tracking.override({k: v for k, v in given.items() if v is not None})
        self.frame = 0
        self.full = False

    @property
    def settings(self) -> TrackingConfig:
        """Thresholds and other settings of the tracker, which are fixed."""
        return self._settings

    def explain_no_tracks(self) -> str:
        """Return a sentence for users that says why no track was reported."""
        return explain_no_tracks(self.config.classes, self.settings)

    precision: Precision = "32"
    """Numerical precision of the network."""

    smallest = 1
    """Smallest side of a padded frame in pixels."""

    @abstractmethod
    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""

    @abstractmethod
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame) -> Tracks:
        """Process the next frame of the video.

        Args:
            frame: RGB, (H, W, 3), uint8; or the result of :meth:`prepare`.

        Returns:
            The tracks of the frame, boxes in pixels of the frame.

        Raises:
            ValueError: the frame has another shape or type.
        """

    def step(self, images: ImageBatch, height: int, width: int) -> Tracks:
        """Process a frame that is already normalised and padded (a batch of one).

        Args:
            images: input of the network.
            height: height of the original frame in pixels, the unit of the returned boxes.
            width: width of the original frame in pixels.
        """
        return self.update(PreparedFrame(images, height, width))

    def _prepared(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame) -> PreparedFrame:
        return frame if isinstance(frame, PreparedFrame) else self.prepare(frame)

    def prepare(self, frame: NDArray[np.uint8] | Tensor) -> PreparedFrame:
        """Resize, normalise and pad a frame. Another thread may do this ahead of :meth:`update`.

        Raises:
            ValueError: the frame has another shape or type.
        """
        image = _as_image(frame)
        size = self.config.input
        pixels = self._preprocess(image, size.short_side, size.longest_side)
        return PreparedFrame(ImageBatch.from_images([pixels], smallest=self.smallest), image.shape[0], image.shape[1])

    def _preprocess(self, image: NDArray[np.uint8], short_side: int, longest_side: int) -> Tensor:
        return preprocess(image, short_side, longest_side)

    def track(
        self,
        source: str | Path | int | Iterable[NDArray[np.uint8]],
        *,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        max_frames: int | None = None,
        skip_bad: bool = False,
        stream: int | None = None,
        channels: Channels = "rgb",
    ) -> Iterator[Tracks]:
        """Track the objects of a whole source frame by frame, after a reset.

        Args:
            source: video file, folder of images, MOT sequence folder, camera number, address of a stream, or an
                iterable of frames (H, W, 3) of uint8, such as a list, a generator or an array (T, H, W, 3).
            start: number of the first frame, from 0.
            end: number of the first frame to leave out; None for the source's end.
            stride: take every ``stride``-th frame.
            max_frames: largest number of frames to take.
            skip_bad: skip images of a folder that cannot be read.
            stream: number of the video stream in a file that has several; None: the main one.
            channels: order of the colours of an iterable's frames, "rgb" or, as OpenCV has it, "bgr".

        Yields:
            The tracks of each frame, with its ``image`` (RGB), its ``time`` in seconds and its number in the source.

        Raises:
            memotr.errors.UserError: the source is missing or cannot be read, or the selection of frames is empty.
            ValueError: a frame of an iterable has another shape or type.
        """
        self.reset()
        if isinstance(source, str | Path | int):
            opened = open_source(
                str(source),
                start=start,
                end=end,
                stride=stride,
                max_frames=max_frames,
                skip_bad=skip_bad,
                stream=stream,
            )
        else:
            opened = ArraySource(source, selection=Selection(start, end, stride, max_frames), channels=channels)
        with opened as frames:
            for frame in frames:
                tracks = self.update(frame.image)
                yield replace(tracks, frame=frame.index, time=frame.time, image=frame.image)
            for note in frames.notes:
                warnings.warn(note, stacklevel=2)

    def _report(self, table: NDArray[np.float64], frame: PreparedFrame) -> Tracks:
        """Return the tracks of a frame that are reported.

        Args:
            table: (N, 7) from :func:`memotr.tracking.step.as_table`.
            frame: the frame that it is of.
        """
        most = self.settings.max_tracks
        if len(table) >= most and not self.full:
            self.full = True  # warn once per video
            warnings.warn(
                f"frame {self.frame - 1}: {most:,} tracks are followed, as many as tracking.max_tracks allows: of "
                "detections only the best begin a track from here on (are the thresholds too low?)",
                stacklevel=2,
            )
        boxes = table[:, :4].astype(np.float32) * np.array([frame.width, frame.height] * 2, np.float32)
        area = (boxes[:, 2].astype(np.float64) - boxes[:, 0]) * (boxes[:, 3].astype(np.float64) - boxes[:, 1])
        reported = (table[:, 4] > self.settings.result_thresh) & (area > self.settings.min_area) & np.isfinite(area)
        return Tracks(
            ids=table[reported, 5].astype(np.int64),
            boxes=boxes[reported],
            scores=table[reported, 4].astype(np.float32),
            labels=table[reported, 6].astype(np.int64),
            frame=self.frame - 1,
            class_names=self.config.classes,
        )


def _as_image(frame: Any) -> NDArray[np.uint8]:
    """Return a frame as an array. Raises ValueError for anything but an RGB frame."""
    if isinstance(frame, Tensor) and frame.dtype == torch.uint8:
        frame = frame.cpu().numpy()
    if not isinstance(frame, np.ndarray):
        found = f"a tensor of {frame.dtype}" if isinstance(frame, Tensor) else type(frame).__name__
        ended = "; OpenCV gives None where a video has ended or a file is not there" if frame is None else ""
        raise ValueError(f"expected an RGB frame (H, W, 3) of uint8, got {found}{ended}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"expected an RGB frame (H, W, 3) of uint8, got {frame.dtype} {tuple(frame.shape)}")
    return frame
