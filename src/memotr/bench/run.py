"""All parts in one run: on the terminal as they come, and in two files that hold everything so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

import torch

from memotr.bench.machine import describe_machine
from memotr.bench.options import Options
from memotr.bench.report import Report, Table
from memotr.consoles import SafeConsole

Part = Literal["operator", "frame", "outside", "track", "training", "loading", "evaluation", "roofline", "contention"]
PARTS: tuple[Part, ...] = get_args(Part)


def run_benchmark(options: Options, parts: Sequence[Part], folder: Path, console: SafeConsole) -> Report:
    """Measure, print and write.

    Args:
        options: what is measured.
        parts: in this order.
        folder: of ``bench.md`` and ``bench.json``, which are written anew after every table.
        console: shows the tables.

    Raises:
        UserError: the files cannot be written.
        ImportError: a part needs a package that is not installed; nothing has been measured then.
    """
    measures = {part: _load(part) for part in parts}
    report = Report(describe_machine(torch.device(options.device)))
    for part, measure in measures.items():
        console.print(part, style="bold")
        for table in measure(options):
            report.parts.setdefault(part, []).append(table)
            report.write(folder)
            console.print(table.rich())
    return report


def _load(part: Part) -> Callable[[Options], Iterator[Table]]:
    """A part is a module: no others are imported than those that are measured."""
    measure: Callable[[Options], Iterator[Table]] = import_module(f"memotr.bench.{part}").measure
    return measure
