"""``python -m tests.fuzz``: attack every reader with damaged inputs, and report each kind of fault once."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path

from tests.fuzz.environment import ENVIRONMENT

os.environ.update(ENVIRONMENT)

from tests.fuzz.attack import Found, Report, Workers, file_name
from tests.fuzz.cases import Case, draw
from tests.fuzz.seeds import make_seeds
from tests.fuzz.targets import TARGETS


def main() -> int:
    options = _options()
    targets = [name for name in TARGETS if not options.targets or any(fnmatchcase(name, p) for p in options.targets)]
    if options.no_exports:
        targets = [name for name in targets if TARGETS[name].seed != "exports"]
    with tempfile.TemporaryDirectory(prefix="memotr-seeds-") as made:
        seeds = options.seeds or Path(made)
        if not any(seeds.iterdir()) if seeds.exists() else True:
            print("Making inputs to damage", flush=True)
            make_seeds(seeds, exports=any(TARGETS[name].seed == "exports" for name in targets))
        with Workers(seeds, options.workers) as workers:
            if options.case:
                return _replay(workers, options.case)
            numbers = options.only or range(options.count)
            if options.only:
                for number in numbers:
                    case = draw(options.seed, number, seeds, targets)
                    print(f"case {number}: memotr {shlex.join(case.words)}  {[*case.files, *case.moves]}")
            began = time.monotonic()
            print(f"Attacking {len(targets)} readers with {len(numbers):,} inputs of seed {options.seed}", flush=True)
            report = workers.attack(options.seed, numbers, targets, _progress(len(numbers), began))
            _show(report, _again(options), time.monotonic() - began)
            if report.found and options.save:
                _save(workers, report, options.save, options.seed)
    return int(bool(report.found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="chooses every input")
    parser.add_argument("--count", type=int, default=5000, help="number of inputs")
    parser.add_argument("--only", type=int, nargs="+", help="inputs of these numbers alone")
    parser.add_argument("--case", type=Path, nargs="+", help="files of the corpus, instead of drawn inputs")
    parser.add_argument("--targets", nargs="+", help="readers whose names fit these patterns")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--save", type=Path, help="folder for the inputs that showed a fault, made small")
    parser.add_argument("--seeds", type=Path, help="folder that keeps the undamaged inputs between two attacks")
    parser.add_argument(
        "--no-exports", action="store_true", help="leave out exported trackers, which take a minute to make"
    )
    return parser.parse_args()


def _progress(total: int, began: float):
    def show(report: Report) -> None:
        if report.cases % 250 == 0:
            pace = report.cases / (time.monotonic() - began)
            print(f"{report.cases:,}/{total:,}, {pace:.1f} a second, {len(report.found)} kinds of fault", flush=True)

    return show


def _again(options: argparse.Namespace) -> str:
    """Return the command line that draws the same inputs; only their numbers are missing."""
    words = ["python", "-m", "tests.fuzz", "--seed", str(options.seed)]
    words += ["--targets", *options.targets] if options.targets else []
    return shlex.join([*words, *(["--no-exports"] if options.no_exports else [])])


def _show(report: Report, again: str, seconds: float) -> None:
    for found in sorted(report.found.values(), key=lambda one: one.number):
        print(f"\n{found.finding.key}\n  {found.count}×, first in case {found.number} ({found.case.target})")
        print(f"  {found.finding.detail}")
        print(f"  {again} --only {found.number}")
    print("\nseconds by reader (cases, mean, longest):")
    for name, times in sorted(report.seconds.items(), key=lambda one: -sum(one[1])):
        print(f"  {sum(times):7.1f}  {name} ({len(times)}, {sum(times) / len(times):.2f}, {max(times):.1f})")
    if report.slow:
        print(f"over the limit once, within it when run again: {', '.join(map(str, report.slow))}")
    bad = sum(found.count for found in report.found.values())
    print(f"{report.cases:,} inputs in {seconds:.0f} s: {len(report.found)} kinds of fault, shown {bad} times")


def _save(workers: Workers, report: Report, folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def write(found: Found, case: Case) -> None:
        origin = f"seed {seed}, case {found.number}"
        (folder / file_name(found.finding)).write_text(case.to_json(fault=found.finding.key, origin=origin))

    for found, case in workers.shrink(list(report.found.values())):
        write(found, case)
    print(f"saved in {folder}")


def _replay(workers: Workers, files: list[Path]) -> int:
    cases = [Case.from_json(file.read_text(encoding="utf-8")) for file in files]
    bad = 0
    for file, (seconds, findings) in zip(files, workers.run(cases), strict=True):
        told = [f"{finding.key}: {finding.detail}" for finding in findings] or ["right"]
        print(f"{file.name} ({seconds:.1f} s): {'; '.join(told)}")
        bad += bool(findings)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
