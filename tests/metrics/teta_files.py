"""TETA straight from Scalabel files, without the machinery around it."""

from pathlib import Path

from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.results import read_results
from memotr.metrics.teta import TetaCounts, TetaScores, combine, teta_sequence, with_last_pixels, with_regions


def teta_by_video(gt: Path, results: Path, *, allow_missing: bool = False) -> dict[str, TetaCounts]:
    found = read_results(results, load_ground_truth(gt, format="bdd100k"), allow_missing=allow_missing)
    return {
        truth.name: teta_sequence(
            with_last_pixels(with_regions(truth)),
            with_last_pixels(found.boxes[truth.name]),
            len(BDD100K_CATEGORIES),
        )
        for truth in found.truth.sequences
    }


def evaluate_teta(gt: Path, results: Path, *, allow_missing: bool = False) -> TetaScores:
    counts = teta_by_video(gt, results, allow_missing=allow_missing)
    return combine(list(counts.values()), BDD100K_CATEGORIES)
