"""Frames of one image file: an animated WebP, or the pages of a TIFF."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Generator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memotr.io.frames import DEFAULT_FPS, Frame, Selection, Source
from memotr.io.image_files import (
    MAX_PIXELS,
    SAMPLED,
    TIFF_HEIGHT,
    TIFF_WIDTH,
    ImageError,
    ImageHeader,
    decode,
    parsing,
    read_bytes,
    spread,
    to_rgb,
    used_bits,
)
from memotr.io.orientation import Orientation

MIN_DURATION, DEFAULT_DURATION = 11, 100  # milliseconds; browsers show shorter frames for the default duration
SUBFILE = 254  # tag of a TIFF page
SMALLER_OR_MASK = 0b101  # in the tag SUBFILE

Read = Callable[[int], NDArray[np.uint8]]  # number of a frame → (H, W, 3) RGB


class AnimationSource(Source):
    """Source of the frames of a WebP at their stored times, or of the pages of a TIFF at a constant rate.

    Previews, masks, and pages of another size than the first (image pyramids) are left out of a TIFF, with a note.

    Args:
        file: image file with several frames.
        selection: see :class:`Source`.
        fps: pages per second of a TIFF.

    Raises:
        ImageError: the file cannot be read.
    """

    def __init__(self, file: Path, selection: Selection, fps: Fraction = DEFAULT_FPS) -> None:
        data, header = read_bytes(file)
        if header.format == "TIFF":
            pages = _pages(file, data)
            durations = [1000 / fps] * len(pages)
            self._read = _tiff_reader(file, data, header, pages)
        else:
            stored = _webp_durations(data.tobytes())
            durations = [Fraction(d if d >= MIN_DURATION else DEFAULT_DURATION) for d in stored]
            if len(durations) != header.frames:
                raise ImageError(file, "its frames are damaged; copy it again")
            self._read = _webp_reader(file, data, header)
        rate = (1000 * len(durations) / sum(durations, Fraction(0))).limit_denominator(1001)
        super().__init__(file.stem, "video", rate, len(durations), selection)
        self._times = [float(end / 1000) for end in accumulate(durations, initial=Fraction(0))]
        if left_out := header.frames - len(durations):
            self.notes.append(
                f"{file}: {left_out} of its {header.frames} pages are left out: previews, masks, or of another size"
            )

    def __iter__(self) -> Generator[Frame, None, None]:
        for index in self.selection.indices(len(self._times) - 1):
            yield Frame(index, self._read(index), self._times[index])


def _pages(file: Path, data: NDArray[np.uint8]) -> list[int]:
    """Return the numbers of the TIFF pages with the size of the first, without previews and masks."""
    sizes = {}
    try:
        with parsing(), Image.open(io.BytesIO(data.tobytes()), formats=("TIFF",)) as image:
            for page in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(page)
                tags: Any = image.tag_v2  # type: ignore[attr-defined]
                if not tags.get(SUBFILE, 0) & SMALLER_OR_MASK:
                    sizes[page] = tags[TIFF_WIDTH], tags[TIFF_HEIGHT]
    except OSError as error:
        raise ImageError(file, "its pages are damaged; copy it again") from error
    pages = [page for page, size in sizes.items() if size == next(iter(sizes.values()))] or [0]
    if math.prod(sizes.get(pages[0], ())) > MAX_PIXELS:
        raise ImageError(file, f"its pages have more than {MAX_PIXELS:,} pixels; make them smaller")
    return pages


def _tiff_reader(file: Path, data: NDArray[np.uint8], header: ImageHeader, pages: list[int]) -> Read:
    """Return a reader of TIFF pages, which scales all pages to 8 bits by the same factor."""
    sample = [decode(file, data, header, pages[k]) for k in spread(len(pages), SAMPLED)]
    shared_bits = used_bits(page for page in sample if page.dtype != np.uint8)

    def read(number: int) -> NDArray[np.uint8]:
        page = decode(file, data, header, pages[number])
        bits = None if page.dtype == np.uint8 else max(shared_bits, used_bits([page]))
        return to_rgb(page, header, bits, upright=True)

    return read


def _webp_reader(file: Path, data: NDArray[np.uint8], header: ImageHeader) -> Read:
    image = Image.open(io.BytesIO(data.tobytes()), formats=("WEBP",))
    turn = Orientation.of_exif(header.orientation)

    def read(number: int) -> NDArray[np.uint8]:
        try:
            with parsing():
                image.seek(number)
                return turn.apply(np.asarray(image.convert("RGB"), np.uint8))
        except OSError as error:
            raise ImageError(file, f"its frame {number} is damaged; copy it again") from error

    return read


def _webp_durations(data: bytes) -> list[int]:
    """Return the durations of the frames of an animated WebP in milliseconds."""
    durations, position = [], 12
    while position + 24 <= len(data):
        if data[position : position + 4] == b"ANMF":
            durations.append(int.from_bytes(data[position + 20 : position + 23], "little"))
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    return durations
