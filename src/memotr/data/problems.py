"""Problems of a data set, collected while reading and reported together with their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from memotr.documents import DocumentError, brief
from memotr.errors import UserError
from memotr.filenames import unusable

Place = int | str  # a line number, from 1, or text where line numbers are of no use ("annotation 17")

MAX_SPANS = 20
MAX_NOTES = 20


@dataclass(frozen=True)
class Problem:
    """Problem of one file, with all of its places.

    Attributes:
        file: file or folder.
        message: description of the problem and its remedy, without the place.
        fatal: True for an error, which makes the data unusable; False for a note, which needs no action.
        places: places in the file, in order; empty if the problem concerns the whole file.
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
        """Return the message with all places: ``gt.txt:12: … (also 13–40, 52; 30 in all)``."""
        if len(self.places) < 2:
            return self.first
        spans = _spans(self.places[1:])
        more = ", …" if len(spans) > MAX_SPANS else ""
        return f"{self.first} (also {', '.join(spans[:MAX_SPANS])}{more}; {len(self.places):,} in all)"


class Problems:
    """Collection of problems; equal messages for one file are merged into one problem with several places.

    Args:
        stop: raise the first error as a UserError instead of collecting errors.
    """

    def __init__(self, *, stop: bool = False) -> None:
        self._stop = stop
        self._places: dict[tuple[Path, str, bool], list[Place]] = {}

    def error(self, file: Path, message: str, place: Place | None = None) -> None:
        """Add an error, which makes the data unusable."""
        self._add(file, message, True, place)

    def note(self, file: Path, message: str, place: Place | None = None) -> None:
        """Add a note about an irregularity that is handled as the message describes."""
        self._add(file, message, False, place)

    def extend(self, others: Problems) -> None:
        """Add all problems of another collection."""
        for (file, message, fatal), places in others._places.items():
            if not places:
                self._add(file, message, fatal, None)
            for place in places:
                self._add(file, message, fatal, place)

    def rejects_name(self, file: Path, kind: str, name: str, place: Place | None = None) -> bool:
        """Add an error and return True if the name of a ``kind`` (such as "video") is not a valid file name."""
        reason = unusable(name)
        if reason is not None:
            self.error(file, f"the {kind} name {brief(name)} {reason}: rename it", place)
        return reason is not None

    def unreadable(self, file: Path, error: DocumentError, place: Place | None = None) -> None:
        """Add an error for a file, or a line of it, that cannot be parsed."""
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
        """Return the first 20 notes as text, and a line with the number of the others, if any."""
        notes = self.notes
        more = len(notes) - MAX_NOTES
        last = (f"{more:,} more notes; memotr data check lists all",) if more > 0 else ()
        return (*map(str, notes[:MAX_NOTES]), *last)

    def raise_errors(self, root: Path) -> None:
        """Raise UserError with the first error, if any; ``root`` is the data set, for the message."""
        errors = self.errors
        if not errors:
            return
        others = sum(max(1, len(problem.places)) for problem in errors) - 1
        more = f" (and {others:,} more; memotr data check {root} lists all)" if others else ""
        raise UserError(errors[0].first + more)


def _spans(places: tuple[Place, ...]) -> list[str]:
    """Return sorted line numbers with runs joined (3–7), followed by the places that are text."""
    lines = sorted({place for place in places if isinstance(place, int)})
    runs = [[line for _, line in run] for _, run in groupby(enumerate(lines), key=lambda pair: pair[1] - pair[0])]
    spans = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return spans + [place for place in places if isinstance(place, str)]
