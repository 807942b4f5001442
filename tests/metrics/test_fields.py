"""HOTA, CLEAR, Identity and counts equal those of TrackEval's own classes in every bit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import trackeval

from memotr.metrics.clear import clear_matching
from memotr.metrics.fields import METRICS, class_mean, combine, score, summary
from memotr.metrics.hota import ALPHAS
from memotr.metrics.overlaps import EPS
from memotr.metrics.preprocessing import Fields, MetricInput


@cache
def reference() -> tuple[Any, ...]:
    quiet = {"PRINT_CONFIG": False}
    known = trackeval.metrics
    return known.HOTA(), known.CLEAR(dict(quiet)), known.Identity(dict(quiet)), known.Count()


def theirs(data: MetricInput) -> Fields:
    return {name: value for metric in reference() for name, value in metric.eval_sequence(data).items()}


def assert_same(ours: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert set(ours) == set(other)
    for name, value in other.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def random_input(seed: int, *, objects: int = 6, tracks: int = 9, frames: int = 60) -> MetricInput:
    """Frames without objects, without predictions and without either; overlaps with ties and at the very threshold."""
    rng = np.random.default_rng(seed)
    gt_ids, tracker_ids, overlaps = [], [], []
    for _ in range(frames):
        gt_ids.append(rng.permutation(objects)[: rng.choice([0, 1, 3, 6])])
        tracker_ids.append(rng.permutation(tracks)[: rng.choice([0, 1, 4, 9])])
        shape = (len(gt_ids[-1]), len(tracker_ids[-1]))
        ties = rng.choice([0, 0.3, 0.4999999, 0.5 - EPS, 0.5, 0.6, 0.8], shape)
        overlaps.append(ties if seed % 2 else np.where(ties > 0, rng.random(shape), 0))
    return MetricInput(
        num_timesteps=frames,
        num_gt_ids=objects,
        num_tracker_ids=tracks,
        num_gt_dets=sum(map(len, gt_ids)),
        num_tracker_dets=sum(map(len, tracker_ids)),
        gt_ids=gt_ids,
        tracker_ids=tracker_ids,
        similarity_scores=overlaps,
    )


INPUTS = [
    *(random_input(seed) for seed in range(30)),
    random_input(30, objects=0),
    random_input(31, tracks=0),
    random_input(32, objects=0, tracks=0),
    random_input(33, frames=0),
]


@pytest.mark.parametrize("data", INPUTS)
def test_sequences(data: MetricInput) -> None:
    assert_same(score(data), theirs(data))


def test_shares_of_exactly_80_and_20_percent_are_partly_tracked() -> None:
    frames = np.array([4, 1, 5, 0])  # of five, in which each of four objects is found
    ids = [np.arange(4)] * 5
    overlaps = [np.diag(np.where(frames > t, 0.6, 0)) for t in range(5)]
    data = MetricInput(
        num_timesteps=5,
        num_gt_ids=4,
        num_tracker_ids=4,
        num_gt_dets=20,
        num_tracker_dets=20,
        gt_ids=ids,
        tracker_ids=ids,
        similarity_scores=overlaps,
    )
    assert_same(score(data), theirs(data))
    assert [score(data)[name] for name in ("MT", "PT", "ML")] == [1, 2, 1]


def test_sequences_and_classes_together() -> None:
    parts = [score(data) for data in INPUTS]
    for some in (parts, parts[:7], parts[30:], parts[31:32]):
        named = dict(enumerate(some))
        pooled: Fields = {}
        mean: Fields = {}
        for metric in reference():
            sequences = metric.combine_sequences(named)
            assert_same(metric.combine_classes_det_averaged(named), sequences)
            pooled |= sequences
            mean |= metric.combine_classes_class_averaged(named)
        assert_same(combine(some), pooled)
        assert_same(class_mean(some), mean)


def test_summary_has_their_fields_in_their_order() -> None:
    kinds = ("float_array_fields", "float_fields", "integer_array_fields", "integer_fields")
    wanted = [name for metric in reference() for kind in kinds for name in getattr(metric, kind)]
    assert list(summary(score(INPUTS[0]))) == wanted
    assert [name for metric in METRICS for name in (*metric.averaged, *metric.counted)] == wanted
    np.testing.assert_array_equal(ALPHAS, reference()[0].array_labels)


@pytest.mark.parametrize("data", INPUTS[:30])
def test_matches_and_switches_box_by_box(data: MetricInput) -> None:
    counted, ours = theirs(data), clear_matching(data)
    matched = ours.partner >= 0
    assert matched.sum() == counted["CLR_TP"]
    assert len(set(ours.partner[matched].tolist())) == matched.sum()
    assert ours.switched.sum() == counted["IDSW"]
    assert counted["IDSW"] > 0
    frames = np.repeat(np.arange(60), [len(ids) for ids in data["gt_ids"]])
    partner_frames = np.repeat(np.arange(60), [len(ids) for ids in data["tracker_ids"]])
    np.testing.assert_array_equal(partner_frames[ours.partner[matched]], frames[matched])
