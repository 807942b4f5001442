"""Seeded damage of good binary files, as bad disks and broken downloads leave it, and what a reader may do about it."""

import random
import struct

import pytest

from memotr.errors import UserError

few_or_many_seeds = pytest.mark.parametrize(
    "seeds", [pytest.param(range(40), id="few"), pytest.param(range(40, 300), id="many", marks=pytest.mark.slow)]
)


def assert_read_or_refused(read, path, seed):
    """Read damaged data: that succeeds, or ends in a UserError of one line."""
    message = ""
    try:
        read(path)
    except UserError as error:
        message = str(error)
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise
    assert "\n" not in message, seed


def directory_damaged(content, seed):
    """Return a zip archive with a few other bytes in its central directory or in the pointers to it."""
    rng, start = random.Random(seed), content.rindex(b"PK\x01\x02", 0, len(content) - 200) - 300
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(start, len(content))] = rng.randrange(256)
    return bytes(changed)


def anywhere_damaged(content, seed):
    """Return a file with bytes changed or missing anywhere, most often near its beginning."""
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        at = rng.randrange(len(changed) if rng.random() < 0.5 else min(3000, len(changed)))
        kind = rng.random()
        if kind < 0.6:
            changed[at] = rng.randrange(256)
        elif kind < 0.8:
            changed[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, struct.pack("<Q", 2 ** rng.randrange(64))))
        elif kind < 0.9:
            del changed[at : at + rng.randrange(1, 100)]
        else:
            del changed[rng.randrange(len(changed)) :]
            break
    return bytes(changed) or b"\0"
