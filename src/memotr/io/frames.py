"""What every source of frames has in common: the frame, the choice of frames, the source itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError

DEFAULT_FPS = Fraction(25)  # of sources that do not say: folders of images, some streams


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        index: its number in the whole source, from 0. Frames left out by start or stride are counted and so are
            unreadable images that were skipped: frame 100 of a video is frame 100 however it was reached. MOT files
            number from 1, so they say ``index + 1``.
        image: (H, W, 3) uint8 RGB, upright.
        time: seconds since the first frame of the source.
        file_name: name of the image file; None for video.
    """

    index: int
    image: NDArray[np.uint8]
    time: float
    file_name: str | None = None


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are wanted: ``start``, ``start + stride``, … below ``end``, at most ``max_frames``.

    Raises:
        UserError: no frame can ever be chosen.
    """

    start: int = 0
    end: int | None = None
    stride: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise UserError(f"start is {self.start}; frames are numbered from 0")
        if self.stride < 1:
            raise UserError(f"stride is {self.stride}; use 1 for every frame, 2 for every second one")
        if self.max_frames is not None and self.max_frames < 1:
            raise UserError(f"max-frames is {self.max_frames}; at least 1 frame is needed")
        if self.end is not None and self.end <= self.start:
            raise UserError(
                f"end is {self.end} and start {self.start}; end is the first frame left out, so make it larger"
            )

    @property
    def stop(self) -> int | None:
        """The first frame number behind all chosen ones; None if only the source ends them."""
        stops = [] if self.end is None else [self.end]
        if self.max_frames is not None:
            stops.append(self.start + (self.max_frames - 1) * self.stride + 1)
        return min(stops, default=None)

    def indices(self, count: int) -> range:
        """The chosen numbers among ``count`` frames."""
        return range(self.start, count if self.stop is None else min(count, self.stop), self.stride)

    def __contains__(self, index: int) -> bool:
        return index >= self.start and (index - self.start) % self.stride == 0 and not self.passed(index)

    def passed(self, index: int) -> bool:
        """Whether no chosen frame has this number or a higher one."""
        return self.stop is not None and index >= self.stop


class Source(ABC):
    """Frames to iterate over, once, inside a ``with`` statement.

    Attributes:
        name: what its output files are called, without ending.
        kind: "video", "stream", "camera", "images" or "sequence".
        fps: chosen frames per second of the source's time (the source's rate divided by the stride).
        frame_count: chosen frames, as far as known beforehand: None for cameras and live streams, and an estimate for
            containers that only know their duration.
        live: frames come at their own pace, and those that nobody fetches in time are lost.
        file: the file that is read, if it is one.
        pixel_aspect: width of a pixel divided by its height, where they differ. Boxes count stored pixels either way.
        broke_off: reading ended in an error before the source's end; set after the last frame, and a note says where.
        notes: what went wrong without being an error (damage, skipped files), one sentence each; complete after the
            last frame.
    """

    live = False
    broke_off = False
    file: Path | None = None
    pixel_aspect: Fraction | None = None

    def __init__(
        self,
        name: str,
        kind: str,
        fps: Fraction,
        frame_count: int | None,
        selection: Selection,
        *,
        exact: bool = True,
    ) -> None:
        """Args: exact: ``frame_count`` (of all frames) is no estimate."""
        self.name = name
        self.kind = kind
        self.fps = fps / selection.stride
        self.selection = selection
        self.frame_count = None if frame_count is None else len(selection.indices(frame_count))
        self.notes: list[str] = []
        if exact and selection.start and frame_count is not None and selection.start >= frame_count:
            raise UserError(
                f"{name} has {frame_count} frames, numbered from 0; start {selection.start} is behind the last"
            )

    @abstractmethod
    def __iter__(self) -> Generator[Frame, None, None]:
        """The chosen frames in order.

        Raises:
            UserError: a frame cannot be read, or there is none.
        """

    def close(self) -> None:
        """Let go of the file or device; harmless when repeated."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
