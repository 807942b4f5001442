"""Checks of names from files and folders that become paths, names of results or archive members."""

from __future__ import annotations

import re

from memotr.documents import brief
from memotr.errors import UserError
from memotr.terminal import UNPRINTABLE

LONGEST = 200  # bytes: file systems take 255, and endings are added
LONGEST_PATH = 1000  # characters


def unusable(name: str) -> str | None:
    """Return why a name is not usable as a file name on every system, or None if it is."""
    if not name.strip() or name in (".", ".."):
        return "names no file"
    if "/" in name or "\\" in name or re.match("[A-Za-z]:", name):
        return "leads into another folder"
    if UNPRINTABLE.search(name):
        return "holds characters that cannot be printed"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def check_filename(name: str, origin: object) -> str:
    """Return a name that is safe as the name of one file.

    Args:
        name: name as found.
        origin: file or folder where it was found, for the message.

    Raises:
        UserError: the name would leave its folder, has control characters, or is empty.
    """
    if reason := unusable(name):
        raise UserError(f"{origin}: the name {brief(name)} {reason}; rename it")
    return name


def is_inside(path: str) -> bool:
    """Return whether a relative path, such as that of an image in its folder, stays within that folder."""
    parts = re.split(r"[/\\]", path)
    return 0 < len(path) <= LONGEST_PATH and bool(parts[0]) and ".." not in parts and UNPRINTABLE.search(path) is None


def clean_filename(name: str) -> str:
    """Return the name of a source as a usable file name, with ``_`` in place of unusable characters."""
    clean = re.sub(r"[/\\]|(?<=^[A-Za-z]):", "_", UNPRINTABLE.sub("_", name)).strip()
    clean = clean.encode()[:LONGEST].decode(errors="ignore")
    return "_" if unusable(clean) else clean
