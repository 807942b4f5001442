"""Problems of a data set, collected while reading and reported together, each with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from memotr.documents import DocumentError, brief
from memotr.errors import UserError
from memotr.filenames import unusable

Place = int | str  # a line, from 1, or words where a file has no useful lines ("annotation 17")

SPANS_AT_MOST = 20
NOTES_AT_MOST = 20


@dataclass(frozen=True)
class Problem:
    """Problem of one file, with all places where it occurs.

    Attributes:
        file: file or folder.
        message: what is wrong and what to do, without the place.
        fatal: an error, with which the data cannot be used; otherwise a note, which needs no action.
        places: places in the file, in order; empty for a problem of the whole file.
    """

    file: Path
    message: str
    fatal: bool
    places: tuple[Place, ...]

    @property
    def first(self) -> str:
        """Message with the first place: ``file:line: message``."""
        if not self.places:
            return f"{self.file}: {self.message}"
        place = self.places[0]
        where = f":{place}" if isinstance(place, int) else f": {place}"
        return f"{self.file}{where}: {self.message}"

    def __str__(self) -> str:
        """Return the message with all places, the first in front: ``gt.txt:12: … (also 13–40, 52)``."""
        if len(self.places) < 2:
            return self.first
        spans = _spans(self.places[1:])
        more = ", …" if len(spans) > SPANS_AT_MOST else ""
        return f"{self.first} (also {', '.join(spans[:SPANS_AT_MOST])}{more}; {len(self.places):,} in all)"


class Problems:
    """Collection of problems; equal problems of a file become one with many places.

    Args:
        stop: raise the first error as a UserError instead of collecting errors.
    """

    def __init__(self, *, stop: bool = False) -> None:
        self._stop = stop
        self._places: dict[tuple[Path, str, bool], list[Place]] = {}

    def error(self, file: Path, message: str, place: Place | None = None) -> None:
        """Add an error, with which the data cannot be used."""
        self._add(file, message, True, place)

    def note(self, file: Path, message: str, place: Place | None = None) -> None:
        """Add a note about an oddity that is handled as the message says."""
        self._add(file, message, False, place)

    def extend(self, others: Problems) -> None:
        """Add all problems of another collection."""
        for (file, message, fatal), places in others._places.items():
            if not places:
                self._add(file, message, fatal, None)
            for place in places:
                self._add(file, message, fatal, place)

    def refuses_name(self, file: Path, what: str, name: str, place: Place | None = None) -> bool:
        """Add an error if the name of a ``what`` (such as "video") is no valid file name; return whether it is not."""
        reason = unusable(name)
        if reason is not None:
            self.error(file, f"the {what} name {brief(name)} {reason}: rename it", place)
        return reason is not None

    def unreadable(self, file: Path, error: DocumentError, place: Place | None = None) -> None:
        """Add an error from reading a file, or a line of it, as a document."""
        self.error(file, error.reason if error.line else f"cannot be read: {error.reason}", place or error.line)

    def _add(self, file: Path, message: str, fatal: bool, place: Place | None) -> None:
        if fatal and self._stop:
            raise UserError(Problem(file, message, fatal, () if place is None else (place,)).first)
        places = self._places.setdefault((file, message, fatal), [])
        if place is not None:
            places.append(place)

    def __iter__(self) -> Iterator[Problem]:
        return (Problem(*key, places=tuple(places)) for key, places in self._places.items())

    @property
    def errors(self) -> list[Problem]:
        """Problems that are errors."""
        return [problem for problem in self if problem.fatal]

    @property
    def notes(self) -> list[Problem]:
        """Problems that are not errors."""
        return [problem for problem in self if not problem.fatal]

    def brief_notes(self) -> tuple[str, ...]:
        """Return the first notes as text, and how many more there are."""
        notes = self.notes
        more = len(notes) - NOTES_AT_MOST
        last = (f"{more:,} more notes: memotr data check lists them",) if more > 0 else ()
        return (*map(str, notes[:NOTES_AT_MOST]), *last)

    def raise_errors(self, root: Path) -> None:
        """Raise UserError with the first error of the data set in ``root``, if there is one."""
        errors = self.errors
        if not errors:
            return
        others = sum(max(1, len(problem.places)) for problem in errors) - 1
        more = f" (and {others:,} more: memotr data check {root} lists them)" if others else ""
        raise UserError(errors[0].first + more)


def _spans(places: tuple[Place, ...]) -> list[str]:
    """Return line numbers with runs joined (3–7), and places in words unchanged."""
    lines = sorted({place for place in places if isinstance(place, int)})
    runs = [[line for _, line in run] for _, run in groupby(enumerate(lines), key=lambda pair: pair[1] - pair[0])]
    spans = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return spans + [place for place in places if isinstance(place, str)]
