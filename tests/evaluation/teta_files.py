"""TETA straight from Scalabel files, without the machinery around it."""

from pathlib import Path

from memotr.evaluation.bdd import with_last_pixels
from memotr.evaluation.scalabel import BDD100K_CATEGORIES, pair_videos, read_scalabel
from memotr.evaluation.teta import TetaCounts, TetaScores, combine, teta_sequence


def teta_by_video(
    gt: Path, results: Path, *, exhaustive: bool = True, allow_missing: bool = False
) -> dict[str, TetaCounts]:
    labels, found = read_scalabel(gt, ground_truth=True), read_scalabel(results, ground_truth=False)
    pairs = pair_videos(labels, found, results, allow_missing=allow_missing)
    return {
        name: teta_sequence(*map(with_last_pixels, pair), len(BDD100K_CATEGORIES), exhaustive=exhaustive)
        for name, pair in pairs.items()
    }


def evaluate_teta(gt: Path, results: Path, *, exhaustive: bool = True, allow_missing: bool = False) -> TetaScores:
    counts = teta_by_video(gt, results, exhaustive=exhaustive, allow_missing=allow_missing)
    return combine(list(counts.values()), BDD100K_CATEGORIES)
