"""Mapping from the categories of a file to class names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memotr.documents import brief
from memotr.errors import UserError


@dataclass(frozen=True)
class ClassMap:
    """Mapping from categories as written in a file (numbers or names) to classes.

    Attributes:
        names: class names in the order of their labels.
        labels: category → index into ``names``; several categories may share a class.
        dropped: categories without a class that are dropped; any other category without a class is an error. None:
            all categories without a class are dropped.
    """

    names: tuple[str, ...]
    labels: Mapping[Any, int]
    dropped: frozenset[Hashable] | None = None

    @classmethod
    def from_pairs(cls, pairs: Mapping[Any, str], dropped: Iterable[Hashable] | None = None) -> ClassMap:
        """Return the class map for pairs category → class name; classes are ordered by their first appearance."""
        names = tuple(dict.fromkeys(pairs.values()))
        labels = {category: names.index(name) for category, name in pairs.items()}
        return cls(names, labels, None if dropped is None else frozenset(dropped))

    def drops(self, category: Hashable) -> bool:
        """Return whether a category without a class is dropped; otherwise it is an error."""
        return self.dropped is None or category in self.dropped


def numbered_classes(classes: tuple[str, ...] | Mapping[int | str, str], place: Path) -> dict[int, str]:
    """Return class number → class name for data with a class column.

    Args:
        classes: names of classes 1, 2, …; or number → name, where the number may be text in YAML (``"1": person``).
        place: source of the classes, for messages.

    Raises:
        UserError: a key is not a whole number below 2**53, or a number is repeated.
    """
    if not isinstance(classes, Mapping):
        return dict(enumerate(classes, start=1))
    numbered: dict[int, str] = {}
    for key, name in classes.items():
        try:
            number = int(key)
            if abs(number) >= 2**53:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{place}: classes: {brief(key)} is not a number, but the class column has numbers; name classes as "
                "{1: person, …} or [person, …]"
            ) from None
        if number in numbered:
            raise UserError(f"{place}: classes: {number} is repeated ({numbered[number]}, {name}); remove one")
        numbered[number] = name
    return numbered
