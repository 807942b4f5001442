"""Output files: nothing is ever half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memotr.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to: it takes its place once all is written, and is gone if anything fails.

    Folders on the way are made. Several processes may do this at once; the last one wins.

    Raises:
        UserError: it cannot be written.
    """
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def check_writable(path: Path) -> None:
    """Raises UserError if no file can be written there: to be known before long work."""
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
