"""Seqmaps: text files that name the sequences of a split."""

from __future__ import annotations

from pathlib import Path

from memotr.documents import read_text
from memotr.errors import UserError

HEADING = "name"


def read_seqmap(path: Path) -> dict[str, int]:
    """Name of a sequence → its line, from 1, in the order of the file.

    One a line, in the first column; a heading ``name`` and blank lines are skipped.

    Raises:
        UserError: the file cannot be read, or names no sequence.
    """
    named: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.split(",")[0].strip()
        if name and (named or name != HEADING):
            named.setdefault(name, number)
    if not named:
        raise UserError(f"{path}: names no sequence; one a line is expected, below the heading {HEADING!r}")
    return named
