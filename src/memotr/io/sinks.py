"""What every output file has in common: written beside its place, put there when closed, valid after any stop."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TextIO

from memotr.errors import UserError
from memotr.files import Draft, hold_file, reported
from memotr.io.frames import Frame
from memotr.tracks import Tracks

LONGEST_RECORD = 2**24  # bytes that are searched for the end of the last whole one


class Sink(ABC):
    """Takes frames with their tracks, one after the other, and makes a file of them.

    Until :meth:`close` everything goes into ``part``, a temporary file beside ``path``; then that file takes its place,
    replacing an older one, with all frames so far, whatever ended the run. If there was not one frame, or a write has
    failed, an older file stays as it is. No other process can open a sink for the same path meanwhile.

    Attributes:
        path: of the finished file.
        part: where it is written meanwhile.
        frames: number of frames written.
        replaces: an older file of that name was there.
        finished: the file is in its place.
        failure: the first error of a write; nothing is written after it.

    Raises:
        UserError: the file cannot be written (also from ``write`` and ``close``), or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = 0
        self.replaces = path.exists()
        self.finished = False
        self.failure: Exception | None = None
        self._complete = False
        with ExitStack() as opened:
            opened.enter_context(hold_file(path))
            self._draft = Draft(path)
            self._held: ExitStack | None = opened.pop_all()
        self.part = self._draft.part

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Add one frame; ``tracks.frame`` is its number in the source, from 0."""
        if self.failure is not None:
            raise self.failure
        try:
            with reported(self.path):
                self._write(frame, tracks)
        except Exception as error:
            self.failure = error
            raise
        self.frames += 1

    def close(self) -> None:
        """Finish the file and put it in its place; harmless when repeated. See :func:`close_all`."""
        close_all([self])

    def finish(self) -> None:
        """Complete the file, which stays beside its place for now. Raises UserError."""
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
        """Put the finished file in its place. Raises UserError."""
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
            keep: leave the frames that were written beside the place.

        Returns:
            The file that they are in; None if there is none.
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
        """Close ``self.part`` and make it readable, wherever it ends; returns whether it is now."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class TextSink(Sink):
    """A text file: UTF-8, lines ended by a line feed on every platform.

    Attributes:
        separator: what follows a record that is followed by another one.
        ending: what follows the last record.
    """

    separator: ClassVar[bytes] = b"\n"
    ending: ClassVar[bytes] = b"\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        assert self._draft.handle is not None
        # Bytes of file names that are not UTF-8 become \udcff and the like, which JSON reads back as the same name.
        self.file: TextIO = os.fdopen(
            self._draft.handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False
        )

    def _finish(self) -> None:
        self.file.close()

    def _salvage(self) -> bool:
        """Cut the file behind its last whole record."""
        with suppress(OSError):
            self.file.close()
        with self.part.open("r+b") as file:
            beginning = max(0, file.seek(0, os.SEEK_END) - LONGEST_RECORD)
            file.seek(beginning)
            data = file.read()
            if data.endswith(self.ending):
                return True
            end = data.rfind(self.separator, 0, len(data) - len(self.ending) + len(self.separator))
            if end < 0:
                return False
            file.seek(beginning + end)
            file.write(self.ending)  # over what is there: a full disk has room for that
            file.truncate()
        return True


def close_all(sinks: Sequence[Sink]) -> None:
    """Finish the files of one source and put them in place: all of them, or none after a failed write.

    Raises:
        UserError: a write has failed, before or now. It names the files with what was written until then: text up to
            its last whole record, videos only if they are whole.
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
        notes = ["older results stay as they were"] * older
        notes += [f"what was written before is in {', '.join(kept)}"] if kept else []
        raise UserError(f"{failures[0]}; {' and '.join(notes)}") from failures[0]
    for sink in sinks:
        try:
            sink.put()
        except UserError as error:
            failures.append(error)
    if failures:
        raise failures[0]
