"""Base classes of output files, which are readable even after an interruption."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TextIO

from memotr.errors import UserError, wrong_type
from memotr.files import Draft, hold_file, reported
from memotr.io.frames import Frame
from memotr.terminal import ESCAPED_IN_JSON
from memotr.tracks import Tracks

MAX_RECORD_BYTES = 2**24  # bytes at the end of a file that are searched for the last complete record


class Sink(ABC):
    """Base class of output files that are written frame by frame.

    Frames are written to ``part``, a temporary file in the folder of ``path``. :meth:`close` moves it to ``path``,
    where it replaces an older file, even if the run was interrupted. Without any frame, or after a failed write, an
    older file is kept. While a sink is open, other processes cannot open one for the same path.

    Attributes:
        path: the final file.
        part: the temporary file.
        frames: number of frames written.
        replaces: an older file existed.
        finished: the final file is complete.
        failure: the first error of a write; nothing is written after it.
        notes: sentences about problems that are not errors; complete once the sink is closed.

    Raises:
        UserError: the file cannot be written (also from ``write`` and ``close``), or another process writes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self.frames = 0
        self.replaces = path.exists()
        self.finished = False
        self.failure: Exception | None = None
        self.notes: list[str] = []
        self._complete = False
        with ExitStack() as opened:
            opened.enter_context(hold_file(path))
            self._draft = Draft(path)
            self._held: ExitStack | None = opened.pop_all()
        self.part = self._draft.part

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one frame; ``tracks.frame`` is its number in the source, from 0."""
        if not isinstance(frame, Frame):
            raise wrong_type("a Frame and its tracks (add() takes tracks of Tracker.track alone)", frame)
        if self.failure is not None:
            raise self.failure
        try:
            with reported(self.path):
                self._write(frame, tracks)
        except Exception as error:
            self.failure = error
            raise
        self.frames += 1

    def add(self, tracks: Tracks) -> None:
        """Write the tracks of one frame of :meth:`memotr.Tracker.track`, which hold its image and time.

        Raises:
            TypeError: they are no tracks.
            ValueError: they have no image.
        """
        if not isinstance(tracks, Tracks):
            raise wrong_type("Tracks", tracks)
        if tracks.image is None:
            raise ValueError("these tracks have no image: Tracker.track gives one; or use write(frame, tracks)")
        self.write(Frame(tracks.frame, tracks.image, tracks.time, tracks.file_name), tracks)

    def close(self) -> None:
        """Finish the file and move it to its place; can be called repeatedly. See :func:`close_all`."""
        close_all([self])

    def finish(self) -> None:
        """Complete the temporary file. Raises UserError."""
        if self._complete:
            return
        self._complete = True
        try:
            with reported(self.path):
                self._finish()
                self._draft.sync()
        except Exception as error:
            self.failure = error
            raise

    def put(self) -> None:
        """Move the finished file to its place. Raises UserError."""
        if self._held is None:
            return
        with self._held, reported(self.path):
            self._held = None
            if self.frames:
                self._draft.put()
                self.finished = True
            else:
                self._draft.drop()

    def give_up(self, *, keep: bool = True) -> Path | None:
        """Close the file without replacing an older one.

        Args:
            keep: keep the temporary file if it has readable frames.

        Returns:
            The temporary file; None if it was removed.
        """
        if self._held is None:
            return None
        with self._held:
            self._held = None
            readable = False
            with suppress(Exception):
                if self.failure is None:
                    self.finish()
            with suppress(Exception):
                readable = self._salvage()
            if keep and readable and self.frames:
                self._draft.release()
                return self.part
            self._draft.drop()
            return None

    @abstractmethod
    def _write(self, frame: Frame, tracks: Tracks) -> None: ...

    @abstractmethod
    def _finish(self) -> None:
        """Complete and close ``self.part``."""

    def _salvage(self) -> bool:
        """Close an incomplete ``self.part`` and make it readable; return whether that was possible."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class TextSink(Sink):
    """Base class of text files in UTF-8, with line feeds on every platform.

    Attributes:
        separator: bytes between two records.
        ending: bytes after the last record.
    """

    separator: ClassVar[bytes] = b"\n"
    ending: ClassVar[bytes] = b"\n"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        assert self._draft.handle is not None
        self.file: TextIO = os.fdopen(
            self._draft.handle, "w", encoding="utf-8", errors=ESCAPED_IN_JSON, newline="\n", closefd=False
        )

    def _finish(self) -> None:
        self.file.close()

    def _salvage(self) -> bool:
        """Cut the file after its last complete record."""
        with suppress(OSError):
            self.file.close()
        with self.part.open("r+b") as file:
            beginning = max(0, file.seek(0, os.SEEK_END) - MAX_RECORD_BYTES)
            file.seek(beginning)
            data = file.read()
            if data.endswith(self.ending):
                return True
            end = data.rfind(self.separator, 0, len(data) - len(self.ending) + len(self.separator))
            if end < 0:
                return False
            file.seek(beginning + end)
            file.write(self.ending)  # overwrites existing bytes, which a full disk allows
            file.truncate()
        return True


def close_all(sinks: Sequence[Sink]) -> None:
    """Finish the files of one source and move them to their places, or none of them after a failed write.

    Raises:
        UserError: a write has failed. The message names the temporary files that are kept: text up to its last complete
            record, videos only if they are complete.
    """
    failures = [sink.failure for sink in sinks if sink.failure is not None]
    try:
        for sink in sinks if not failures else ():
            sink.finish()
    except Exception as error:
        failures.append(error)
    if failures:
        older = any(sink.replaces for sink in sinks)
        kept = [str(part) for sink in sinks if (part := sink.give_up()) is not None]
        if not isinstance(failures[0], UserError) or not (older or kept):
            raise failures[0]
        notes = ["older results are kept"] * older
        notes += [f"the frames written so far are in {', '.join(kept)}"] if kept else []
        raise UserError(f"{failures[0]}; {' and '.join(notes)}") from failures[0]
    for sink in sinks:
        try:
            sink.put()
        except UserError as error:
            failures.append(error)
    if failures:
        raise failures[0]
