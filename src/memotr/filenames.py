"""Checks of names that are read from data, and are used as file names, paths or names of archive members."""

from __future__ import annotations

import re

from memotr.documents import brief
from memotr.errors import UserError
from memotr.terminal import UNPRINTABLE

MAX_BYTES = 200  # in UTF-8; file systems allow 255, and suffixes are added
MAX_PATH_LENGTH = 1000  # characters
DRIVE = re.compile("[A-Za-z]:")  # of Windows, at the beginning of a path


def unusable(name: str) -> str | None:
    """Return the reason why a name cannot be used as a file name on every system; None if it can."""
    if not name.strip() or name in (".", ".."):
        return "is not a file name"
    if "/" in name or "\\" in name or DRIVE.match(name):
        return "leads into another folder"
    if UNPRINTABLE.search(name):
        return "has unprintable characters"
    if len(name.encode()) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    return None


def check_filename(name: str, origin: object) -> str:
    """Return ``name`` if it is valid as a file name on every system.

    Args:
        name: name to check.
        origin: source of the name, a file or folder, for the message.

    Raises:
        UserError: the name is empty or too long, leads into another folder, or has unprintable characters.
    """
    if reason := unusable(name):
        raise UserError(f"{origin}: the name {brief(name)} {reason}; rename it")
    return name


def is_inside(path: str) -> bool:
    """Return whether a relative path, such as that of an image, stays within the folder that it is relative to."""
    parts = re.split(r"[/\\]", path)
    relative = bool(parts[0]) and ".." not in parts and not DRIVE.match(path)
    return relative and len(path) <= MAX_PATH_LENGTH and UNPRINTABLE.search(path) is None


def clean_filename(name: str) -> str:
    """Return ``name`` as a valid file name: ``_`` replaces invalid characters, and a long name is truncated."""
    clean = re.sub(r"[/\\]|(?<=^[A-Za-z]):", "_", UNPRINTABLE.sub("_", name)).strip()
    clean = clean.encode()[:MAX_BYTES].decode(errors="ignore")
    return "_" if unusable(clean) else clean
