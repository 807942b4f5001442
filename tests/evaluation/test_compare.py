"""Comparing runs: resampled metrics are TrackEval's own, intervals hold what they should, and what is said is true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.evaluation.compare import Comparison, Difference, compare_runs
from memotr.evaluation.comparison_output import comparison_tables, write_comparison
from memotr.evaluation.run_folder import Run
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tables import print_tables
from memotr.metrics.bootstrap import FRACTIONS, NUMBERS, combined, combined_teta, draw
from memotr.metrics.fields import class_mean, combine, summary
from memotr.metrics.teta import combine as combine_teta
from memotr.metrics.teta_scores import TetaCounts
from tests.evaluation.generated import scene, write_rows, write_sequence

NAMES = tuple(f"s{k}" for k in range(6))


def run_of(folder: Path, name: str, shift: float = 0.0, names: tuple[str, ...] = NAMES) -> Run:
    """Results whose boxes are all moved to the right by ``shift`` pixels."""
    for seed, sequence in enumerate(NAMES):
        truth, found = scene(seed, 12)
        write_sequence(folder / "gt" / sequence, [[*row[:6], 1, 1, 1] for row in truth], 12)
        write_rows(folder / name / f"{sequence}.txt", [[*row[:2], row[2] + shift, *row[3:]] for row in found])
    scores = evaluate(folder / "gt", folder / name)
    fields = {sequence: scores.mean.fields[sequence] for sequence in names}
    return Run(folder / name, {"object": fields}, {})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The second is clearly worse."""
    folder = tmp_path_factory.mktemp("runs")
    return run_of(folder, "base"), run_of(folder, "worse", shift=6.0)


def test_every_resample_is_combined_as_sequences_are(runs: tuple[Run, Run]) -> None:
    times = draw(len(NAMES), 40, seed=3)
    assert (times.sum(axis=1) == len(NAMES)).all()
    assert (times > 1).any()
    assert (times == 0).any()
    two = {"a": runs[0].counts["object"], "b": runs[1].counts["object"]}
    ours, ours_of_two = combined({"a": two["a"]}, NAMES, times), combined(two, NAMES, times)
    for r, row in enumerate(times.astype(int)):
        drawn = [name for name, count in zip(NAMES, row, strict=True) for _ in range(count)]
        each = [combine([found[name] for name in drawn]) for found in two.values()]
        for whole, mine in ((each[0], ours), (class_mean(each), ours_of_two)):
            expected = summary(whole)
            for metric in (*FRACTIONS, *NUMBERS):
                assert mine[metric][r] == pytest.approx(expected[metric], rel=0, abs=1e-12), metric


