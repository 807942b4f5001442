"""Reading of image files: as stored, for annotated data, or turned upright, for viewing."""

from __future__ import annotations

import errno
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from memotr.errors import UserError
from memotr.io.orientation import Orientation

Stored = NDArray[np.uint8] | NDArray[np.uint16]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm"}
)

EXIF_ORIENTATION = 0x0112
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_WIDTH, TIFF_HEIGHT = 256, 257  # tags
JPEG = ("JPEG", "MPO")
JPEG_END = b"\xff\xd9"
JPEG_MARK = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]", re.DOTALL)  # of a segment, or the end; not within coded pixels
SEVERAL_FRAMES = ("WEBP", "PNG", "GIF", "TIFF")  # formats
SAMPLED = 8  # images of a folder or pages of a TIFF from which their bits are determined
MAX_PIXELS = 200_000_000  # as from the largest cameras; a file of a few kilobytes can announce any number
MAX_BYTES = 1 << 30  # of a file
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")  # files have wrong suffixes, too
_LIMIT = Lock()  # guards Pillow's limit, which all threads share
_NO_IMAGE = "it is damaged, cut short or not an image; copy it again"
_NO_KNOWN_TIFF = "it is damaged, or its pixels are not uint8 or uint16; save it as one of these"

# Messages of Pillow and OpenCV name no file; the errors raised here do. Both settings are process-wide in these
# libraries, and images are decoded by several threads: a context around each image would restore them while another
# thread still needs them, so they are set once.
warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags, and about sizes, which MAX_PIXELS limits
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class ImageError(UserError):
    """Error of an image file that cannot be used."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"cannot read image {file}: {reason}")
        self.file = file
        self.reason = reason


@dataclass(frozen=True)
class ImageHeader:
    """Header of an image file.

    Attributes:
        format: Pillow's name of the format.
        size: (height, width) in stored pixels.
        orientation: orientation for viewers by EXIF or TIFF, 1 to 8; 1 is as stored.
        frames: number of frames or pages.
    """

    format: str
    size: tuple[int, int]
    orientation: int
    frames: int


class LoadedImage(NamedTuple):
    """Image as (H, W, 3) uint8 RGB, with the header and bit depth of its file.

    Attributes:
        pixels: the image.
        header: header of its file.
        bits: for a file of 16 bits per value, the number of used bits, which were scaled to 8; None for 8 bits.
    """

    pixels: NDArray[np.uint8]
    header: ImageHeader
    bits: int | None


def read_image(file: Path, *, upright: bool = False) -> NDArray[np.uint8]:
    """Read the pixels of an image, as :func:`load_image`."""
    return load_image(file, upright=upright).pixels


def load_image(file: Path, *, upright: bool = False) -> LoadedImage:
    """Read an image as (H, W, 3) uint8 RGB: grey is repeated, alpha dropped, and only the first frame or page read.

    Values of 16 bits are scaled to 8 by the number of bits in use: :func:`used_bits` of a sample of the folder's
    images, or of this one if it uses more. So 12-bit images keep their contrast, and dark images stay dark.

    Args:
        file: image that OpenCV decodes, of up to ``MAX_PIXELS`` pixels.
        upright: apply the orientation, as viewers do. Not for data sets, whose annotations refer to
            stored pixels.

    Raises:
        ImageError: the file is missing, empty, cut short, too large, not an image or not one of 8 or 16 bits.
    """
    data, header = read_bytes(file)
    stored = decode(file, data, header)
    bits = None if stored.dtype == np.uint8 else max(used_bits([stored]), _bits_in(file.parent))
    return LoadedImage(to_rgb(stored, header, bits, upright=upright), header, bits)


def read_bytes(file: Path) -> tuple[NDArray[np.uint8], ImageHeader]:
    """Return the content of an image file and its header. Raises ImageError for files that cannot be used."""
    try:
        with file.open("rb") as stream:
            header = _header(stream)
            height, width = header.size
            if width * height > MAX_PIXELS:
                raise ImageError(file, f"it has {width} x {height} pixels, more than {MAX_PIXELS:,}; make it smaller")
            if os.fstat(stream.fileno()).st_size > MAX_BYTES:
                raise ImageError(file, f"it is larger than {MAX_BYTES / 2**30:.0f} GiB; save it as a JPEG")
            stream.seek(0)
            data = np.fromfile(stream, np.uint8)  # cv2.imread fails on some Windows path names
    except OSError as error:
        raise ImageError(file, error.strerror or _NO_IMAGE) from error
    # Older versions of OpenCV fill the missing part of a JPEG with grey and report no error.
    if header.format in JPEG and data[-2:].tobytes() != JPEG_END and not _is_complete(data.tobytes()):
        raise ImageError(file, _NO_IMAGE)
    return data, header


def decode(file: Path, data: NDArray[np.uint8], header: ImageHeader, page: int = 0) -> Stored:
    """Return a page of an image as (H, W, 3) BGR of 8 or 16 bits. Raises ImageError for other types of pixels."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image: Any = _decoded(data, flags, page)
    if image is None and header.format == "TIFF":
        image = _decoded(data, cv2.IMREAD_UNCHANGED, page)  # needed for grey floating-point images
    if image is None:
        raise ImageError(file, _NO_IMAGE)
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(file, f"its pixels are {image.dtype}; save it as uint8 or uint16")
    stored: Stored = image
    return stored


