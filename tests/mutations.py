"""What a stranger may have written into a text file: seeded changes of one that is good."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from memotr.errors import UserError

SEEDS = [pytest.param(range(40), id="few"), pytest.param(range(40, 1000), id="many", marks=pytest.mark.slow)]
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[A-Za-z_]+|[^\s]')
NASTY = (
    *(b"0", b"-1", b"1e308", b"1e999", b"NaN", b"Infinity", b"true", b"null", b"''", b'""', b"[]", b"{}", b"\n", b"\0"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"9" * 5000, b"0.5", b"1_0"),
    *(
        b'"\\ud800"',
        b'"\\u0000"',
        b'"../../x"',
        b'"/x"',
        b'"a\\nb"',
        b'"' + b"x" * 300 + b'"',
        b"[" * 3000,
        b"2001-99-99",
    ),
    *(
        b'{"a": [1, {"b": 2}]}',
        b"[[1]]",
        b"\xff",
        b"\xed\xa0\x80",
        "\u202e\u2028".encode(),
        b"\r",
        b"1",
        b"\xef\xbb\xbf",
    ),
    *(b"&a [*a]", b"!!int x", b"=", b":", b",", b'"', b"#", b"[", b"]", b"\t", b"-", b"1/0", b"0x10", b"\x1b[31m"),
)


def mutated(data: bytes, seed: int) -> bytes:
    """A few tokens replaced, dropped, repeated, or bytes put in between."""
    rng = random.Random(seed)
    if rng.random() < 0.05:
        return rng.choice(NASTY)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tokens = list(TOKEN.finditer(data)) or [re.match(b"", data)]
        token = rng.choice(tokens[: rng.choice((20, len(tokens)))])
        start, end = token.span()
        kind = rng.random()
        if kind < 0.6:
            data = data[:start] + rng.choice(NASTY) + data[end:]
        elif kind < 0.75:
            k = rng.randrange(len(data) + 1)
            data = data[:k] + rng.choice(NASTY) + data[k:]
        elif kind < 0.85:
            data = data[:start] + data[end:]
        elif kind < 0.95:
            data = data[:end] + data[start:]
        else:
            data = data[: rng.randrange(len(data) + 1)]
    return data


def survives(files: Iterable[Path], read: Callable[[], object], seeds: Iterable[int]) -> None:
    """Whatever is in one of the files, it is read or refused in one line. They are as they were afterwards."""
    good = {file: file.read_bytes() for file in files}
    read()
    for seed in seeds:
        file = random.Random(seed).choice(list(good))
        file.write_bytes(mutated(good[file], seed))
        try:
            read()
        except UserError as error:
            told = str(error)
        except Exception as error:
            error.add_note(f"seed {seed} of {file}: {file.read_bytes()[:500]!r}")
            raise
        else:
            told = ""
        finally:
            changed = file.read_bytes()
            file.write_bytes(good[file])
        assert "\n" not in told, (seed, changed[:500])
        assert len(told) < 1500, (seed, changed[:500])
