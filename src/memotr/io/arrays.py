"""Source of frames from Python: any iterable of arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import DEFAULT_FPS, Frame, Selection, Source, frame_rate
from memotr.vocabulary import Channels


class ArraySource(Source):
    """Source of frames in memory: a list, a generator or an array (T, H, W, 3).

    Args:
        frames: frames (H, W, 3) uint8.
        fps: frames per second, for :attr:`Frame.time` and annotated video.
        channels: order of the colours, "rgb", or "bgr" as in OpenCV.
        selection: selection of frames.
        name: name from which the names of output files are made.
    """

    def __init__(
        self,
        frames: Iterable[NDArray[np.uint8]],
        *,
        fps: float | Fraction = DEFAULT_FPS,
        channels: Channels = "rgb",
        selection: Selection | None = None,
        name: str = "frames",
    ) -> None:
        count = len(frames) if isinstance(frames, list | tuple | np.ndarray) else None
        rate = frame_rate(fps)
        super().__init__(name, "images", rate, count, selection or Selection())
        self.frames, self.rate, self.channels = frames, rate, channels

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield the selected frames, in RGB."""
        frames = enumerate(self.frames)
        if (first := next(frames, None)) is None:
            raise UserError(f"{self.name}: no frames; pass at least one")
        for index, image in chain([first], frames):
            if self.selection.passed(index):
                return
            if index in self.selection:
                yield Frame(index, as_rgb(image, self.channels), float(index / self.rate))


def as_rgb(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Return an image in RGB, without a copy if it is RGB already. Other types than arrays are returned unchanged.

    Raises:
        UserError: there is no such order of colours.
    """
    if channels not in get_args(Channels):
        raise UserError(f"there is no order of colours {channels!r}: take {', '.join(get_args(Channels))}")
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" and isinstance(image, np.ndarray) else image


def check_frame(frame: Any) -> NDArray[np.uint8]:
    """Return a frame unchanged. Raises ValueError for anything but an array (H, W, 3) of uint8, with the remedy."""
    if isinstance(frame, np.ndarray):
        if frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8 and 0 not in frame.shape:
            return frame
        found = f"{frame.dtype} {tuple(frame.shape)}"
    else:
        found = f"{type(frame).__name__} of {frame.dtype}" if hasattr(frame, "dtype") else type(frame).__name__
    raise ValueError(f"expected a frame (H, W, 3) of uint8, got {found}{_remedy(frame)}")


def _remedy(frame: Any) -> str:
    """Return what makes a frame of something that is none, as the end of a message; "" if that is not known."""
    if frame is None:
        return "; OpenCV returns None at the end of a video and for a missing file"
    if isinstance(frame, str | Path):
        return "; track(...) takes files and folders"
    if not isinstance(frame, np.ndarray):
        return "; np.asarray(frame) makes an array of an image of Pillow" if hasattr(frame, "getbands") else ""
    if frame.dtype != np.uint8:
        return "; pixels count from 0 to 255: of values from 0 to 1 make (255 * frame).astype(np.uint8)"
    match frame.shape:
        case (_, _):
            return "; make a grey image coloured: np.stack([frame] * 3, axis=-1)"
        case (_, _, 4):
            return "; leave the opacity out: frame[..., :3]"
        case (3, _, _):
            return "; put the colours last: frame.transpose(1, 2, 0)"
        case (_, _, _, 3):
            return "; these are several frames: update() takes one at a time, track(...) all"
    return ""
