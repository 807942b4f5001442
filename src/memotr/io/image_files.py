"""Image files: as stored where annotations count pixels, upright where people look."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memotr.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

EXIF_ORIENTATION = 0x0112
JPEG_END = b"\xff\xd9"
JPEG_TAIL = 4096  # bytes in which the end mark is looked for: some cameras pad their files
_LIMIT = Lock()  # Pillow's is one for all threads


class ImageError(UserError):
    """An image file that cannot be used, and why."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"cannot read image {file}: {reason}")
        self.file = file
        self.reason = reason


def read_image(file: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB: grey is repeated, alpha dropped, 16 bits cut to 8.

    Args:
        file: any image that OpenCV decodes.
        upright: obey an EXIF rotation, as viewers do. Not for data sets: their annotations were drawn on stored pixels,
            and a rotation would move the boxes off their objects.

    Raises:
        ImageError: the file is missing, empty, cut short or not an image.
    """
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        data = np.fromfile(file, np.uint8)  # cv2.imread fails on some Windows path names
    except OSError as error:
        raise ImageError(file, str(error.strerror)) from error
    try:
        image = cv2.imdecode(data, flags) if len(data) else None
    except cv2.error:
        image = None
    # Older OpenCV fills what is missing of a JPEG with grey and says nothing to its caller.
    if image is None or _cut_short(data[:2].tobytes(), data[-JPEG_TAIL:].tobytes()):
        raise ImageError(file, "it is damaged, cut short or not an image; copy it again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def image_size(file: Path) -> tuple[int, int]:
    """(height, width) in stored pixels, from the header and the last bytes alone.

    Raises:
        ImageError: the file is missing, empty, cut short (JPEG) or not an image.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(2)
            stream.seek(max(0, stream.seek(0, 2) - JPEG_TAIL))
            tail = stream.read()
            stream.seek(0)
            with _opened(stream) as image:
                width, height = image.size
    except OSError as error:
        raise ImageError(file, error.strerror or "it is damaged or not an image; copy it again") from error
    if _cut_short(head, tail):
        raise ImageError(file, "it is cut short; copy it again")
    return height, width


def is_rotated(file: Path) -> bool:
    """Whether viewers turn or mirror this image because its EXIF data asks them to; False where it cannot be read."""
    try:
        with file.open("rb") as stream, _opened(stream) as image:
            tagged = "exif" in image.info or image.format == "TIFF"  # looking for it where it is not takes longer
            return tagged and image.getexif().get(EXIF_ORIENTATION, 1) != 1
    except OSError:
        return False


def _opened(stream: BinaryIO) -> Image.Image:
    """The header of an image of any size: Pillow refuses those above 179 megapixels, lest they be decoded."""
    try:
        return Image.open(stream)
    except Image.DecompressionBombError:
        with _LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = limit


def in_order(names: Iterable[str]) -> tuple[list[str], list[int] | None]:
    """The one order of a folder's images, for tracking, training and evaluation alike.

    Args:
        names: of image files, in any order.

    Returns:
        The names, and their numbers, ascending: the last number in each (000012.jpg is 12, cam2_f7.png is 7). Where one
        has no number, or two have the same, None, and the names are in natural order (2_cam1 before 10_cam1).
    """
    natural = sorted(names, key=_natural)
    numbers = [_last_number(name) for name in natural]
    if None in numbers or len(set(numbers)) < len(numbers):
        return natural, None
    pairs = sorted((number, name) for number, name in zip(numbers, natural, strict=True) if number is not None)
    return [name for _, name in pairs], [number for number, _ in pairs]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Sort key in which numbers count as numbers: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name


def _last_number(name: str) -> int | None:
    """None where there is none, or one beyond 64 bits."""
    digits = re.findall(r"[0-9]+", name.rpartition(".")[0])
    return int(digits[-1]) if digits and len(digits[-1]) < 19 else None


def _cut_short(head: bytes, tail: bytes) -> bool:
    return head == b"\xff\xd8" and JPEG_END not in tail
