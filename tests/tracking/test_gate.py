import pytest
import torch

from memotr.tracking.gate import gate
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
