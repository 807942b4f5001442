"""Names of sequences: which of them a user means, and how many of them a message names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

NAMED_AT_MOST = 5
TO_ALLOW = "track what is missing, or count it as empty with --allow-missing"


def fits(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that any of the patterns fits; all where there is no pattern."""
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def shortened(names: Iterable[str]) -> str:
    """Names separated by commas, the first few of many."""
    listed = list(names)
    more = f" and {len(listed) - NAMED_AT_MOST} more" if len(listed) > NAMED_AT_MOST else ""
    return ", ".join(listed[:NAMED_AT_MOST]) + more
