"""Reading of text, JSON and YAML from any origin; errors name the file and the line in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from memotr.errors import UserError

MAX_DEPTH = 50
"""Maximum depth of nested lists and maps."""
MAX_VALUES = 100_000
"""Maximum number of values in a YAML document or in settings, with expanded aliases."""
MAX_YAML_LENGTH = 300_000
"""Maximum number of characters of a YAML document, which PyYAML parses in a few seconds."""
MAX_NUMBER = 10**30
"""Largest whole number. Python does not print numbers with thousands of digits."""
MAX_BRIEF_LENGTH = 80
"""Maximum number of characters of a value from a file in a message."""

_NESTED = f"lists and maps in it are nested more than {MAX_DEPTH} levels deep"
_NO_TEXT = "a text in it has a NUL or an unpaired surrogate, which no name can have"
_DIGITS = "a number in it has thousands of digits"
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPES = re.compile(r"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<unusable>\\u(?:[dD][89a-fA-F]..|0000))")  # in JSON
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))


class DocumentError(UserError):
    """Error of a document that cannot be used.

    Attributes:
        reason: what is wrong.
        line: line of the problem, counted from 1; None if it is not known.
    """

    def __init__(self, origin: str | Path, reason: str, line: int | None = None) -> None:
        super().__init__(f"cannot read {origin}: {reason}" if line is None else f"{origin}, line {line}: {reason}")
        self.reason = reason
        self.line = line


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises:
        DocumentError: the file cannot be read, is not UTF-8 or holds a NUL.
    """
    return _decode(_read(path), path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises DocumentError as :func:`parse_json`, or if it cannot be read."""
    return parse_json(_read(path), path)


def parse_json(data: bytes | str, origin: str | Path) -> Any:
    """Return the content of a JSON document.

    Raises:
        DocumentError: it is not JSON, is nested too deeply, or has a number or text that cannot be used.
    """
    text = data if isinstance(data, str) else _decode(data, origin)
    if _is_deep(text.encode(errors="replace")):  # before the parser, whose own limit depends on the Python version
        raise DocumentError(origin, _NESTED)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} (column {error.colno}); is the file cut short?"
        raise DocumentError(origin, reason, error.lineno) from None
    except ValueError:  # Python limits the number of digits
        raise DocumentError(origin, _DIGITS) from None
    for escape in _ESCAPES.finditer(text) if "\\u" in text else ():
        if escape["unusable"]:
            raise DocumentError(origin, _NO_TEXT, text.count("\n", 0, escape.start()) + 1)
    return content


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises DocumentError as :func:`parse_yaml`, or if it cannot be read."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, origin: str | Path) -> Any:
    """Return the content of a YAML document: plain values only.

    Raises:
        DocumentError: it is not YAML, has a key twice, or is refused by :func:`check_values`.
    """
    if len(text) > MAX_YAML_LENGTH:
        raise DocumentError(origin, f"{len(text):,} characters are too many for settings")
    try:
        content = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"not valid YAML: {' '.join(str(error.problem or error.context).split())}"
        raise DocumentError(origin, reason, None if mark is None else mark.line + 1) from None
    except yaml.YAMLError as error:
        raise DocumentError(origin, f"not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise DocumentError(origin, _NESTED) from None
    except (ValueError, OverflowError):  # an escape such as "\U00110000"
        raise DocumentError(origin, "not valid YAML: an escape in it is no character") from None
    check_values(content, origin)
    return content


def check_values(content: Any, origin: str | Path) -> None:
    """Raise DocumentError for too many or too deeply nested values, and for numbers and texts that cannot be used.

    A YAML alias counts each time it is used.
    """
    level, values = [content], 0
    for _ in range(MAX_DEPTH):
        values += len(level)
        if values > MAX_VALUES:
            raise DocumentError(origin, f"it has more than {MAX_VALUES:,} values")
        for value in level:
            if isinstance(value, str) and _UNUSABLE.search(value):
                raise DocumentError(origin, f"{_NO_TEXT}: {brief(value)}")
            if isinstance(value, int) and abs(value) > MAX_NUMBER:
                raise DocumentError(origin, f"a number in it is beyond {MAX_NUMBER:.0e}")
        level = list(islice(chain.from_iterable(map(_inside, level)), MAX_VALUES + 1))
        if not level:
            return
    raise DocumentError(origin, _NESTED)


def brief(value: Any) -> str:
    """Return the ``repr`` of a value from a file for a message: on one line, shortened if it is long."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # thousands of digits or levels
        text = f"a {type(value).__name__}"
    return on_one_line(text)


def on_one_line(text: str) -> str:
    """Return a text from a file for a message: on one line, shortened if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_BRIEF_LENGTH else f"{text[: MAX_BRIEF_LENGTH - 1]}…"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(path, error.strerror or str(error)) from error


def _decode(data: bytes, origin: str | Path) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(origin, "it is not text in UTF-8") from None
    if "\0" in text:
        raise DocumentError(origin, "it is not text: it has a NUL", text.count("\n", 0, text.index("\0")) + 1)
    return text


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def _is_deep(document: bytes) -> bool:
    """Return whether a JSON document, valid or cut short, is nested too deeply, without a slow walk through it."""
    brackets = document.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_BRACKETS)
    brackets = re.sub(rb'"[^"]*"', b"", brackets.replace(b'""', b""))  # without strings
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")  # without the innermost level
    unclosed = brackets.count(b"[") + brackets.count(b"{")
    return b"[]" in brackets or b"{}" in brackets or unclosed > MAX_DEPTH


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that also refuses duplicate keys and raises only YAML errors."""

    merged = 0  # pairs of all maps so far, those of merge keys (<<) included

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise yaml.composer.ComposerError(
                        None, None, f"the key {brief(key.value)} is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MAX_VALUES:
            raise yaml.constructor.ConstructorError(None, None, "merge keys make it too large", node.start_mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # dates, numbers, tags on them
            kind = node.tag.rpartition(":")[2]
            problem = f"{brief(node.value)} is no {kind}" if isinstance(node, yaml.ScalarNode) else f"no {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
