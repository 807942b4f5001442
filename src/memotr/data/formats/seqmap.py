"""Seqmaps: text files that name the sequences of a split."""

from __future__ import annotations

from pathlib import Path

from memotr.documents import brief, read_text
from memotr.errors import UserError

HEADING = "name"
LONGEST = 255  # characters of a name: file systems allow no more


def read_seqmap(path: Path) -> dict[str, int]:
    """Name of a sequence → its line, from 1, in the order of the file.

    One a line, in the first column; a heading ``name`` and blank lines are skipped.

    Raises:
        UserError: the file cannot be read, names no sequence, or has a name that no folder can have.
    """
    named: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.split(",")[0].strip()
        if len(name) > LONGEST:
            raise UserError(f"{path}, line {number}: {brief(name)} is too long for the name of a sequence")
        if name and (named or name != HEADING):
            named.setdefault(name, number)
    if not named:
        raise UserError(f"{path}: names no sequence; one a line is expected, below the heading {HEADING!r}")
    return named
