"""JSON whose problems are collected, and its fields with their types checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memotr import documents
from memotr.data.formats.problems import Problems


def read_json(file: Path, problems: Problems) -> Any:
    """What the file holds; None, and an error with its line, where it cannot be read."""
    try:
        return documents.read_json(file)
    except documents.DocumentError as error:
        problems.unreadable(file, error)
        return None


def numbers(value: Any, count: int) -> list[float] | None:
    """``value`` where it is a list of ``count`` numbers (not finite ones, too), else None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    return value if all(type(v) is float or (type(v) is int and abs(v) < 2**63) for v in value) else None


def objects(value: Any) -> list[dict[str, Any]] | None:
    """``value`` where it is a list of JSON objects, else None."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return None
    return value
