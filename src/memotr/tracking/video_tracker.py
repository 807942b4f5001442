"""Base class of trackers: everything except the per-frame step."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.config import Config, TrackingConfig
from memotr.data.preprocess import preprocess
from memotr.errors import warn, wrong_type
from memotr.io.arrays import ArraySource, as_rgb, check_frame
from memotr.io.frames import DEFAULT_FPS, Selection
from memotr.io.sources import open_source
from memotr.openmp import adapt_waiting
from memotr.structures import ImageBatch
from memotr.tracking.gate import explain_no_tracks
from memotr.tracks import Tracks
from memotr.vocabulary import Channels, Precision


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """Input of the network for a frame (a batch of one).

    Attributes:
        images: normalised and padded image.
        height: original height in pixels.
        width: original width in pixels.
        ready: CUDA event after which the image is complete; None if it is already, or on the stream of the update.
    """

    images: ImageBatch
    height: int
    width: int
    ready: torch.cuda.Event | None = None


class VideoTracker(ABC):
    """Base class of trackers, which prepares frames and selects the tracks to report.

    Args:
        config: configuration of the model.
        det_thresh: see :class:`memotr.Tracker`; None: as in the configuration, also for the next arguments.
        track_thresh: see :class:`memotr.Tracker`.
        result_thresh: see :class:`memotr.Tracker`.
        miss_tolerance: see :class:`memotr.Tracker`.
        min_area: see :class:`memotr.Tracker`.

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
        """Thresholds and other settings of the tracker, which cannot be changed."""
        return self._settings

    def explain_no_tracks(self) -> str:
        """Return an explanation for users why no track may have been reported."""
        return explain_no_tracks(self.config.classes, self.settings)

    precision: Precision = "32"
    """Numerical precision of the network."""

    smallest = 1
    """Smallest side of a padded frame in pixels."""

    @abstractmethod
    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""

    @abstractmethod
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame, channels: Channels = "rgb") -> Tracks:
        """Process the next frame of the video.

        Args:
            frame: (H, W, 3), uint8; or the result of :meth:`prepare`.
            channels: order of the colours of the frame: "rgb", or "bgr" as in OpenCV.

        Returns:
            The reported tracks, with xyxy boxes in pixels of the frame.

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

    def _prepared(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame, channels: Channels) -> PreparedFrame:
        if not isinstance(frame, PreparedFrame):
            return self.prepare(frame, channels)
        if channels != "rgb":
            raise ValueError("a prepared frame is RGB: pass channels to prepare() instead")
        return frame

    def prepare(self, frame: NDArray[np.uint8] | Tensor, channels: Channels = "rgb") -> PreparedFrame:
        """Resize, normalise and pad a frame. Another thread may do this ahead of :meth:`update`.

        Raises:
            ValueError: the frame has another shape or type.
        """
        image = as_rgb(check_frame(_to_numpy(frame)), channels)
        size = self.config.input
        pixels = self._preprocess(image, size.short_side, size.longest_side)
        return PreparedFrame(ImageBatch.from_images([pixels], smallest=self.smallest), image.shape[0], image.shape[1])

    def _preprocess(self, image: NDArray[np.uint8], short_side: int, longest_side: int) -> Tensor:
        return preprocess(image, short_side, longest_side)

    def track(
        self,
        source: str | os.PathLike[str] | int | Iterable[NDArray[np.uint8]],
        *,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        max_frames: int | None = None,
        skip_bad: bool = False,
        stream: int | None = None,
        fps: float | None = None,
        channels: Channels = "rgb",
    ) -> Iterator[Tracks]:
        """Track the objects of a whole source frame by frame, after a reset.

        Args:
            source: video file, folder of images, MOT sequence folder, camera number, address of a stream, or an
                iterable of frames (H, W, 3) of uint8, such as a list, a generator or an array (T, H, W, 3).
            start: number of the first frame, from 0.
            end: number of the first frame to leave out; None for the source's end.
            stride: take every ``stride``-th frame.
            max_frames: maximum number of frames to take.
            skip_bad: skip images of a folder that cannot be read.
            stream: number of the video stream in a file that has several; None: the main one.
            fps: frames per second of a folder of images or an iterable; None: 25, or what ``seqinfo.ini`` says.
            channels: order of the colours in frames of an iterable: "rgb", or "bgr" as in OpenCV.

        Yields:
            The tracks of each frame, with its ``image`` (RGB), its ``time`` in seconds and its number in the source.

        Raises:
            memotr.errors.UserError: the source is missing or cannot be read, or the selection of frames is empty.
            ValueError: a frame of an iterable has another shape or type.
        """
        self.reset()
        if isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] == 3:
            raise ValueError(f"expected frames (T, H, W, 3), got one frame {source.shape}; update(frame) takes it")
        if isinstance(source, str | os.PathLike | int | np.integer):
            opened = open_source(
                source,
                start=start,
                end=end,
                stride=stride,
                max_frames=max_frames,
                skip_bad=skip_bad,
                stream=stream,
                fps=fps,
            )
        elif not isinstance(source, Iterable):
            raise wrong_type("a file, folder, camera number or address, or frames", source)
        else:
            chosen = Selection(start, end, stride, max_frames)
            opened = ArraySource(source, fps=DEFAULT_FPS if fps is None else fps, selection=chosen, channels=channels)
        with opened as frames:
            for frame in frames:
                tracks = self.update(frame.image)
                yield replace(tracks, frame=frame.index, time=frame.time, file_name=frame.file_name, image=frame.image)
            for note in frames.notes:
                warn(note)

    def _report(self, table: NDArray[np.float64], frame: PreparedFrame) -> Tracks:
        """Return the tracks to report: score above ``result_thresh``, area above ``min_area``, finite box.

        Args:
            table: (N, 7) from :func:`memotr.tracking.step.as_table`.
            frame: the frame of the table.
        """
        max_tracks = self.settings.max_tracks
        if len(table) >= max_tracks and not self.full:
            self.full = True  # warn once per video
            warn(
                f"frame {self.frame - 1}: there are {max_tracks:,} tracks, the limit set by tracking.max_tracks: from "
                "here on, only the detections with the highest scores start tracks (are the thresholds too low?)"
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


def _to_numpy(frame: NDArray[np.uint8] | Tensor) -> NDArray[np.uint8] | Tensor:
    return frame.cpu().numpy() if isinstance(frame, Tensor) and frame.dtype == torch.uint8 else frame
