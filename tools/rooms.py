"""Rooms of the package, the imports between them, and the drawing of both in ``docs/architecture.svg``.

python tools/rooms.py
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.util import resolve_name
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "memotr"
DRAWING = ROOT / "docs" / "architecture.svg"

# Top to bottom. A room (a module or folder of the package) may import rooms of its own row and of the rows beneath it;
# within a row two rooms never need each other. Imports inside functions and under TYPE_CHECKING count like all others.
ROWS = (
    {"__init__", "__main__", "cli"},
    {"api"},
    {"bench", "demo", "export", "inspection", "submission", "reproduce"},
    {"training", "evaluation"},
    {"tracking", "metrics"},
    {"data"},
    {"io"},
    {"weights"},
    {"build"},
    {"models"},
    {"config"},
    {"files", "filenames", "consoles"},
    {
        *("published", "vocabulary", "structures", "boxes", "tracks", "documents", "errors", "addresses"),
        *("allocation", "openmp", "processes", "signals", "terminal"),
    },
)
ENTRIES = {"__init__", "__main__"}  # drawn as the package itself
BASE = ROWS[-2] | ROWS[-1]  # drawn as one room

WIDTH, ROW, BOX, MARGIN = 900, 62, 34, 20  # pixels


class Import(NamedTuple):
    """Import of one module.

    Attributes:
        place: file and line of the statement.
        room: room that the statement is in.
        target: dotted name of the imported module.
    """

    place: str
    room: str
    target: str

    @property
    def target_room(self) -> str | None:
        """Room of this package that is imported; None for other packages and for ``memotr.__version__``."""
        package, _, inside = self.target.partition(".")
        if package != "memotr" or inside == "__version__":
            return None
        first = inside.partition(".")[0]
        return first if (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file() else "__init__"


def package_imports() -> Iterator[Import]:
    """Yield every import in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        room = inside.parts[0].removesuffix(".py")
        parent = ".".join(("memotr", *inside.parts[:-1]))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            place = f"{inside}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from (Import(place, room, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = resolve_name("." * node.level + (node.module or ""), parent)
                yield from (Import(place, room, f"{module}.{name.name}") for name in node.names)


def needs(imports: Iterable[Import]) -> dict[str, set[str]]:
    """Return the other rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for entry in imports:
        if entry.target_room and entry.target_room != entry.room:
            found.setdefault(entry.room, set()).add(entry.target_room)
    return found


def direct(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Drop every edge of an acyclic graph that a longer path replaces (transitive reduction)."""

    def beneath(room: str) -> set[str]:
        return set().union(*({other} | beneath(other) for other in edges.get(room, ())))

    return {room: others - set().union(*map(beneath, others)) for room, others in edges.items()}


def levels(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the rooms in rows from top to bottom, each as far down as the rooms that it imports allow."""

    def height(room: str) -> int:
        return 1 + max(map(height, edges.get(room, ())), default=-1)

    rows: dict[int, list[str]] = {}
    for room in sorted(edges.keys() | set().union(*edges.values())):
        rows.setdefault(height(room), []).append(room)
    return [rows[row] for row in sorted(rows, reverse=True)]


def draw(edges: Mapping[str, set[str]]) -> str:
    """Return the SVG of the rooms in their rows and the imports that no longer path replaces."""
    drawn = {
        room: {"base" if other in BASE else other for other in others} - ENTRIES
        for room, others in edges.items()
        if room not in ENTRIES | BASE
    }
    rows = levels(drawn)
    labels = {"base": ", ".join(sorted(BASE))}
    places: dict[str, tuple[float, float, float]] = {}  # center x, top y, width
    for y, row in enumerate(rows):
        above = {room: [places[one][0] for one, others in drawn.items() if room in others] for room in row}
        for x, room in enumerate(sorted(row, key=lambda room: fmean(above[room] or [0]))):
            width = WIDTH - 2 * MARGIN if room == "base" else 130.0
            places[room] = (WIDTH * (x + 1) / (len(row) + 1), MARGIN + y * ROW, width)
    height = 2 * MARGIN + (len(rows) - 1) * ROW + BOX
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        "<title>Rooms of the package: each imports only rooms beneath it</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a94a6"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for room, others in sorted(direct(drawn).items()):
        for other in sorted(others):
            (x, y, _), (end, bottom, wide) = places[room], places[other]
            end = min(max(x, end - wide / 2 + 20), end + wide / 2 - 20) if other == "base" else end
            bend = max(18, (bottom - y - BOX) / 2)
            lines.append(
                f'<path d="M{x:.0f} {y + BOX} C{x:.0f} {y + BOX + bend:.0f} {end:.0f} {bottom - bend:.0f} {end:.0f} '
                f'{bottom}" fill="none" stroke="#8a94a6" stroke-width="1.3" marker-end="url(#tip)"/>'
            )
    for room, (x, y, width) in places.items():
        size = 12 if room == "base" else 15
        lines.append(
            f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="6" fill="#eef3fb" '
            f'stroke="#3b5b92"/><text x="{x:.0f}" y="{y + BOX / 2 + 5:.0f}" font-size="{size}" text-anchor="middle" '
            f'fill="#1d2a44">{escape(labels.get(room, room))}</text>'
        )
    return "\n".join((*lines, "</svg>\n"))


if __name__ == "__main__":
    DRAWING.write_text(draw(needs(package_imports())), encoding="utf-8")
    sys.stdout.write(f"wrote {DRAWING}\n")
