"""Reader of ``seqinfo.ini``, the description of a sequence in the MOTChallenge layout."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from memotr.documents import DocumentError, brief, on_one_line, read_text
from memotr.errors import UserError
from memotr.filenames import is_inside
from memotr.io.frames import MAX_FPS

NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?|[0-9]{1,12}/[0-9]{1,12}")


@dataclass(frozen=True)
class SeqInfo:
    """Content of a ``seqinfo.ini``; each key is optional.

    Attributes:
        name: name of the sequence.
        image_folder: image folder, relative to the file's folder and inside it.
        fps: frames per second, such as 25 or 30000/1001, with a small denominator, as encoders require.
        length: number of frames.
        size: (height, width) in pixels.
        unusable: key → problem with its value; the attribute is None then.
    """

    name: str | None = None
    image_folder: str = "img1"
    fps: Fraction | None = None
    length: int | None = None
    size: tuple[int, int] | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)


class SeqInfoError(UserError):
    """Error of a seqinfo.ini that cannot be read."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"cannot read {file}: {reason}; correct or remove the file; it is optional")
        self.reason = reason


def read_seqinfo(file: Path) -> SeqInfo:
    """Read a seqinfo.ini; a missing file gives an empty :class:`SeqInfo`.

    Raises:
        SeqInfoError: the file cannot be read, or has no section ``[Sequence]``.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file), str(file))
        section = parser["Sequence"]
    except DocumentError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return SeqInfo()
        raise SeqInfoError(file, error.reason) from error
    except (configparser.Error, KeyError) as error:
        reason = f"no section {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise SeqInfoError(file, reason) from error
    unusable: dict[str, str] = {}

    def number(key: str, unit: str, *, whole: bool = True) -> Fraction | None:
        text = section.get(key, "").strip()
        value = _number(text, whole)
        if text and value is None:
            unusable[key] = f"{key}={on_one_line(text)} is not a number {unit}"
        return value

    fps = number("frameRate", f"of frames per second (above 0, at most {MAX_FPS})", whole=False)
    length = number("seqLength", "of frames")
    height, width = number("imHeight", "of pixels"), number("imWidth", "of pixels")
    images = section.get("imDir", "").strip() or "img1"
    if not is_inside(images):
        unusable["imDir"] = f"imDir={brief(images)} is not a folder within the sequence"
        images = "img1"
    return SeqInfo(
        section.get("name", "").strip() or None,
        images,
        fps,
        None if length is None else int(length),
        None if height is None or width is None else (int(height), int(width)),
        unusable,
    )


def _number(text: str, whole: bool) -> Fraction | None:
    """Parse a number above 0: an integer (also ``4.0``) or a frame rate. Return None for other texts."""
    try:
        value = Fraction(text) if NUMBER.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        return None
    if whole:
        return value if value > 0 and value.denominator == 1 else None
    rate = value.limit_denominator(1001)
    return rate if 0 < rate <= MAX_FPS else None
