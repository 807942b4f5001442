"""Tables of measurements for the terminal, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table as RichTable

from memotr.bench.measure import Cell, Row, Spread
from memotr.files import replacing_all

MARKDOWN, JSON = "bench.md", "bench.json"


@dataclass(frozen=True)
class Table:
    """Table of rows with the same columns.

    Attributes:
        title: title.
        rows: rows, at least one.
        note: text below the table.

    Raises:
        ValueError: a row has other columns than the first.
    """

    title: str
    rows: Sequence[Row]
    note: str = ""

    def __post_init__(self) -> None:
        if any(list(row) != self.columns for row in self.rows):
            raise ValueError(f"table {self.title!r}: not all rows have the columns {self.columns}")

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.rows[0])

    def is_numeric(self, column: str) -> bool:
        """Return whether a column contains numbers."""
        return any(not isinstance(row[column], str) for row in self.rows)

    def rich(self) -> RichTable:
        """Return the table for the terminal."""
        table = RichTable(
            title=self.title,
            caption=self.note or None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for column in self.columns:
            table.add_column(column, justify="right" if self.is_numeric(column) else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(_text, row.values()))
        return table

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = ["---:" if self.is_numeric(column) else "---" for column in self.columns]
        lines = [self.columns, rule, *([_text(cell) for cell in row.values()] for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")

    def plain(self) -> dict[str, Any]:
        """Return the table as plain values for JSON."""
        rows = [{column: _plain(cell) for column, cell in row.items()} for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}


@dataclass
class Report:
    """Results of a benchmark run so far.

    Attributes:
        machine: description of the machine.
        parts: name of a part → its tables.
    """

    machine: Mapping[str, str]
    parts: dict[str, list[Table]] = field(default_factory=dict)

    def write(self, folder: Path) -> list[Path]:
        """Write ``bench.md`` and ``bench.json``; return their paths. Raises UserError if they cannot be written."""
        content = {"machine": dict(self.machine)}
        parts = {name: [table.plain() for table in tables] for name, tables in self.parts.items()}
        texts = {
            MARKDOWN: self.markdown(),
            JSON: json.dumps(content | {"parts": parts}, indent=1, ensure_ascii=False, allow_nan=False),
        }
        with replacing_all(folder, *texts) as files:
            for file, text in zip(files, texts.values(), strict=True):
                file.write_text(text.rstrip() + "\n", encoding="utf-8")
        return [folder / name for name in texts]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        lines = ["# Benchmark", "", *(f"- {name}: {value}" for name, value in self.machine.items()), ""]
        lines += ["Medians of the rounds, with minimum and maximum in brackets.", ""]
        for name, tables in self.parts.items():
            lines += [f"## {name.capitalize()}", "", *(table.markdown() for table in tables)]
        return "\n".join(lines)


def _text(cell: Cell) -> str:
    if isinstance(cell, Spread):
        return f"{_number(cell.middle)} ({_number(min(cell.values))}–{_number(max(cell.values))})"
    return cell if isinstance(cell, str) else _number(cell)


def _number(value: float) -> str:
    """Return a number as text with three significant digits."""
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1e}"


def _plain(cell: Cell) -> Any:
    """Return a cell as a value for JSON; NaN and infinity become null."""
    if isinstance(cell, float) and not isfinite(cell):
        return None
    if isinstance(cell, Spread):
        return {"median": cell.middle, "min": min(cell.values), "max": max(cell.values), "values": list(cell.values)}
    return cell
