from collections.abc import Callable

import pytest

from memotr.bench.measure import Contender, Spread, Timed, alternate, peak_memory, rows


def test_contenders_take_turns_after_a_warm_up():
    done = []
    contenders = [
        Contender("a", lambda: done.append("a") or len(done), lambda: done.append("before a")),
        Contender("b", lambda: done.append("b")),
    ]
    a, b = alternate(contenders, rounds=2)
    assert done == ["before a", "a", "b"] * 3
    assert (a.contender, b.contender) == tuple(contenders)
    assert len(a.seconds) == len(b.seconds) == 2
    assert a.result == 8, "of the last round"


def test_the_ratio_is_of_medians_and_its_spread_of_pairs():
    nothing = Contender("x", lambda: None)
    base, other = Timed(nothing, (2.0, 4.0, 9.0), None), Timed(nothing, (1.0, 1.0, 3.0), None)
    assert other.speedup(base) == Spread(4.0, (2.0, 4.0, 3.0))
    assert [row["times as fast"] for row in rows([base, other])] == [1, Spread(4.0, (2.0, 4.0, 3.0))]
    assert rows([base, other])[1]["ms"] == Spread(1000.0, (1000.0, 1000.0, 3000.0))


def test_times_are_per_item(monkeypatch):
    monkeypatch.setattr("memotr.bench.measure.seconds_of", lambda run, device, kernels_alone: (6.0, run()))
    (timed,) = alternate([Contender("videos", lambda: None, amount=3)], rounds=1)
    assert timed.seconds == (2.0,)


def allocate(megabytes: int) -> Callable[[], object]:
    return lambda: bytearray(megabytes * 2**20)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_work_alone():
    little, much = peak_memory(allocate, 1), peak_memory(allocate, 401)
    assert much - little == pytest.approx(400, abs=20)
