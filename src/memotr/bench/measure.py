"""Contenders in turns: a number is worth something beside another that was measured in the same minutes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memotr.allocation import keep_freed_memory
from memotr.processes import process_pool

SLEEP = 2_000_000  # cycles of a GPU: about a millisecond


@dataclass(frozen=True)
class Spread:
    """A number that was measured several times.

    Attributes:
        middle: the median, or a ratio of two medians.
        values: of the single rounds.
    """

    middle: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), tuple(values))

    def times(self, factor: float) -> Spread:
        """In another unit."""
        return Spread(factor * self.middle, tuple(factor * value for value in self.values))


Cell = str | int | float | Spread
Row = dict[str, Cell]
"""Column → what stands there; the unit is part of the column's name."""


@dataclass(frozen=True)
class Contender:
    """One of several ways to do the same.

    Attributes:
        name: in the first column.
        run: what is timed.
        prepare: what comes before every run, and is not.
        amount: how much of it (images, videos) a run does: times are of one.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    amount: int = 1


@dataclass(frozen=True)
class Timed:
    """A contender's seconds, one for each round, and what its last run returned."""

    contender: Contender
    seconds: tuple[float, ...]
    result: Any

    @property
    def spread(self) -> Spread:
        """Seconds."""
        return Spread.of(self.seconds)

    def speedup(self, base: Timed) -> Spread:
        """How many times as fast as ``base``: of the medians, and of each round in which both ran."""
        pairs = zip(base.seconds, self.seconds, strict=True)
        return Spread(base.spread.middle / self.spread.middle, tuple(theirs / ours for theirs, ours in pairs))


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    device: torch.device | str = "cpu",
    warm_up: int = 1,
    *,
    kernels_alone: bool = False,
) -> list[Timed]:
    """Run all contenders in turns, so that what else the machine does meets all of them alike.

    Args:
        contenders: the baseline first.
        rounds: of them that count.
        device: whose work is waited for.
        warm_up: rounds before them.
        kernels_alone: on CUDA count what the device does, not how long Python takes to ask for it; only for what never
            waits for the device.
    """
    seconds: list[list[float]] = [[] for _ in contenders]
    results: list[object] = [None for _ in contenders]
    for number in range(warm_up + rounds):
        for i, contender in enumerate(contenders):
            results[i] = None  # its memory may be needed
            contender.prepare()
            taken, results[i] = seconds_of(contender.run, torch.device(device), kernels_alone)
            if number >= warm_up:
                seconds[i].append(taken / contender.amount)
    return [Timed(*each) for each in zip(contenders, map(tuple, seconds), results, strict=True)]


def seconds_of(run: Callable[[], object], device: torch.device, kernels_alone: bool = False) -> tuple[float, object]:
    """How long a call takes, on CUDA until the last of its kernels has ended, and what it returns."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        if kernels_alone:
            torch.cuda._sleep(SLEEP)  # meanwhile all kernels are asked for
        start.record()
        result = run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, result
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def rows(timed: Sequence[Timed], per: str = "") -> list[Row]:
    """One for each contender, all compared with the first."""
    return [
        {
            "contender": each.contender.name,
            f"ms{per}": each.spread.times(1e3),
            "times as fast": 1 if each is timed[0] else each.speedup(timed[0]),
        }
        for each in timed
    ]


def peak_memory(work: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """Peak memory in MB of a process that prepares some work and does it twice.

    Resident on a CPU (Linux); allocated on CUDA, where anything is.

    Args:
        work: a function of a module; from the arguments, which are sent to the process, it makes what is done.
        arguments: of ``work``.
    """
    with process_pool(1) as process:
        return process.submit(_peak_alone, torch.get_num_threads(), work, *arguments).result()


def _peak_alone(threads: int, work: Callable[..., Callable[[], object]], *arguments: object) -> float:
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the commands do
    run = work(*arguments)
    for _ in range(2):
        run()
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage's ru_maxrss, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
