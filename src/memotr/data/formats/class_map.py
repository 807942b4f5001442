"""Mapping of a file's categories to class names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memotr.documents import brief
from memotr.errors import UserError


@dataclass(frozen=True)
class ClassMap:
    """Mapping of categories as written in a file (numbers or names) to classes.

    Attributes:
        names: class names in the order of their labels.
        labels: category → index into ``names``; several categories may share a class.
        left_out: categories that are dropped on purpose, others without a class being errors; None: all that have no
            class.
    """

    names: tuple[str, ...]
    labels: Mapping[Any, int]
    left_out: frozenset[Hashable] | None = None

    @classmethod
    def of(cls, pairs: Mapping[Any, str], left_out: Iterable[Hashable] | None = None) -> ClassMap:
        """Return the map of category → class name, with classes in the order in which their names first appear."""
        names = tuple(dict.fromkeys(pairs.values()))
        labels = {category: names.index(name) for category, name in pairs.items()}
        return cls(names, labels, None if left_out is None else frozenset(left_out))

    def drops(self, category: Hashable) -> bool:
        """Return whether a category without a class is dropped rather than an error."""
        return self.left_out is None or category in self.left_out


def numbered_classes(classes: tuple[str, ...] | Mapping[int | str, str], place: Path) -> dict[int, str]:
    """Return class number → class name for data with a class column.

    Args:
        classes: names of classes 1, 2, …; or number → name, where YAML may have the number as text (``"1": person``).
        place: source of the classes, for messages.

    Raises:
        UserError: a key is not a number (of at most 53 bits), or a number is repeated.
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
                f"{place}: classes: {brief(key)} is not a number, as the class column has them; name classes as "
                "{1: person, …} or [person, …]"
            ) from None
        if number in numbered:
            raise UserError(f"{place}: classes: {number} is there twice ({numbered[number]}, {name}); remove one")
        numbered[number] = name
    return numbered