def _decoded(data: NDArray[np.uint8], flags: int, page: int) -> Any:
    try:
        if page == 0:
            return cv2.imdecode(data, flags)
        _, pages = cv2.imdecodemulti(data, flags, range=(page, page + 1))
        return pages[0] if pages else None
    except cv2.error:
        return None


def to_rgb(image: Stored, header: ImageHeader, bits: int | None, *, upright: bool) -> NDArray[np.uint8]:
    """Convert a decoded image to (H, W, 3) uint8 RGB, scaling its bits to 8.

    Args:
        image: (H, W, 3) BGR.
        header: header of its file.
        bits: number of used bits of an image of 16 bits, see :func:`used_bits`; None for 8 bits.
        upright: turn it upright; otherwise as stored.
    """
    if bits is not None:
        image = np.asarray(cv2.convertScaleAbs(image, alpha=255 / ((1 << bits) - 1)), np.uint8)
    rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    turn = Orientation.of_exif(header.orientation)
    if header.format == "TIFF":  # OpenCV always turns them
        return rgb if upright else turn.reverse.apply(rgb)
    return turn.apply(rgb) if upright else rgb


def used_bits(images: Iterable[Stored]) -> int:
    """Return the number of bits that the values of 16-bit images use, rounded up to 8, 10, 12, 14 or 16."""
    largest = max((int(image.max()) for image in images), default=0)
    return max(8, 2 * math.ceil(largest.bit_length() / 2))


@lru_cache(maxsize=4096)
def _bits_in(folder: Path) -> int:
    """Return the number of bits that a sample of a folder's images use.

    All images of a folder are scaled by the same factor, because separate factors would make a sequence flicker.
    """
    names: list[str] = []
    with suppress(OSError):
        names, _ = in_order(file.name for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    sample = [names[k] for k in spread(len(names), SAMPLED)]

    def images() -> Iterator[Stored]:
        for name in sample:
            with suppress(ImageError):
                image = decode(folder / name, *read_bytes(folder / name))
                if image.dtype != np.uint8:
                    yield image

    return used_bits(images())


def spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` numbers from 0 to ``count`` - 1, evenly spaced, with the first and the last."""
    return [int(number) for number in np.linspace(0, count - 1, min(count, most))]


def read_header(file: Path) -> ImageHeader:
    """Read the header of an image, and the end of a JPEG.

    Raises:
        ImageError: the file is missing, empty, cut short (JPEG) or not an image.
    """
    try:
        with file.open("rb") as stream:
            header = _header(stream)
            if header.format not in JPEG:
                return header
            stream.seek(-2, os.SEEK_END)
            is_complete = stream.read() == JPEG_END
            if not is_complete:  # bytes may follow
                stream.seek(0)
                is_complete = _is_complete(stream.read())
    except OSError as error:
        raise ImageError(file, error.strerror or _NO_IMAGE) from error
    if not is_complete:
        raise ImageError(file, "it is cut short; copy it again")
    return header


def image_size(file: Path) -> tuple[int, int]:
    """Return (height, width) in stored pixels. Raises ImageError as :func:`read_header`."""
    return read_header(file).size


def _header(stream: BinaryIO) -> ImageHeader:
    """Read the header of an image. Raises OSError for other files."""
    with parsing(), _opened(stream) as image:
        width, height = image.size
        kind = image.format or ""
        frames = image.n_frames if kind in SEVERAL_FRAMES else 1  # type: ignore[attr-defined]
        if kind == "TIFF":  # Pillow gives the size after turning
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            width, height = int(tags[TIFF_WIDTH]), int(tags[TIFF_HEIGHT])
        return ImageHeader(kind, (height, width), _orientation(image), frames)


@contextmanager
def parsing() -> Iterator[None]:
    """Raise OSError for the errors of any class that Pillow's parsers raise on damaged files."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError from error


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and image.format != "TIFF":  # searching files without EXIF is slow
        return 1
    try:
        number = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's parsers raise errors of any class on damaged tags
        return 1
    return number if number in range(1, 9) else 1


def _opened(stream: BinaryIO) -> Image.Image:
    """Open an image of any size. Raises OSError for files that are no images."""
    try:
        return Image.open(stream, formats=FORMATS)
    except Image.DecompressionBombError:  # above 179 megapixels
        with _LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(stream, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        stream.seek(0)
        if stream.read(4) in TIFF_BEGINNINGS:
            raise OSError(errno.EINVAL, _NO_KNOWN_TIFF) from error
        raise


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


def _is_complete(jpeg: bytes) -> bool:
    """Return whether a JPEG has its end marker; bytes after it, such as the video of a motion photo, are allowed."""
    position = 2
    while (mark := JPEG_MARK.search(jpeg, position)) is not None:
        if mark.group() == JPEG_END:
            return True
        position = mark.end() + int.from_bytes(jpeg[mark.end() : mark.end() + 2])  # skips the header of the segment
    return False
