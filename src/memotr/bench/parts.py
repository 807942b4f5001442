"""Benchmark run over selected parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

import torch

from memotr.bench.machine import describe_machine
from memotr.bench.options import Options
from memotr.bench.report import Report, Table
from memotr.consoles import SafeConsole
from memotr.vocabulary import BenchmarkPart

PARTS: tuple[BenchmarkPart, ...] = get_args(BenchmarkPart)


def run_benchmark(options: Options, parts: Sequence[BenchmarkPart], folder: Path, console: SafeConsole) -> Report:
    """Measure parts; print and write each table as soon as it is complete.

    Args:
        options: settings of all parts.
        parts: parts to measure, in this order.
        folder: folder of ``bench.md`` and ``bench.json``, which are written again after every table.
        console: console for the tables.

    Raises:
        UserError: the files cannot be written.
        ImportError: a part needs a package that is not installed. It is raised before anything is measured.
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


def _load(part: BenchmarkPart) -> Callable[[Options], Iterator[Table]]:
    """Import the module of a part and return its ``measure`` function."""
    measure: Callable[[Options], Iterator[Table]] = import_module(f"memotr.bench.{part}").measure
    return measure
