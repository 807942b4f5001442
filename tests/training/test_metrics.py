"""Times in a line of metrics, measured with a fake clock."""

from __future__ import annotations

import math
import time

import pytest
import torch

from memotr.training.metrics import NAMES, Sums


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


def sums() -> Sums:
    return Sums(torch.device("cpu"))


def steps(of: Sums, clock: Clock, count: int) -> None:
    """Each takes a tenth of a second."""
    for _ in range(count):
        clock.now += 0.1
        of.add(None)


def test_only_time_of_steps_is_counted_and_only_once(clock: Clock) -> None:
    ours = sums()
    clock.now += 7  # until the first epoch begins
    ours.start_clock()
    steps(ours, clock, 4)
    assert ours.finish()[1] == pytest.approx(0.1)
    steps(ours, clock, 3)
    ours.stop_clock()
    clock.now += 50  # a validation, between two epochs
    ours.start_clock()
    steps(ours, clock, 2)
    ours.stop_clock()
    clock.now += 50
    assert ours.finish()[1] == pytest.approx(0.1), "the last line of a run comes when its clock stands"
    clock.now += 50
    ours.start_clock()
    steps(ours, clock, 1)
    assert ours.finish()[1] == pytest.approx(0.1)


def test_time_is_counted_further_after_a_resume(clock: Clock) -> None:
    before, after = sums(), sums()
    before.start_clock()
    steps(before, clock, 3)
    after.load_state_dict(before.state_dict())
    clock.now += 1000
    after.start_clock()
    steps(after, clock, 1)
    assert len(after) == 4
    assert after.finish()[1] == pytest.approx(0.1)


def test_skipped_steps_are_not_in_the_means() -> None:
    ours, values = sums(), torch.arange(len(NAMES), dtype=torch.float32)
    for step in (values, None, 3 * values, None):
        ours.add(step)
    means, _ = ours.finish()
    assert list(means.values()) == (2 * values).tolist()
    ours.add(None)
    assert all(math.isnan(mean) for mean in ours.finish()[0].values())
