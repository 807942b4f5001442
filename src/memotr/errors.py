"""Errors and warnings for users. A message says in one line what is wrong, where, and what to do."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


class UserError(Exception):
    """Error of a file, a setting or a device. The command line prints it and exits with code 2."""


class MemotrWarning(UserWarning):
    """Warning of this package: results may be other than expected. The command line prints it as one line."""


def warn(message: str) -> None:
    """Issue a :class:`MemotrWarning` at the line outside of this package that called it."""
    packages = []  # of the functions on the stack, from here outwards
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        packages.append(frame.f_globals.get("__name__", "").partition(".")[0])
        frame = frame.f_back
    level = len(packages) - packages[::-1].index(__package__)
    while packages[level : level + 1] == ["torch"]:  # its decorators
        level += 1
    warnings.warn(message, MemotrWarning, stacklevel=level + 1)


def wrong_type(expected: str, value: object) -> TypeError:
    """Return an error for an argument of another type, which names the type and never prints the value."""
    return TypeError(f"expected {expected}, got {type(value).__name__}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
