"""Source of frames from Python: any iterable of arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from fractions import Fraction
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import DEFAULT_FPS, Frame, Selection, Source
from memotr.vocabulary import Channels


class ArraySource(Source):
    """Source of frames in memory: a list, a generator or an array (T, H, W, 3).

    Args:
        frames: frames (H, W, 3) of uint8.
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
        rate = Fraction(fps).limit_denominator(100_000)
        super().__init__(name, "images", rate, count, selection or Selection())
        self.frames, self.rate, self.channels = frames, rate, channels

    def __iter__(self) -> Generator[Frame, None, None]:
        """Yield the selected frames, in RGB."""
        frames = enumerate(self.frames)
        if (first := next(frames, None)) is None:
            raise UserError(f"{self.name}: there are no frames")
        for index, image in chain([first], frames):
            if self.selection.passed(index):
                return
            if index in self.selection:
                yield Frame(index, as_rgb(image, self.channels), float(index / self.rate))


def as_rgb(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Return an image in RGB, without a copy if it is RGB already. Other types than arrays are returned unchanged."""
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" and isinstance(image, np.ndarray) else image
