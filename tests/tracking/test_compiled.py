"""The step of fixed shapes gives what the tracker gives, whatever stands in its vacant slots."""

import numpy as np
import pytest
import torch
from torch._functorch._aot_autograd import autograd_cache

from memotr.bench.host import HostWork
from memotr.errors import UserError
from memotr.tracking import slots as slot_module
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
    monkeypatch.setattr(slot_module, "SLOTS", 2)
    model = small_model()
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=eager)
    counts = compare(tracker, other, video(4))
    assert max(counts) > 4
    assert len(other.video.state.tracks) >= max(counts)


def test_without_any_track_nothing_is_nan():
    model = small_model()
    other = CompiledTracker(model, det_thresh=1.0, compile=eager)
    for frame in video(3):
        assert len(other.update(frame)) == 0
    assert all(
        getattr(other.video.state.tracks, name).isfinite().all() for name in ("query_embed", "long_memory", "boxes")
    )


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
    model, limits = small_model(), LIVELY | {"track_thresh": 0.9, "miss_tolerance": 5}
    still = Tracker(model, **limits)
    motion = model.config.tracking.motion.model_copy(update={"enabled": True, "min_length": 2, "weight": 5.0})
    tracking = model.config.tracking.model_copy(update={"motion": motion})
    model.config = model.config.model_copy(update={"tracking": tracking})
    tracker, other = Tracker(model, **limits), CompiledTracker(model, **limits, compile=eager)
    compare(tracker, other, video(5))
    for frame in video(5):
        still.update(frame)
    assert not still.tracks.boxes.equal(tracker.tracks.boxes), "some track was moved"


def test_it_is_one_graph_without_a_break():
    """What `torch.compile` and CUDA graphs need; the graph is then run as it is, which needs no C++ compiler."""

    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph

    def one_graph(step):
        return torch.compile(step, fullgraph=True, dynamic=False, backend=keep)

    model = small_model()
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY, compile=one_graph)
    for _ in range(2):
        tracker.reset()
        other.reset()
        compare(tracker, other, video(3))
    (graph,) = graphs  # for the first frame, for all others, and for another video
    (results,) = graph.graph.find_nodes(op="output")[0].args
    assert len(results) == 4 + len(slot_module.FIELDS), "nothing is kept that the next replay would overwrite"


def test_a_frame_of_the_step_asks_the_device_nothing():
    """On CUDA the host would wait: for a number of rows, for a value, or for a tensor made of a list."""

    work = HostWork()
    other = CompiledTracker(small_model(), **LIVELY, compile=eager)
    frames = [other.prepare(frame).images for frame in video(2)]
    other.step(frames[0], 64, 96)
    run = other.video._run

    def watched(*inputs):
        with work.counting():
            return run(*inputs)

    other.video._run = watched
    assert len(other.step(frames[1], 64, 96))
    assert work.operators > 100
    assert work.waits == 0


def test_many_sizes_are_compiled_for(monkeypatch):
    count = 0

    def backend(graph, inputs):
        nonlocal count
        count += 1
        return graph

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, fullgraph, dynamic, mode: real(step, backend=backend))
    other = CompiledTracker(small_model(), **LIVELY)
    for k in range(10):
        other.reset()
        for frame in video(2, width=96 + 32 * k):
            other.update(frame)
    torch._dynamo.reset()
    assert count == 10


def test_a_failed_compilation_is_one_line_with_the_reason():
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler")

    def compile_badly(step):
        return torch.compile(step, fullgraph=True, backend=broken)

    with pytest.raises(
        UserError, match=r"torch.compile does not work on this machine \(.*no C\+\+ compiler.*track without"
    ):
        CompiledTracker(small_model(), compile=compile_badly).update(video(1)[0])


def test_bad_settings_are_named():
    with pytest.raises(UserError, match="unknown precision"):
        CompiledTracker(small_model(), precision="bf61", compile=eager)
    with pytest.raises(UserError, match="det_thresh"):
        CompiledTracker(small_model(), det_thresh=2.0, compile=eager)


def test_as_many_tracks_as_are_allowed_and_one_warning_a_video(monkeypatch):
    """Thresholds of 0 make every query a track, frame after frame."""
    monkeypatch.setattr(slot_module, "SLOTS", 2)
    model = small_model()
    endless = {"det_thresh": 0.0, "track_thresh": 0.0, "result_thresh": 0.0, "min_area": 0}
    tracking = model.config.tracking.model_copy(update={"max_tracks": 25})
    model.config = model.config.model_copy(update={"tracking": tracking})
    trackers = Tracker(model, **endless), CompiledTracker(model, **endless, compile=eager)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"25 tracks, the limit set by tracking\.max_tracks") as told:
            counts = compare(*trackers, video(5))
        assert (max(counts), len(told)) == (25, 2), "each says it once"
        for tracker in trackers:
            tracker.reset()


def test_the_compiled_step_can_be_cached(monkeypatch):
    """AOTAutograd's cache takes no graph with a function that it does not know, autocast in 2.13."""
    checked = []

    def check(graph, inputs):
        autograd_cache.check_cacheable(graph)
        checked.append(graph)
        return graph

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, fullgraph, dynamic, mode: real(step, backend=check))
    CompiledTracker(small_model(), **LIVELY, precision="bf16").update(video(1)[0])
    torch._dynamo.reset()
    assert len(checked) == 1
