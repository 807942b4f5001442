import pytest
import torch

from memotr.config import TrackingConfig
from memotr.tracking.gate import explain_no_tracks, gate
from tests.builders import random_output, random_tracks


def slow_gate(output, tracks, det_thresh, track_thresh, miss_tolerance, next_id):
    """The same decisions, one track and one query at a time."""
    scores = output.logits.sigmoid()
    n = output.num_detections
    ids, times, births = [], [], []
    for i in range(len(tracks)):
        missed = tracks.disappear_time[i].item() + 1 if scores[n + i][tracks.labels[i]] < track_thresh else 0
        times.append(missed)
        ids.append(-1 if missed >= miss_tolerance else tracks.ids[i].item())
    for q in range(n):
        if scores[q].max() >= det_thresh:
            births.append((q, next_id + len(births), scores[q].argmax().item()))
    return ids, times, births


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num_tracks", "num_classes"), [(0, 1), (1, 1), (12, 1), (12, 5)])
def test_gate_equals_the_slow_version(seed, num_tracks, num_classes):
    output = random_output(20, num_tracks, num_classes, seed=seed)
    tracks = random_tracks(num_tracks, num_classes, seed=seed + 100)
    limits = {"det_thresh": 0.6, "track_thresh": 0.5, "miss_tolerance": 2, "next_id": 31}
    choice = gate(output, tracks, **limits)
    ids, times, births = slow_gate(output, tracks, **limits)
    assert choice.track_ids.tolist() == ids
    assert choice.track_keep.tolist() == [i >= 0 for i in ids]
    assert choice.disappear_time.tolist() == times
    assert (
        list(zip(choice.births.tolist(), choice.birth_ids.tolist(), choice.birth_labels.tolist(), strict=True))
        == births
    )
    assert not choice.birth_from_initial.any()


def test_a_track_is_judged_by_its_own_class():
    output, tracks = random_output(1, 1, 2), random_tracks(1, 2).replace(labels=torch.tensor([1]))
    output.logits[1] = torch.tensor([5.0, -5.0])
    choice = gate(output, tracks, det_thresh=1, track_thresh=0.5, miss_tolerance=30, next_id=0)
    assert choice.disappear_time.item() == tracks.disappear_time.item() + 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("room", [0, 1, 3, 8])
def test_with_a_limit_the_detections_with_the_best_scores_start_tracks(seed, room):
    output, tracks = random_output(20, 12, 3, seed=seed), random_tracks(12, 3, seed=seed + 100)
    limits = {"det_thresh": 0.6, "track_thresh": 0.5, "miss_tolerance": 2, "next_id": 31}
    free = gate(output, tracks, **limits)
    stay = int(free.track_keep.sum())
    choice = gate(output, tracks, **limits, max_tracks=stay + room)
    scores = output.logits.sigmoid().amax(dim=1)
    best = sorted(free.births.tolist(), key=lambda q: -scores[q])[:room]
    assert choice.births.tolist() == sorted(best), "in query order"
    assert choice.birth_ids.tolist() == list(range(31, 31 + len(best)))
    assert choice.track_keep.equal(free.track_keep)


def test_a_limit_with_room_for_all_changes_nothing():
    output, tracks = random_output(20, 12, 3), random_tracks(12, 3)
    limits = {"det_thresh": 0.6, "track_thresh": 0.5, "miss_tolerance": 2, "next_id": 31}
    free = gate(output, tracks, **limits)
    alive = int(free.track_keep.sum()) + len(free.births)
    for most in (alive, 31, 32, 1000):
        choice = gate(output, tracks, **limits, max_tracks=most)
        assert choice.births.equal(free.births)
        assert choice.birth_labels.equal(free.birth_labels)


def test_the_explanation_names_thresholds_and_classes():
    settings = TrackingConfig(det_thresh=0.55, result_thresh=0.25, min_area=7)
    assert explain_no_tracks(("person", "car"), settings) == (
        "nothing was tracked: no box above min_area (7) reached det_thresh (0.55) and exceeded result_thresh (0.25); "
        "the model may not know these objects (its classes: person, car) or need more training, or the thresholds "
        "are too high"
    )


@pytest.mark.parametrize("threshold", [0.5, 0.50001])
def test_scores_at_a_threshold_reach_it(threshold):
    output, tracks = random_output(1, 1), random_tracks(1).replace(disappear_time=torch.tensor([0]))
    output.logits.zero_()  # scores of exactly 0.5
    choice = gate(output, tracks, det_thresh=threshold, track_thresh=threshold, miss_tolerance=30, next_id=4)
    assert choice.birth_ids.tolist() == ([4] if threshold == 0.5 else [])
    assert choice.disappear_time.tolist() == ([0] if threshold == 0.5 else [1])


def test_of_equal_scores_the_first_queries_start_tracks():
    output, tracks = random_output(40, 0), random_tracks(0)
    output.logits.zero_()
    output.logits[35] = 1
    choice = gate(output, tracks, det_thresh=0.5, track_thresh=0.5, miss_tolerance=2, next_id=0, max_tracks=4)
    assert choice.births.tolist() == [0, 1, 2, 35]
