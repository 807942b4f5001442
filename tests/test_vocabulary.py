"""Every string vocabulary is spelled once."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import memotr
from memotr import vocabulary

PACKAGE = Path(memotr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

Members = frozenset[str]


def known_vocabularies() -> dict[str, Members]:
    return {name: frozenset(get_args(value)) for name, value in vars(vocabulary).items() if get_args(value)}


def strings_of(elements: list[ast.expr]) -> list[str]:
    return [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]


def literals_in(tree: ast.AST) -> Iterator[tuple[int, Members]]:
    """Line and members, without "auto", of every `Literal[...]` of strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] == "Literal":
            elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            yield node.lineno, frozenset(strings_of(elements)) - {"auto"}


def spelled_in(tree: ast.AST) -> Iterator[tuple[int, Members]]:
    """Line and members, without "auto", of every tuple, list and set that is written out in strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            strings = strings_of(node.elts)
            if len(strings) == len(node.elts):
                yield node.lineno, frozenset(strings) - {"auto"}


def test_no_two_literals_have_the_same_members() -> None:
    places: dict[Members, list[str]] = defaultdict(list)
    for path in FILES:
        for line, members in literals_in(ast.parse(path.read_text(encoding="utf-8"))):
            places[members].append(f"{path.relative_to(PACKAGE)}:{line}")
    assert frozenset({"32", "bf16", "fp16"}) in places
    twice = {tuple(sorted(members)): lines for members, lines in places.items() if members and len(lines) > 1}
    assert not twice, "import these from memotr.vocabulary"


def test_no_list_of_strings_repeats_a_vocabulary() -> None:
    known = {members - {"auto"}: name for name, members in known_vocabularies().items()}
    repeated = [
        f"{path.relative_to(PACKAGE)}:{line}: {known[members]}"
        for path in FILES
        if path.name != "vocabulary.py"
        for line, members in spelled_in(ast.parse(path.read_text(encoding="utf-8")))
        if members in known
    ]
    assert not repeated, "take these from memotr.vocabulary, with typing.get_args"


def test_the_vocabulary_imports_nothing() -> None:
    tree = ast.parse((PACKAGE / "vocabulary.py").read_text(encoding="utf-8"))
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["from typing import Literal"]
