"""Comparison of scored runs: metrics, differences per sequence, and significance of differences.

The interval of a difference measures how much it depends on the choice of sequences. It does not include the variation
between training runs of the same model.
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

LEVEL = 95  # confidence level of intervals, in percent
FEW_SEQUENCES = 10  # with fewer sequences, intervals are too narrow


@dataclass(frozen=True)
class Difference:
    """Difference of a metric between a run and the first run, with its 95 % interval over resampled sequences.

    The unit is that of the metric (fraction or count). ``low`` and ``high`` are NaN for a single sequence.
    """

    value: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """True if zero is outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Comparison of R runs over their S common sequences.

    Attributes:
        runs: names of the runs, the first being the baseline.
        sequences: names of the common sequences.
        values: metric → values (R,) over all sequences.
        by_sequence: metric → values (R, S).
        differences: metric → difference of each run from the first, except of the first itself.
        notes: notes about sequences that were left out.
    """

    runs: tuple[str, ...]
    sequences: tuple[str, ...]
    values: Mapping[str, Floats]
    by_sequence: Mapping[str, Floats]
    differences: Mapping[str, Sequence[Difference]]
    notes: tuple[str, ...]

    @property
    def main(self) -> str:
        """Main metric: TETA if available, else HOTA."""
        return "TETA" if "TETA" in self.values else "HOTA"

    def sentences(self) -> list[str]:
        """Return sentences that compare the main metric of each run with the first run."""
        texts = [self._sentence(run, self.differences[self.main][k]) for k, run in enumerate(self.runs[1:])]
        if len(self.sequences) > 1:
            texts.append(
                "Noise here is only the choice of sequences; training runs with other seeds may differ by more."
            )
        if 1 < len(self.sequences) < FEW_SEQUENCES:
            texts.append(f"With only {len(self.sequences)} sequences, the intervals are rough and probably too narrow.")
        return texts

    def _sentence(self, run: str, difference: Difference) -> str:
        points, base = 100 * difference.value, self.runs[0]
        if difference.value == 0 and (len(self.sequences) == 1 or difference.low == difference.high == 0):
            return f"{run} and {base} do not differ in {self.main}."
        text = f"{run} has {abs(points):.2f} points {'more' if points > 0 else 'less'} {self.main} than {base}"
        if np.isnan(difference.low):
            return f"{text}; with one sequence, noise cannot be estimated."
        verdict = "more than noise" if difference.beyond_noise else "within noise"
        interval = f"{LEVEL} % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
        return f"{text}: {verdict} ({interval}, {len(self.sequences)} sequences)."


def compare_runs(runs: Sequence[Run], *, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare runs with the first run by a paired bootstrap: every resample has the same sequences for all runs.

    Args:
        runs: two or more runs, scored on the same ground truth.
        resamples: number of bootstrap resamples, at least 100.
        seed: random seed for bootstrap resampling.

    Raises:
        UserError: there are fewer than two runs or 100 resamples, no common sequence, or the ground truth differs.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs at least two runs")
    if resamples < 100:
        raise UserError(f"{resamples} resamples are too few; use at least 100")
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
    resampled = [metrics(run, times) for run in runs]
    differences = {
        name: [_difference(name, k, whole, resampled, len(sequences)) for k in range(1, len(runs))] for name in whole[0]
    }
    return Comparison(
        names,
        sequences,
        {name: np.array([values[name][0] for values in whole]) for name in whole[0]},
        {name: np.stack([values[name] for values in single]) for name in whole[0]},
        differences,
        notes,
    )


def unit(metric: str) -> str:
    """Return the unit of a metric in tables: ``points`` (percent) or ``count``."""
    return "count" if metric in NUMBERS else "points"


def metric_names(comparison: Comparison) -> list[str]:
    """Return the names of the metrics of a comparison, in the order of the tables."""
    return [name for name in (*TETA, *FRACTIONS, *NUMBERS) if name in comparison.values]


def _difference(
    metric: str, k: int, whole: Sequence[Metrics], resampled: Sequence[Metrics], num_sequences: int
) -> Difference:
    """Return the difference of a metric between run k and the first run.

    Args:
        metric: name of the metric.
        k: index of the run.
        whole: metrics (1,) of each run over all sequences.
        resampled: metrics (R,) of each run over the resamples.
        num_sequences: number of sequences.
    """
    value = float(whole[k][metric][0] - whole[0][metric][0])
    if num_sequences < 2:
        return Difference(value, float("nan"), float("nan"))
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(resampled[k][metric] - resampled[0][metric], [tail, 100 - tail])
    return Difference(value, float(low), float(high))


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return a name per path: its last parts, as few as make all names unique."""
    parts = [path.absolute().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(part[-count:]) for part in parts)
        if len(set(names)) == len(names):
            return names
    repeated = next(path for k, path in enumerate(paths) if parts[k] in parts[:k])
    raise UserError(f"{repeated}: given more than once")


def _common(runs: Sequence[Run], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sequences that all runs have, and a note about the others, if any."""
    common = tuple(name for name in runs[0].sequences if all(name in run.sequences for run in runs))
    if not common:
        baseline = set(runs[0].sequences)
        disjoint = [name for run, name in zip(runs, names, strict=True) if baseline.isdisjoint(run.sequences)]
        compared = f"{names[0]} and {disjoint[0]}" if disjoint else f"all of {', '.join(names)}"
        raise UserError(f"{compared} have no sequence in common")
    omitted = sorted({name for run in runs for name in run.sequences} - set(common))
    note = f"left out, because not all runs have them: {list_names(omitted)}"
    return common, (note,) if omitted else ()


def _check_truth(runs: Sequence[Run], names: Sequence[str], sequences: Sequence[str]) -> None:
    """Raise UserError if runs were not scored on the same ground truth."""
    for run, name in zip(runs[1:], names[1:], strict=True):
        if set(run.counts) != set(runs[0].counts):
            raise UserError(
                f"{names[0]} was scored on the classes {list(runs[0].counts)}, {name} on {list(run.counts)}"
            )
        for class_name, counts in run.counts.items():
            for sequence in sequences:
                first, other = (of[sequence]["GT_Dets"] for of in (runs[0].counts[class_name], counts))
                if first != other:
                    raise UserError(
                        f"{sequence} has {first:,.0f} boxes of ground truth in {names[0]} and {other:,.0f} in {name}; "
                        "score both on the same split, with the same --half and --format"
                    )
