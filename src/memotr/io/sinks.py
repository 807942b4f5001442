"""What every output file has in common: written beside its place, put there when closed, valid after any stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.tracks import Tracks


class Sink(ABC):
    """Takes frames with their tracks, one after the other, and makes a file of them.

    Until :meth:`close` everything goes into ``<path>.part``; then that file takes its place, replacing an older one,
    with all frames so far, whatever ended the run. If there was not one frame, an older file stays as it is.

    Attributes:
        path: of the finished file.
        part: where it is written meanwhile.
        frames: number of frames written.
        replaces: an older file of that name was there.
        finished: the file is in its place.

    Raises:
        UserError: the file cannot be written (also from ``write`` and ``close``).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.frames = 0
        self.replaces = path.exists()
        self.finished = False
        self._closed = False
        if path.is_dir():
            raise UserError(f"cannot write {path}: a folder has that name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.part.write_bytes(b"")  # what cannot be written is to be known before hours of tracking
        except OSError as error:
            raise self._failure(error) from error

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Add one frame; ``tracks.frame`` is its number in the source, from 0."""
        try:
            self._write(frame, tracks)
        except OSError as error:
            raise self._failure(error) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and put it in its place; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
            if self.frames:
                self.part.replace(self.path)
                self.finished = True
            else:
                self.part.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from error

    @abstractmethod
    def _write(self, frame: Frame, tracks: Tracks) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """Complete and close ``self.part``."""

    def _failure(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path}: {error.strerror or error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class TextSink(Sink):
    """A text file: UTF-8, lines ended by a line feed on every platform."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file: TextIO = self.part.open("w", encoding="utf-8", newline="\n")

    def _finish(self) -> None:
        self.file.close()
