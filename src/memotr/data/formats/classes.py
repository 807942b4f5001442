"""Which class names a file's own categories become, and which of them are left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassMap:
    """From a category as a file writes it (a number or a name) to a class.

    Attributes:
        names: the classes, in the order of their labels.
        labels: category → index into ``names``; several may become the same class.
        left_out: categories that are dropped knowingly; None: all that have no class. Any other is an error.
    """

    names: tuple[str, ...]
    labels: Mapping[Any, int]
    left_out: frozenset[Hashable] | None = None

    @classmethod
    def of(cls, pairs: Mapping[Any, str], left_out: Iterable[Hashable] | None = None) -> ClassMap:
        """From category → class name; classes are in the order in which their names first appear."""
        names = tuple(dict.fromkeys(pairs.values()))
        labels = {category: names.index(name) for category, name in pairs.items()}
        return cls(names, labels, None if left_out is None else frozenset(left_out))

    def drops(self, category: Hashable) -> bool:
        """Whether a category without a class is left out rather than an error."""
        return self.left_out is None or category in self.left_out
