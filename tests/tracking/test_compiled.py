"""The step of fixed shapes gives what the tracker gives, whatever stands in its vacant slots."""

import numpy as np
import pytest
import torch

from memotr.errors import UserError
from memotr.tracking import compiled
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model

LIVELY = {"det_thresh": 0.6, "track_thresh": 0.5, "miss_tolerance": 2, "min_area": 0}


def video(frames, height=64, width=96):
    return np.random.default_rng(3).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def small_model(**options):
    model = tiny_model(**options)
    model.config = model.config.model_copy(update={"input": model.config.input.model_copy(update={"short_side": 64})})
    return model


def eager(step):
    """Nothing compiled."""
    return step


def compare(tracker, other, frames):
    """Over all frames; the number of tracks in each."""
    counts = []
    for frame in frames:
        wanted, found = tracker.update(frame), other.update(frame)
        assert found.ids.tolist() == wanted.ids.tolist()
        assert found.labels.tolist() == wanted.labels.tolist()
        assert found.frame == wanted.frame
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=2e-2)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        counts.append(len(tracker.tracks))
    return counts


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_the_same_tracks(variant):
    model = small_model(variant=variant)
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=eager)
    counts = compare(tracker, other, video(6))
    assert min(counts) > 0
    assert tracker.next_id > max(counts), "some tracks end on the way"
    assert other.next_id == tracker.next_id
    assert other.tracks.ids.tolist() == tracker.tracks.ids.tolist()


def test_slots_grow_and_no_birth_is_lost(monkeypatch):
    monkeypatch.setattr(compiled, "SLOTS", 2)
    model = small_model()
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=eager)
    counts = compare(tracker, other, video(4))
    assert max(counts) > 4
    assert len(other.slots) >= max(counts)


def test_without_any_track_nothing_is_nan():
    model = small_model()
    other = CompiledTracker(model, det_thresh=1.0, compile=eager)
    for frame in video(3):
        assert len(other.update(frame)) == 0
    assert all(getattr(other.slots, name).isfinite().all() for name in ("query_embed", "long_memory", "boxes"))


def test_a_new_video_begins_anew():
    model = small_model()
    other = CompiledTracker(model, **LIVELY, compile=eager)
    first = [other.update(frame) for frame in video(3)]
    other.reset()
    again = [other.update(frame) for frame in video(3)]
    for a, b in zip(first, again, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        assert a.frame == b.frame
        assert np.array_equal(a.boxes, b.boxes)


def test_the_motion_model_moves_with_it():
    model = small_model()
    motion = model.config.tracking.motion.model_copy(update={"enabled": True})
    tracking = model.config.tracking.model_copy(update={"motion": motion})
    model.config = model.config.model_copy(update={"tracking": tracking})
    compare(Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=eager), video(5))


def test_it_is_one_graph_without_a_break():
    """What `torch.compile` and CUDA graphs need; the graph is then run as it is, which needs no C++ compiler."""

    def one_graph(step):
        return torch.compile(step, fullgraph=True, dynamic=False, backend="eager")

    model = small_model()
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=one_graph)
    compare(tracker, other, video(3))


def test_where_compiling_fails_the_reason_is_said():
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler")

    def compile_badly(step):
        return torch.compile(step, fullgraph=True, backend=broken)

    with pytest.raises(UserError, match=r"torch.compile does not work here \(.*no C\+\+ compiler.*track without"):
        CompiledTracker(small_model(), compile=compile_badly).update(video(1)[0])


def test_bad_settings_are_named():
    with pytest.raises(UserError, match="there is no precision"):
        CompiledTracker(small_model(), precision="bf61", compile=eager)
    with pytest.raises(UserError, match="det_thresh"):
        CompiledTracker(small_model(), det_thresh=2.0, compile=eager)
