"""Cases: damaged copies of a target's seed files, drawn from a seed and a number or read from the corpus."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.hostile import ARENA, FILE_NAMES
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import BOX
from tests.fuzz.targets import TARGETS, Target

TEXT = frozenset({"txt", "ini", "json", "odgt", "yaml"})
"""File endings in which placeholders of folders are replaced."""


@dataclass(frozen=True)
class Case:
    """One input to the command line.

    Attributes:
        target: key of :data:`TARGETS`.
        words: the command line.
        files: path under ``in`` → its new bytes.
        moves: pairs of paths under ``in``: old and new, in order.
    """

    target: str
    words: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    moves: tuple[tuple[str, str], ...] = ()

    def lay_out(self, seeds: Path, arena: Path) -> Path:
        """Write the case into an empty folder and return the working directory of its command."""
        box = arena / "1" / "2" / "3" / "box"
        shutil.rmtree(arena, ignore_errors=True)
        box.mkdir(parents=True)
        (box / "out").mkdir()
        (arena / "tmp").mkdir()
        shutil.copytree(seeds / TARGETS[self.target].seed, box / "in")
        for name, content in self.files.items():
            file = box / "in" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for file in (box / "in").rglob("*"):
            if file.suffix[1:] in TEXT and file.is_file():
                before = file.read_bytes()
                after = before.replace(BOX.encode(), str(box).encode()).replace(ARENA.encode(), str(arena).encode())
                if after != before:
                    file.write_bytes(after)
        for old, new in self.moves:
            with contextlib.suppress(OSError):  # another one has the name already
                (box / "in" / old).rename(box / "in" / new)
        return box

    def command(self, arena: Path) -> list[str]:
        return [word.replace(ARENA, str(arena)) for word in self.words]

    def to_json(self, **more: Any) -> str:
        files = {name: _encode(content) for name, content in self.files.items()}
        stored = {"target": self.target, "words": self.words, "files": files, "moves": self.moves, **more}
        return json.dumps(stored, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Case:
        stored = json.loads(text)
        files = {name: _decode(content) for name, content in stored["files"].items()}
        moves = tuple((old, new) for old, new in stored["moves"])
        return Case(stored["target"], tuple(stored["words"]), files, moves)


def _encode(content: bytes) -> dict[str, str]:
    try:
        text = content.decode("ascii")
        if len(text) < 2000:
            return {"text": text}
    except UnicodeDecodeError:
        pass
    return {"zlib": base64.b85encode(zlib.compress(content, 9)).decode()}


def _decode(stored: dict[str, str]) -> bytes:
    return stored["text"].encode() if "text" in stored else zlib.decompress(base64.b85decode(stored["zlib"]))


def draw(seed: int, number: int, seeds: Path, targets: Sequence[str] = tuple(TARGETS)) -> Case:
    """Return the case with this number; the same seed gives the same cases."""
    rng = Random(f"{seed}:{number}")
    name = rng.choices(targets, [TARGETS[one].weight for one in targets])[0]
    target = TARGETS[name]
    command = rng.choice(target.commands)
    if target.words is not None:
        return Case(name, (*command, *target.words(rng)))
    folder = seeds / target.seed
    if target.renamed and rng.random() < 0.12:
        moves = _rename(folder, rng)
        moved = {f"in/{old}": f"in/{new}" for old, new in moves}
        return Case(name, tuple(moved.get(word, word) for word in command), moves=moves)
    files = _attacked(folder, target, command)
    if not files:
        return Case(name, command)
    changed = {}
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        file = rng.choice(files)
        others = [one for one in files if one.suffix == file.suffix and one != file]
        spliced = [rng.choice(others).read_bytes()] if others else []
        changed[str(file.relative_to(folder))] = mutate(file.name, file.read_bytes(), rng, spliced)
    return Case(name, command, changed)


def _attacked(folder: Path, target: Target, command: Sequence[str]) -> list[Path]:
    """Return the files that a target attacks; the pattern ``@`` is the first path in its command."""
    named = next((word.removeprefix("in/") for word in command if word.startswith("in/")), "")
    found: set[Path] = set()
    for pattern in target.files:
        place = folder / named
        if pattern != "@":
            found.update(folder.glob(pattern))
        else:
            found.update(place.rglob("*") if place.is_dir() else [place])
    return sorted(file for file in found if file.is_file())


def _rename(folder: Path, rng: Random) -> tuple[tuple[str, str], ...]:
    """Give a hostile name to one file or folder, or to all that share its stem."""
    paths = sorted((path for path in folder.rglob("*") if path.suffix != ".safetensors"), reverse=True)
    first, name = rng.choice(paths), _file_name(rng.choice(FILE_NAMES))
    everywhere, ending = rng.random() < 0.5, rng.random() < 0.7
    chosen = [path for path in paths if path.stem == first.stem] if everywhere else [first]
    new = (path.with_name(f"{name}{path.suffix if ending else ''}") for path in chosen)
    pairs = [(str(old.relative_to(folder)), str(one.relative_to(folder))) for old, one in zip(chosen, new, strict=True)]
    return tuple(pairs[:20])


def _file_name(name: str) -> str:
    """Return a name that the file system accepts: short, and without surrogates that encode no byte."""
    encoded = name.encode("utf-8", "replace" if any("\ud800" <= c < "\udc80" for c in name) else "surrogateescape")
    return os.fsdecode(encoded[:200])
