"""Attacks on every reader: inputs that failed before, and a few random ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.attack import Workers
from tests.fuzz.cases import Case
from tests.fuzz.seeds import make_seeds
from tests.fuzz.targets import TARGETS

pytest.importorskip("lightning_fabric")

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
QUICK = tuple(name for name, target in TARGETS.items() if target.seed != "exports")


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    seeds = tmp_path_factory.mktemp("seeds")
    make_seeds(seeds, exports=False)
    with Workers(seeds, 1) as started:
        yield started


def test_cases_that_failed_before_pass(workers: Workers) -> None:
    """``python -m tests.fuzz --case FILE`` runs one of them alone."""
    cases = [Case.from_json(file.read_text(encoding="utf-8")) for file in CORPUS]
    wrong = {
        file.name: [f"{finding.key}: {finding.detail}" for finding in findings]
        for file, (_, findings) in zip(CORPUS, workers.run(cases), strict=True)
        if findings
    }
    assert not wrong


@pytest.mark.slow
def test_the_undamaged_inputs_are_read(workers: Workers) -> None:
    """An attack is meaningless where even the genuine input is refused."""
    read = [name for name in QUICK if TARGETS[name].files and name != "train published"]  # whose data is not there
    cases = [Case(name, command) for name in read for command in TARGETS[name].commands]
    cases = [case for case in cases if not {"in/scrap.pth", "in/old.pth"} & {*case.words}]  # tensors of no tracker
    refused = {
        (case.target, case.words): (outcome.code, outcome.stderr.decode())
        for case, outcome in zip(cases, workers.outcomes(cases), strict=True)
        if outcome.code
    }
    assert not refused


def test_some_inputs(workers: Workers) -> None:
    assert not workers.attack(1, range(60), QUICK).summary()


@pytest.mark.slow
def test_many_inputs(workers: Workers) -> None:
    assert not workers.attack(2, range(1000), QUICK).summary()
