"""Which class names a file's own categories become, and which of them are left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memotr.documents import brief
from memotr.errors import UserError


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


def numbered_classes(classes: tuple[str, ...] | Mapping[int | str, str], place: Path) -> dict[int, str]:
    """Number in a class column → class name.

    Args:
        classes: names of 1, 2, …; or by number, which YAML may hold as text (``"1": person``).
        place: where they are from, for messages.

    Raises:
        UserError: a key that is no number (of at most 53 bits), or a number that is there twice.
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
