"""Run many cases in several processes, group their faults, and shrink the cases that show them."""

from __future__ import annotations

import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fuzz.cases import Case, draw
from tests.fuzz.environment import ENVIRONMENT
from tests.fuzz.sandbox import Sandbox, warm
from tests.fuzz.verdict import Finding, Outcome

TRIES = 60
"""Largest number of runs spent on shrinking one case."""

_sandbox: Sandbox | None = None


def _silent(_report: Report) -> None:
    pass


@dataclass
class Found:
    """One kind of fault: the first case that showed it, and the number of cases that did."""

    finding: Finding
    number: int
    case: Case
    count: int = 1


@dataclass
class Report:
    """Result of an attack.

    Attributes:
        cases: number of cases that ran.
        seconds: target → wall-clock times of its cases.
        found: key of a finding → the kind of fault.
        slow: numbers of cases that exceeded the time limit once, but not when run again alone.
    """

    cases: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    slow: list[int] = field(default_factory=list)

    def add(self, number: int, case: Case, seconds: float, findings: Sequence[Finding]) -> None:
        self.cases += 1
        self.seconds.setdefault(case.target, []).append(seconds)
        for finding in findings:
            known = self.found.get(finding.key)
            if known is None:
                self.found[finding.key] = Found(finding, number, case)
            else:
                known.count += 1
                if number < known.number:
                    known.finding, known.number, known.case = finding, number, case

    def summary(self) -> list[str]:
        """Return one line per kind of fault."""
        return [f"case {one.number}: {key}: {one.finding.detail}" for key, one in self.found.items()]


class Workers:
    """Pool of processes that have imported the package and fork once per case."""

    def __init__(self, seeds: Path, count: int) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="memotr-fuzz-")
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (seeds, Path(self._scratch.name)))
        before = dict(os.environ)
        os.environ.update(ENVIRONMENT)  # processes take it over when they start: before they import anything
        for started in [self._pool.submit(os.getpid) for _ in range(count)]:
            started.result()
        os.environ.clear()
        os.environ.update(before)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._scratch.cleanup()

    def run(self, cases: Sequence[Case]) -> list[tuple[float, list[Finding]]]:
        return list(self._pool.map(_attempt, cases))

    def outcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        return list(self._pool.map(_outcome, cases))

    def attack(
        self,
        seed: int,
        numbers: Sequence[int],
        targets: Sequence[str],
        progress: Callable[[Report], None] = _silent,
    ) -> Report:
        """Run the cases of these numbers; rerun those that exceed the time limit, one at a time."""
        report = Report()
        waiting = [self._pool.submit(_attempt_number, seed, number, targets) for number in numbers]
        hung = []
        for done in as_completed(waiting):
            number, case, seconds, findings = done.result()
            if any(finding.kind == "hang" for finding in findings):
                hung.append((number, case))
            else:
                report.add(number, case, seconds, findings)
            progress(report)
        for number, case in sorted(hung, key=lambda one: one[0]):
            seconds, findings = self._pool.submit(_attempt, case).result()
            if not any(finding.kind == "hang" for finding in findings):
                report.slow.append(number)
            report.add(number, case, seconds, findings)
        return report

    def shrink(self, found: Sequence[Found]) -> Iterator[tuple[Found, Case]]:
        """Shrink the cases of findings while they still show the same fault."""
        tasks = {self._pool.submit(_shrink, one.case, one.finding): one for one in found}
        for done in as_completed(tasks):
            yield tasks[done], done.result()


def _begin(seeds: Path, scratch: Path) -> None:
    global _sandbox
    warm()
    _sandbox = Sandbox(seeds, scratch / f"worker-{os.getpid():07d}")


def _outcome(case: Case) -> Outcome:
    assert _sandbox is not None
    return _sandbox.run(case)[0]


def _attempt(case: Case) -> tuple[float, list[Finding]]:
    assert _sandbox is not None
    outcome, findings = _sandbox.run(case)
    return outcome.seconds, findings


def _attempt_number(seed: int, number: int, targets: Sequence[str]) -> tuple[int, Case, float, list[Finding]]:
    assert _sandbox is not None
    case = draw(seed, number, _sandbox.seeds, targets)
    return number, case, *_attempt(case)


def _shrink(case: Case, finding: Finding) -> Case:
    """Restore whole files, then cut ever smaller pieces out of the damaged ones that remain."""
    if finding.kind == "hang":
        return case
    tries = iter(range(TRIES))

    def shows(smaller: Case) -> bool:
        return next(tries, None) is not None and any(one.key == finding.key for one in _attempt(smaller)[1])

    for name in list(case.files):
        without = replace(case, files={key: content for key, content in case.files.items() if key != name})
        if shows(without):
            case = without
    for name in case.files:
        pieces = 2
        while pieces <= 64 and len(case.files[name]) > 1:
            content = case.files[name]
            size = max(1, len(content) // pieces)
            for start in range(0, len(content), size):
                smaller = replace(case, files={**case.files, name: content[:start] + content[start + size :]})
                if shows(smaller):
                    case = smaller
                    break
            else:
                pieces *= 2
    return case


def file_name(finding: Finding) -> str:
    """Return a name for the finding's case in the corpus."""
    place = finding.place.rpartition(" > ")[2].rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", f"{finding.kind}-{place}".lower()).strip("-")[:80] + ".json"
