from dataclasses import replace

from memotr.bench import start
from memotr.bench.measure import Spread
from memotr.bench.options import Options
from memotr.config import load_config


def test_stages_are_differences_and_the_total_is_relative_to_the_baseline(monkeypatch):
    """The first round warms up."""
    began = iter([9.0, 1.0, 2.0])

    def run(arguments):
        if "track" in arguments:
            return [("end", 12.0)]
        if arguments[1] == start.FLOOR:
            run.factor = next(began)
            return [("interpreter", 0.5), ("floor", 2.0 * run.factor)]
        return [("interpreter", 0.5), ("first frame", 4.0), ("second frame", 4.0 + run.factor)]

    monkeypatch.setattr(start, "run", run)
    stages, whole = start.measure(replace(Options(load_config("tiny")).quick(), rounds=2))
    assert [(row["stage"], row["s"], row["s since the command"]) for row in stages.rows] == [
        ("interpreter", Spread.of((0.5, 0.5)), Spread.of((0.5, 0.5))),
        ("first frame", Spread.of((3.5, 3.5)), Spread.of((4.0, 4.0))),
        ("second frame", Spread.of((1.0, 2.0)), Spread.of((5.0, 6.0))),
    ]
    assert [row["s"].middle for row in whole.rows] == [3.0, 4.0, 12.0]
    assert whole.rows[1]["of the first row"] == Spread(4 / 3, (2.0, 1.0))
