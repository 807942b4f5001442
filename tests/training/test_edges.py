"""Decisions of training at the very edge of a rule."""

from dataclasses import replace

import torch

from memotr.training.perturb import perturb
from tests.training.builders import layered_output
from tests.training.test_perturb import a_choice


def test_as_many_unmatched_detections_as_tracks_are_all_inserted():
    """Also those that overlap no track most: here every track overlaps the first detection most."""
    output = layered_output(3, 5)
    output.boxes[0] = output.boxes[5]
    output.boxes[3:] = output.boxes[5]
    births = ("births", "birth_ids", "birth_labels", "birth_iou", "birth_from_initial")
    without = replace(a_choice(), **{name: getattr(a_choice(), name)[:0] for name in births})
    choice = perturb(without, output, 0.0, 1.0, torch.Generator())
    assert choice.track_keep.sum() == 3
    assert choice.births.tolist() == [0, 1, 2]
