"""Reading of image files, as stored for annotated data or upright for viewing."""

from __future__ import annotations

import os
import re
import warnings
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
MAX_PIXELS = 200_000_000  # the largest cameras'; a few kilobytes can announce any number
MAX_BYTES = 1 << 30  # of a file
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")  # files have wrong suffixes, too
_LIMIT = Lock()  # guards Pillow's limit, which all threads share
_NO_IMAGE = "it is damaged, cut short or not an image; copy it again"

# Messages of Pillow and OpenCV name no file; the errors raised here do. Both settings are process-wide in these
# libraries, and images are decoded by several threads: a context around each image would restore them while another
# thread still needs them, so they are made once.
warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags, and about sizes, which MAX_PIXELS limits
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class ImageError(UserError):
    """Error of an image file that cannot be used."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"cannot read image {file}: {reason}")
        self.file = file
        self.reason = reason


def read_image(file: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB: grey is repeated, alpha dropped, 16 bits cut to 8.

    Args:
        file: image that OpenCV decodes, of up to ``MAX_PIXELS`` pixels.
        upright: apply the EXIF rotation, as viewers do. Not for data sets: their annotations refer to stored pixels,
            and a rotation would move the boxes off their objects.

    Raises:
        ImageError: the file is missing, empty, cut short, too large or not an image.
    """
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with file.open("rb") as stream:
            _check_limits(file, stream)
            stream.seek(0)
            data = np.fromfile(stream, np.uint8)  # cv2.imread fails on some Windows path names
    except OSError as error:
        raise ImageError(file, error.strerror or _NO_IMAGE) from error
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    # Older versions of OpenCV fill the missing part of a JPEG with grey and report no error.
    if image is None or _cut_short(data[:2].tobytes(), data[-JPEG_TAIL:].tobytes()):
        raise ImageError(file, _NO_IMAGE)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def image_size(file: Path) -> tuple[int, int]:
    """Return (height, width) in stored pixels, read from the header and the last bytes only.

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
        raise ImageError(file, error.strerror or _NO_IMAGE) from error
    if _cut_short(head, tail):
        raise ImageError(file, "it is cut short; copy it again")
    return height, width


def is_rotated(file: Path) -> bool:
    """Return whether EXIF data asks viewers to rotate or mirror this image; False if it cannot be read."""
    try:
        with file.open("rb") as stream, _opened(stream) as image:
            tagged = "exif" in image.info or image.format == "TIFF"  # searching files without EXIF is slow
            return tagged and image.getexif().get(EXIF_ORIENTATION, 1) != 1
    except Exception:  # Pillow's parsers raise errors of any class on damaged tags
        return False


def _check_limits(file: Path, stream: BinaryIO) -> None:
    """Raise ImageError for images that are too large to decode, OSError for other files."""
    with _opened(stream) as image:
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(file, f"it has {width} x {height} pixels, more than {MAX_PIXELS:,}; make it smaller")
    if os.fstat(stream.fileno()).st_size > MAX_BYTES:
        raise ImageError(file, f"it is larger than {MAX_BYTES / 2**30:.0f} GiB; save it as a JPEG")


def _opened(stream: BinaryIO) -> Image.Image:
    """Read the header of an image of any size. Raises OSError for other files."""
    try:
        return Image.open(stream, formats=FORMATS)
    except Image.DecompressionBombError:  # above 179 megapixels
        with _LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(stream, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except (OSError, MemoryError):
        raise
    except Exception as error:  # Pillow's parsers raise errors of any class on damaged headers
        raise OSError from error


def in_order(names: Iterable[str]) -> tuple[list[str], list[int] | None]:
    """Sort the images of a folder, in the order that tracking, training and evaluation share.

    Args:
        names: names of image files, in any order.

    Returns:
        The names and their numbers, ascending; the number is the last one in the name (000012.jpg: 12, cam2_f7.png: 7).
        If a name has no number or two have the same, None and the names in natural order (2_cam1 before 10_cam1).
    """
    natural = sorted(names, key=_natural)
    numbers = [_last_number(name) for name in natural]
    if None in numbers or len(set(numbers)) < len(numbers):
        return natural, None
    pairs = sorted((number, name) for number, name in zip(numbers, natural, strict=True) if number is not None)
    return [name for _, name in pairs], [number for number, _ in pairs]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that compares digits as numbers: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name


def _last_number(name: str) -> int | None:
    """Return the last number in a file name, or None if there is none or it exceeds 64 bits."""
    digits = re.findall(r"[0-9]+", name.rpartition(".")[0])
    return int(digits[-1]) if digits and len(digits[-1]) < 19 else None


def _cut_short(head: bytes, tail: bytes) -> bool:
    return head == b"\xff\xd8" and JPEG_END not in tail
