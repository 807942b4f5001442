"""Binary files as bad disks and broken downloads leave them: seeded changes of good ones."""

import random
import struct


def directory_damaged(content, seed):
    """A few bytes of a zip archive's central directory, and of what points at it, are others."""
    rng, start = random.Random(seed), content.rindex(b"PK\x01\x02", 0, len(content) - 200) - 300
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(start, len(content))] = rng.randrange(256)
    return bytes(changed)


def anywhere_damaged(content, seed):
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
