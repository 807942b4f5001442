"""Tables of scores for the terminal, and CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from memotr.consoles import console
from memotr.evaluation.scoring import Scores, Teta

Row = Mapping[str, float]

PERCENT = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")
DETAILS = ("HOTA(0)", "MOTP", "IDP", "IDR")  # in percent, in the second table
NUMBERS = {"CLR_FP": "FP", "CLR_FN": "FN", "IDSW": "IDSW", "MT": "MT", "ML": "ML", "Frag": "Frag", "IDs": "IDs"}
TETA = ("TETA", "LocA", "AssocA", "ClsA", "LocRe", "LocPr", "AssocRe", "AssocPr", "ClsRe", "ClsPr")
COMBINED = "combined"
CLASS_MEAN, POOLED = "mean over classes", "all boxes"


def score_tables(scores: Scores) -> list[Table]:
    """Return tables in percent: a row per sequence (per class, if there are several), then the combined scores."""
    if len(scores.classes) == 1:
        kind, rows = "sequence", dict(scores.sequences)
        last: dict[str, Row] = {COMBINED: scores.combined}
    else:
        kind, rows = "class", {name: one.combined for name, one in scores.classes.items()}
        last = {POOLED: scores.pooled.combined, CLASS_MEAN: scores.combined}
    tables = [
        _table(kind, rows, last, {name: name for name in PERCENT}, {}),
        _table(kind, rows, last, {name: name for name in DETAILS}, NUMBERS),
    ]
    return tables + ([_teta_table(scores.teta)] if scores.teta is not None else [])


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables to standard output, each followed by a blank line; 200 columns wide if it is not a terminal."""
    target = console(width=200)
    for table in tables:
        target.print(table)
        target.print()


def write_csv(path: Path, scores: Scores) -> None:
    """Write all metrics as CSV, one row per class and sequence; percentages are written as fractions."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "sequence", *scores.combined])
        for name, sequence, row in _csv_rows(scores):
            writer.writerow([name, sequence, *row.values()])


def _csv_rows(scores: Scores) -> Iterator[tuple[str, str, Row]]:
    parts = dict(scores.classes)
    if len(parts) > 1:
        parts |= {POOLED: scores.pooled, CLASS_MEAN: scores.mean}
    for name, part in parts.items():
        for sequence, row in (part.sequences | {COMBINED: part.combined}).items():
            yield name, sequence, row


def _teta_table(teta: Teta) -> Table:
    rows = {name: row.summary() for name, row in teta.combined.classes.items() if name in teta.combined.present}
    last = {CLASS_MEAN: teta.combined.mean.summary()}
    table = _table("class", rows, last, {name: name for name in TETA}, {})
    table.title = "TETA"
    return table


def _table(
    kind: str, rows: Mapping[str, Row], last: Mapping[str, Row], percent: Mapping[str, str], numbers: Mapping[str, str]
) -> Table:
    """Return a table of scores.

    Args:
        kind: heading of the first column.
        rows: name → metrics of each row.
        last: name → metrics of the rows at the end, in bold.
        percent: metric → column heading, for fractions shown in percent.
        numbers: metric → column heading, for counts.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(kind, no_wrap=True)
    for heading in [*percent.values(), *numbers.values()]:
        table.add_column(heading, justify="right", no_wrap=True)
    for part, style in ((rows, ""), (last, "bold")):
        table.add_section()
        for name, row in part.items():
            cells = [f"{100 * row[metric]:.1f}" for metric in percent] + [f"{row[metric]:,}" for metric in numbers]
            table.add_row(Text(name), *cells, style=style)
    return table
