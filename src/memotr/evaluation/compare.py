"""Runs beside each other: metrics, differences sequence by sequence, and which differences are more than noise.

One point of HOTA is soon reported as progress. The interval of a difference says how far it could be off because these
sequences were taken and not others; it does not say what another training of the same model would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memotr.data.annotations import Floats
from memotr.data.sequences import list_names
from memotr.errors import UserError
from memotr.evaluation.run_folder import Run
from memotr.metrics.bootstrap import FRACTIONS, NUMBERS, TETA, Metrics, combined, combined_teta, draw

LEVEL = 95  # percent of resamples that an interval holds
FEW = 10  # sequences below which an interval is too narrow to be trusted far


@dataclass(frozen=True)
class Difference:
    """A run's value minus the first run's, and the interval that holds 95 % of it over resampled sequences.

    Fractions for metrics that are fractions. ``low`` and ``high`` are NaN where there is but one sequence.
    """

    value: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Zero is outside of the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """R runs over the S sequences that all of them have.

    Attributes:
        runs: their names; the first is what the others are held against.
        sequences: names.
        values: metric → (R,) of all sequences together.
        by_sequence: metric → (R, S).
        differences: metric → one for each run but the first.
        notes: what was left out.
    """

    runs: tuple[str, ...]
    sequences: tuple[str, ...]
    values: Mapping[str, Floats]
    by_sequence: Mapping[str, Floats]
    differences: Mapping[str, Sequence[Difference]]
    notes: tuple[str, ...]

    @property
    def main(self) -> str:
        """The metric that papers rank by."""
        return "TETA" if "TETA" in self.values else "HOTA"

    def sentences(self) -> list[str]:
        """In plain words, for each run but the first."""
        said = [self._sentence(run, self.differences[self.main][k]) for k, run in enumerate(self.runs[1:])]
        if len(self.sequences) > 1:
            said.append("Noise is the choice of sequences; trainings with other seeds may differ by more.")
        if 1 < len(self.sequences) < FEW:
            said.append(f"With {len(self.sequences)} sequences the intervals are rough, and rather too narrow.")
        return said

    def _sentence(self, run: str, found: Difference) -> str:
        points, base = 100 * found.value, self.runs[0]
        if found.value == found.low == found.high == 0:
            return f"{run} and {base} do not differ in {self.main}."
        moved = f"{run} has {abs(points):.2f} points {'more' if points > 0 else 'less'} {self.main} than {base}"
        if np.isnan(found.low):
            return f"{moved}; one sequence cannot tell whether that is noise."
        verdict = "more than noise" if found.beyond_noise else "within noise"
        interval = f"{LEVEL} % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}"
        return f"{moved}: {verdict} ({interval}, {len(self.sequences)} sequences)."


def compare_runs(runs: Sequence[Run], *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare runs with the first of them by a paired bootstrap: every resample has the same sequences for all.

    Args:
        runs: two or more, scored on the same ground truth.
        resamples: number of resamples.
        seed: of the resampling.

    Raises:
        UserError: fewer than two runs, no common sequence, or ground truth that differs.
    """
    if len(runs) < 2:
        raise UserError("a comparison takes two runs or more")
    if resamples < 100:
        raise UserError(f"{resamples} resamples say nothing; take 100 or more")
    names = _names([run.path for run in runs])
    sequences, notes = _common(runs, names)
    _check_truth(runs, names, sequences)
    with_teta = all(run.teta for run in runs)

    def metrics(run: Run, times: Floats) -> Metrics:
        values = combined(run.counts, sequences, times)
        return (combined_teta(run.teta, sequences, times) if with_teta else {}) | values

    whole = [metrics(run, np.ones((1, len(sequences)))) for run in runs]
    single = [metrics(run, np.eye(len(sequences))) for run in runs]
    times = draw(len(sequences), resamples, seed)
    drawn = [metrics(run, times) for run in runs]
    kinds = list(whole[0])
    return Comparison(
        names,
        sequences,
        {kind: np.array([of[kind][0] for of in whole]) for kind in kinds},
        {kind: np.stack([of[kind] for of in single]) for kind in kinds},
        {kind: [_difference(kind, k, whole, drawn, len(sequences)) for k in range(1, len(runs))] for kind in kinds},
        notes,
    )


def unit(metric: str) -> str:
    """``points`` (hundredths of a fraction) or ``count``."""
    return "count" if metric in NUMBERS else "points"


def metric_names(comparison: Comparison) -> list[str]:
    """In the order of tables."""
    return [name for name in (*TETA, *FRACTIONS, *NUMBERS) if name in comparison.values]


def _difference(
    kind: str, k: int, whole: Sequence[Metrics], drawn: Sequence[Metrics], num_sequences: int
) -> Difference:
    value = float(whole[k][kind][0] - whole[0][kind][0])
    if num_sequences < 2:
        return Difference(value, float("nan"), float("nan"))
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(drawn[k][kind] - drawn[0][kind], [tail, 100 - tail])
    return Difference(value, float(low), float(high))


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """As much of the end of each path as tells them apart."""
    parts = [path.absolute().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(part[-count:]) for part in parts)
        if len(set(names)) == len(names):
            return names
    raise UserError(f"{paths[0]}: is given more than once")


def _common(runs: Sequence[Run], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sequences that all runs have, and a note of those that are left out."""
    common = tuple(name for name in runs[0].sequences if all(name in run.sequences for run in runs))
    if not common:
        apart = next((name for run, name in zip(runs, names, strict=True) if not _shares(run, runs[0])), None)
        found = f"{names[0]} and {apart}" if apart is not None else f"all of {', '.join(names)}"
        raise UserError(f"{found} have no sequence in common")
    left = sorted({name for run in runs for name in run.sequences} - set(common))
    note = f"left out, as not every run has them: {list_names(left)}"
    return common, (note,) if left else ()


def _shares(one: Run, other: Run) -> bool:
    return not set(one.sequences).isdisjoint(other.sequences)


def _check_truth(runs: Sequence[Run], names: Sequence[str], sequences: Sequence[str]) -> None:
    """Raises UserError where runs were not scored on the same ground truth."""
    for run, name in zip(runs[1:], names[1:], strict=True):
        if set(run.counts) != set(runs[0].counts):
            raise UserError(
                f"{names[0]} was scored on the classes {list(runs[0].counts)}, {name} on {list(run.counts)}"
            )
        for kind, found in run.counts.items():
            for sequence in sequences:
                there, here = runs[0].counts[kind][sequence]["GT_Dets"], found[sequence]["GT_Dets"]
                if there != here:
                    raise UserError(
                        f"{sequence} has {there:,.0f} boxes of ground truth in {names[0]} and {here:,.0f} in {name}; "
                        "score both on the same split, with the same --half and --format"
                    )
