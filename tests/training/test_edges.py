"""Edge cases of decisions in training."""

from dataclasses import replace
from types import SimpleNamespace

import torch

from memotr.training.engine import MAX_SKIPPED, Training
from memotr.training.perturb import perturb
from memotr.training.run_state import Progress
from tests.training.builders import layered_output, predictions_of, targets_of
from tests.training.test_perturb import a_choice


def test_as_many_unmatched_detections_as_tracks_are_all_inserted():
    """Also those that overlap no track most: here every track overlaps the first detection most."""
    output = layered_output(3, 5)
    output.layers.boxes[:, 0, [0, 3, 4, 5, 6, 7]] = output.layers.boxes[:, 0, 5].clone()[:, None]
    births = ("births", "birth_ids", "birth_iou", "birth_targets")
    without = replace(a_choice(), **{name: getattr(a_choice(), name)[:0] for name in births})
    choice = perturb(without, predictions_of(output, targets_of([6, 7])), 0.0, 1.0, torch.Generator())
    assert choice.track_keep.sum() == 3
    assert choice.births.tolist() == [0, 1, 2]


def test_a_finite_step_resets_the_count_of_skipped_steps(tmp_path):
    ended = []
    strategy = SimpleNamespace(precision=SimpleNamespace())
    run = SimpleNamespace(
        progress=Progress(), fabric=SimpleNamespace(strategy=strategy), folder=tmp_path, fail=ended.append
    )
    for finite in [False] * (MAX_SKIPPED - 1) + [True] + [False] * (MAX_SKIPPED - 1):
        Training.count_skipped(run, finite)
    assert (run.progress.skipped, run.progress.skipped_in_a_row) == (2 * MAX_SKIPPED - 2, MAX_SKIPPED - 1)
    assert not ended
    Training.count_skipped(run, False)
    assert len(ended) == 1
