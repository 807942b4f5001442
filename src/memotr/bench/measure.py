"""Timing of contenders that run in turns, so that changes of the machine's load affect all of them."""

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

SLEEP = 2_000_000
"""GPU cycles, about a millisecond."""


@dataclass(frozen=True)
class Spread:
    """Quantity that was measured several times.

    Attributes:
        middle: median, or ratio of two medians.
        values: values of the rounds.
    """

    middle: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(statistics.median(values), tuple(values))

    def times(self, factor: float) -> Spread:
        """Return the same spread in another unit."""
        return Spread(factor * self.middle, tuple(factor * value for value in self.values))


Cell = str | int | float | Spread
Row = dict[str, Cell]
"""Column name → cell; the name includes the unit."""


@dataclass(frozen=True)
class Contender:
    """One of several implementations of the same work.

    Attributes:
        name: name in the first column.
        run: work that is timed.
        prepare: untimed work before every run.
        amount: number of items (images, videos) in a run; times are per item.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    amount: int = 1


@dataclass(frozen=True)
class Timed:
    """Seconds of a contender in each round, and the result of its last run."""

    contender: Contender
    seconds: tuple[float, ...]
    result: Any

    @property
    def spread(self) -> Spread:
        """Spread of the seconds."""
        return Spread.of(self.seconds)

    def speedup(self, base: Timed) -> Spread:
        """Return the speed relative to ``base``, from the medians and from each round."""
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
    """Run all contenders in turns, so that other load on the machine affects all of them.

    Args:
        contenders: the baseline first.
        rounds: number of timed rounds.
        device: device whose work is included in the time.
        warm_up: number of rounds before the timed ones.
        kernels_alone: on CUDA, time the kernels without their launches by Python; only for work that never waits for
            the device.

    Returns:
        Times and last results, in the order of the contenders.
    """
    seconds: list[list[float]] = [[] for _ in contenders]
    results: list[object] = [None for _ in contenders]
    for number in range(warm_up + rounds):
        for i, contender in enumerate(contenders):
            results[i] = None  # frees memory
            contender.prepare()
            elapsed, results[i] = seconds_of(contender.run, torch.device(device), kernels_alone)
            if number >= warm_up:
                seconds[i].append(elapsed / contender.amount)
    return [Timed(*each) for each in zip(contenders, map(tuple, seconds), results, strict=True)]


def seconds_of(run: Callable[[], object], device: torch.device, kernels_alone: bool = False) -> tuple[float, object]:
    """Return the seconds of a call, on CUDA up to the end of its last kernel, and the result of the call."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        if kernels_alone:
            torch.cuda._sleep(SLEEP)  # keeps the GPU busy while Python launches all kernels
        start.record()
        result = run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, result
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


def rows(timed: Sequence[Timed], per: str = "") -> list[Row]:
    """Return a row for each contender, with its speed relative to the first one.

    Args:
        timed: times of the contenders.
        per: unit of the work in the heading of the times, such as " per image".
    """
    return [
        {
            "contender": each.contender.name,
            f"ms{per}": each.spread.times(1e3),
            "times as fast": 1 if each is timed[0] else each.speedup(timed[0]),
        }
        for each in timed
    ]


def peak_memory(work: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """Return the peak memory in MB of a new process that prepares some work and runs it twice.

    It is the resident memory on a CPU (Linux), and the allocated memory on CUDA.

    Args:
        work: module-level function that prepares the work and returns a function that runs it.
        arguments: arguments of ``work``, which are pickled.
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
    # Not getrusage's ru_maxrss, which starts at the value of the parent process.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