def test_nothing_found_at_all() -> None:
    empty = dict.fromkeys(("HOTA_TP", "HOTA_FP", "AssA", "AssRe", "AssPr", "LocA"), np.zeros(19))
    fields = empty | {"HOTA_FN": np.full(19, 5.0)}
    fields |= dict.fromkeys(("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "Frag", "MOTP_sum", "IDTP", "IDFN", "IDFP"), 0)
    values = combined({"a": {"s": fields}}, ["s"], np.ones((1, 1)))
    assert values["HOTA"] == values["IDF1"] == 0
    assert values["LocA"] == 1  # as TrackEval has it


def test_teta_of_resamples() -> None:
    rng = np.random.default_rng(5)
    counts = {}
    for name in NAMES:
        sizes = [rng.integers(0, 9, (3, 20)) for _ in range(3)] + [rng.random((3, 20)) for _ in range(3)]
        one = TetaCounts(*sizes, *(rng.integers(0, 9, (3, 10)) for _ in range(3)))
        if name != "s0":  # the third class is in one sequence only
            for field in ("loc_tp", "loc_fn", "loc_fp"):
                getattr(one, field)[2] = 0
        counts[name] = one
    times = draw(len(NAMES), 30, seed=1)
    assert (times[:, 0] == 0).any()
    ours = combined_teta(counts, NAMES, times)
    for r, row in enumerate(times.astype(int)):
        expected = combine_teta([counts[name] for name, k in zip(NAMES, row, strict=True) for _ in range(k)], "abc")
        for title in ("TETA", "LocA", "AssocA", "ClsA"):
            mine = ours["TETA" if title == "TETA" else f"TETA {title}"][r]
            assert mine == pytest.approx(expected.mean.summary()[title], rel=0, abs=1e-12)


def test_a_clear_difference(runs: tuple[Run, Run]) -> None:
    comparison = compare_runs(runs, resamples=2000)
    assert comparison.runs == ("base", "worse")
    found = comparison.differences["HOTA"][0]
    assert found.low < found.value < found.high < 0
    assert found.beyond_noise
    expected = [summary(combine(list(run.counts["object"].values())))["HOTA"] for run in runs]
    np.testing.assert_allclose(comparison.values["HOTA"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        comparison.by_sequence["IDF1"],
        [[summary(run.counts["object"][name])["IDF1"] for name in NAMES] for run in runs],
        rtol=0,
        atol=1e-12,
    )
    assert (
        f"worse has {-100 * found.value:.2f} points less HOTA than base: more than noise" in comparison.sentences()[0]
    )
    assert "probably too narrow" in comparison.sentences()[-1]


def test_the_pairing_counts(runs: tuple[Run, Run]) -> None:
    """A small shift is told apart although sequences differ among themselves by much more."""
    found = compare_runs(runs).differences["HOTA"][0]
    spread = np.ptp(compare_runs(runs).by_sequence["HOTA"][0])
    assert found.high - found.low < spread / 2


def test_the_interval_is_the_percentiles_of_the_resamples(runs: tuple[Run, Run]) -> None:
    found = compare_runs(runs, resamples=500, seed=9).differences["MOTA"][0]
    times = draw(len(NAMES), 500, 9)
    base, other = (combined(run.counts, NAMES, times)["MOTA"] for run in runs)
    assert (found.low, found.high) == tuple(np.percentile(other - base, [2.5, 97.5]))
    assert found == compare_runs(runs, resamples=500, seed=9).differences["MOTA"][0]
    assert found != compare_runs(runs, resamples=500, seed=8).differences["MOTA"][0]


def test_the_same_run_twice(runs: tuple[Run, Run]) -> None:
    twin = replace(runs[0], path=Path("copy"))
    comparison = compare_runs([runs[0], twin])
    assert comparison.differences["HOTA"][0] == Difference(0, 0, 0)
    assert comparison.sentences()[0] == "copy and base do not differ in HOTA."


def sentence(low: float, high: float, value: float = 0.012) -> str:
    found = Comparison(("a", "b"), NAMES, {"HOTA": np.zeros(2)}, {}, {"HOTA": [Difference(value, low, high)]}, ())
    return found.sentences()[0]


def test_plain_words() -> None:
    assert sentence(-0.001, 0.02) == (
        "b has 1.20 points more HOTA than a: within noise (95 % interval -0.10 to +2.00, 6 sequences)."
    )
    assert "more than noise" in sentence(0.001, 0.02)
    assert "noise cannot be estimated" in sentence(float("nan"), float("nan"))


def test_one_sequence_has_no_interval(runs: tuple[Run, Run]) -> None:
    ones = [Run(run.path, {"object": {"s0": run.counts["object"]["s0"]}}, {}) for run in runs]
    comparison = compare_runs(ones)
    assert np.isnan(comparison.differences["HOTA"][0].low)
    assert not comparison.differences["HOTA"][0].beyond_noise
    assert len(comparison.sentences()) == 1
    twin = replace(ones[0], path=Path("copy"))
    assert compare_runs([ones[0], twin]).sentences() == ["copy and base do not differ in HOTA."]


def test_sequences_that_not_all_have_are_left_out(runs: tuple[Run, Run]) -> None:
    part = Run(Path("part"), {"object": {name: runs[0].counts["object"][name] for name in NAMES[1:]}}, {})
    comparison = compare_runs([runs[0], part])
    assert comparison.sequences == NAMES[1:]
    assert comparison.notes == ("left out, because not all runs have them: s0",)
    assert comparison.differences["HOTA"][0].value == 0


def refused(message: str, *runs: Run, resamples: int = 1000) -> None:
    with pytest.raises(UserError, match=message):
        compare_runs(runs, resamples=resamples)


def test_incomparable_runs_are_refused(runs: tuple[Run, Run]) -> None:
    base, other = runs
    refused("at least two runs", base)
    refused("base: given more than once", base, base)
    refused("worse: given more than once", base, other, other)
    refused("5 resamples", base, other, resamples=5)
    counts = other.counts["object"]
    refused("no sequence in common", base, replace(other, counts={"object": {"x": counts["s0"]}}))
    refused("on the classes", base, replace(other, counts={"cat": counts}))
    half = {**counts, "s3": counts["s3"] | {"GT_Dets": 7}}
    refused("s3 has .* boxes of ground truth in base and 7 in worse", base, replace(other, counts={"object": half}))


def test_names_are_as_long_as_they_must_be(runs: tuple[Run, Run]) -> None:
    there = [replace(runs[0], path=Path(path)) for path in ("out/a/score", "out/b/score")]
    assert compare_runs(there).runs == ("a/score", "b/score")


def test_files_and_tables(runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    third = replace(runs[1], path=Path("third"))
    comparison = compare_runs([*runs, third], resamples=200)
    files = write_comparison(tmp_path, comparison)
    assert set(files) == set(tmp_path.iterdir())
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["runs"] == ["base", "worse", "third"]
    assert len(content["metrics"]["HOTA"]["differences"]) == 2
    assert content["metrics"]["HOTA"]["differences"][0]["beyond_noise"] is True
    lines = (tmp_path / "compare.csv").read_text().splitlines()
    assert len(lines) == 1 + len(comparison.values) * (1 + len(NAMES))
    assert cv2.imread(str(tmp_path / "compare.png")).shape[1] > 1000
    print_tables(comparison_tables(comparison))
    text = capsys.readouterr().out
    assert f"{100 * comparison.values['HOTA'][0]:.1f}" in text
    assert all(name in text for name in NAMES)


def test_one_sequence_can_be_drawn(runs: tuple[Run, Run], tmp_path: Path) -> None:
    ones = [Run(run.path, {"object": {"s0": run.counts["object"]["s0"]}}, {}) for run in runs]
    write_comparison(tmp_path, compare_runs(ones))
    assert json.loads((tmp_path / "compare.json").read_text())["metrics"]["HOTA"]["differences"][0]["interval"] is None
