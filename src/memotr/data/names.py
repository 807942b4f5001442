"""Names of sequences: choosing some by patterns, and naming them in messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

NAMED_AT_MOST = 5


def fits(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that any of the patterns fits; all where there is no pattern."""
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def shortened(names: Iterable[str]) -> str:
    """Return names separated by commas, the first few of many."""
    listed = list(names)
    more = f" and {len(listed) - NAMED_AT_MOST} more" if len(listed) > NAMED_AT_MOST else ""
    return ", ".join(listed[:NAMED_AT_MOST]) + more
