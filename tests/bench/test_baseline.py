import numpy as np
import pytest
import torch

from memotr.bench.baseline import PlainTracker
from memotr.bench.scene import CompiledCrowdTracker, CrowdTracker, make_crowd
from memotr.config import TrackingConfig
from memotr.tracking.tracker import Tracker
from tests.builders import random_images, tiny_model


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_the_plain_tracker_tracks_as_the_tracker_does(variant):
    model = tiny_model(variant, classes=2)
    # Of random scores: some tracks are unseen for a while, some end.
    tracking = TrackingConfig(det_thresh=0.8, track_thresh=0.4, result_thresh=0.3, miss_tolerance=2, min_area=1)
    model.config = model.config.model_copy(update={"tracking": tracking})
    ours, plain = Tracker(model), PlainTracker(model)
    ended, seen = set(), set()
    for seed in range(6):
        images = random_images([(64, 96)], seed)
        expected, found = ours.step(images, 640, 960), plain.step(images, 640, 960)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.labels.tolist() == expected.labels.tolist()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
        alive = set(ours.tracks.ids.tolist())
        ended, seen = ended | (seen - alive), seen | alive
        assert plain.next_id == ours.next_id
        state = plain.all_tracks()
        for name in ("query_embed", "long_memory", "last_output", "ref_pts", "disappear_time"):
            torch.testing.assert_close(getattr(state, name), getattr(ours.tracks, name), atol=1e-4, rtol=1e-4)
    assert len(seen) > len(alive), "the test is to see births and deaths"
    assert ended


def test_a_crowd_exists_from_the_first_frame_on():
    model = tiny_model()
    first = make_crowd(model, 3)
    compiled = CompiledCrowdTracker(model, first=first)
    for tracker in (PlainTracker(model, first), CrowdTracker(model, first), compiled):
        tracker.reset()
        assert tracker.next_id == 3
    assert compiled.video.state.tracks.ids[:3].tolist() == [0, 1, 2]
    assert compiled.video.state.vacant.tolist() == [False] * 3 + [True] * 64


def test_the_plain_tracker_leaves_the_kernel_of_the_model_alone():
    model = tiny_model().set_kernel("numba")
    PlainTracker(model)
    assert model.transformer.encoder.layers[0].self_attn.kernel == "numba"
