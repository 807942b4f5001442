"""Frame, selection of frames, and base class of sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.filenames import clean_filename

if TYPE_CHECKING:
    from memotr.io.sound import Sound

DEFAULT_FPS = Fraction(25)  # for sources without a rate: folders of images, some streams
MIN_FPS, MAX_FPS = Fraction(1, 1000), 1000  # frames per second


def frame_rate(fps: float | Fraction) -> Fraction:
    """Return a number of frames per second as a fraction. Raises UserError if it is out of range."""
    if not MIN_FPS <= fps <= MAX_FPS:  # NaN, too
        raise UserError(f"fps is {fps}; expected a number of frames per second from {float(MIN_FPS)} to {MAX_FPS}")
    return Fraction(fps).limit_denominator(100_000)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        index: number in the whole source, from 0. Frames that are left out (before the start, by the stride, unreadable
            or missing images of a MOT sequence) count, too, so frame 100 of a video is always frame 100. MOT files
            count from 1 and contain ``index + 1``.
        image: (H, W, 3) uint8 RGB, upright.
        time: seconds since the first frame of the source, those of missing frames included.
        file_name: name of the image file; None for video.
    """

    index: int
    image: NDArray[np.uint8]
    time: float
    file_name: str | None = None


@dataclass(frozen=True)
class Selection:
    """Selection of frames: ``start``, ``start + stride``, … below ``end``, at most ``max_frames``.

    Raises:
        UserError: the selection is empty for every source.
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
                f"end is {self.end} and start {self.start}; end is the frame to stop before, so it must be larger"
            )

    @property
    def stop(self) -> int | None:
        """First frame number after all selected ones; None if only the source's end limits them."""
        stops = [] if self.end is None else [self.end]
        if self.max_frames is not None:
            stops.append(self.start + (self.max_frames - 1) * self.stride + 1)
        return min(stops, default=None)

    def indices(self, count: int) -> range:
        """Return the selected numbers among ``count`` frames."""
        return range(self.start, count if self.stop is None else min(count, self.stop), self.stride)

    def __contains__(self, index: int) -> bool:
        return index >= self.start and (index - self.start) % self.stride == 0 and not self.passed(index)

    def passed(self, index: int) -> bool:
        """Return whether a frame number is beyond all selected ones."""
        return self.stop is not None and index >= self.stop


class Source(ABC):
    """Iterable of frames, to be read once inside a ``with`` statement.

    Args:
        name: name of the source, from which names of output files are derived.
        kind: "video", "stream", "camera", "images" or "sequence".
        fps: frame rate of the source.
        frame_count: number of all frames; None if it is not known.
        selection: selection of frames.
        exact: False if ``frame_count`` is an estimate.

    Attributes:
        name: name of the output files, without suffix.
        kind: "video", "stream", "camera", "images" or "sequence".
        fps: number of selected frames per second: the rate of the source divided by the stride.
        frame_count: number of selected frames; None for cameras and live streams, and an estimate for containers that
            only know their duration.
        live: frames arrive in real time and are lost if they are not read in time.
        file: video file that is read; None for other sources.
        pixel_aspect: width of a pixel divided by its height; None if they are equal. Boxes are in stored pixels.
        sound: sound that belongs to the frames; None for sources without, and where frames are left out.
        broke_off: reading ended in an error before the source's end; set after the last frame, with a note.
        notes: sentences about problems that are not errors (damage, skipped files); complete after the last frame.
    """

    live = False
    broke_off = False
    file: Path | None = None
    pixel_aspect: Fraction | None = None
    sound: Sound | None = None

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
        self.name = clean_filename(name)
        self.kind = kind
        self.fps = fps / selection.stride
        self.selection = selection
        self.frame_count = None if frame_count is None else len(selection.indices(frame_count))
        self.notes: list[str] = []
        if exact and selection.start and frame_count is not None and selection.start >= frame_count:
            raise UserError(
                f"{name} has {frame_count} frames, numbered from 0; start {selection.start} is beyond the last one"
            )

    @abstractmethod
    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield the selected frames in order.

        Raises:
            UserError: a frame cannot be read, or the source has no frames.
        """

    def close(self) -> None:
        """Close the file or device; can be called repeatedly."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
