"""Cache of fetched weights: folder, locks and offline mode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from memotr.files import LOCK, reported
from memotr.terminal import log


def home() -> Path:
    """Return the cache folder: ``MEMOTR_HOME`` if set, otherwise the platform's cache folder."""
    given = os.environ.get("MEMOTR_HOME")
    return Path(given).expanduser().absolute() if given else user_cache_path("memotr", appauthor=False)


def is_offline() -> bool:
    """Return whether ``MEMOTR_OFFLINE`` disables downloads."""
    return os.environ.get("MEMOTR_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")


@contextmanager
def hold(folder: Path, name: str) -> Iterator[None]:
    """Lock a folder of the cache within the context; wait while another process holds the lock.

    Args:
        folder: folder, created if it does not exist.
        name: name of the weights in it, for the message while waiting.

    Raises:
        UserError: the folder cannot be written.
    """
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"waiting for another process that fetches {name}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
