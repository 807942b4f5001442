"""What only a GPU shows: the same tracks there, and a host that waits once a frame."""

import numpy as np
import pytest
import torch

from memotr.tracking import precision as precision_module
from memotr.tracking.batch import batched
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.precision import exact_convolutions
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.tracking.test_compiled import LIVELY, compare, small_model, video


@pytest.mark.cuda
@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_the_same_tracks_as_on_a_cpu(variant):
    model = small_model(variant=variant)
    on_cpu = Tracker(model, **LIVELY)
    wanted = [on_cpu.update(frame) for frame in video(6)]
    for on_cuda in (Tracker(model.cuda(), **LIVELY), CompiledTracker(model.cuda(), **LIVELY)):
        for frame, tracks in zip(video(6), wanted, strict=True):
            found = on_cuda.update(frame)
            assert found.ids.tolist() == tracks.ids.tolist()
            np.testing.assert_allclose(found.boxes, tracks.boxes, atol=2e-2)
            np.testing.assert_allclose(found.scores, tracks.scores, atol=1e-4)


@pytest.mark.cuda
def test_the_compiled_step_is_replayed_for_every_size_and_video():
    model = small_model().cuda()
    tracker, other = Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY)
    for width in (96, 128, 96):
        tracker.reset()
        other.reset()
        compare(tracker, other, video(6, width=width))
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0


@pytest.mark.cuda
def test_slots_grow_there(monkeypatch):
    monkeypatch.setattr("memotr.tracking.compiled.SLOTS", 2)
    model = small_model().cuda()
    compare(Tracker(model, **LIVELY), CompiledTracker(model, **LIVELY), video(5))


@pytest.mark.cuda
def test_the_host_waits_for_the_results_alone(monkeypatch):
    other = CompiledTracker(small_model().cuda(), **LIVELY)
    frames = [other.prepare(frame).images for frame in video(6)]
    for images in frames[:4]:
        other.step(images, 64, 96)
    waits, cpu = 0, torch.Tensor.cpu

    def wait(tensor):
        nonlocal waits
        waits += 1
        torch.cuda.set_sync_debug_mode("default")
        try:
            return cpu(tensor)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(torch.Tensor, "cpu", wait)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for images in frames[4:]:
            other.step(images, 64, 96)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert waits == 2


@pytest.mark.cuda
def test_preprocessing_there_and_in_a_batch():
    model = tiny_model().cuda()
    frame = video(1)[0]
    exact = Tracker(model, preprocess_on_device=False).prepare(frame).images.pixels
    found = Tracker(model).prepare(frame).images.pixels
    assert exact.is_pinned()
    assert found.is_cuda
    assert torch.equal(exact, found.cpu())
    batch, (one, _) = batched(Tracker(model, **LIVELY), 2)
    alone = Tracker(model, **LIVELY)
    with batch.taking_part():
        compare(alone, one, video(3))


@pytest.mark.parametrize(("precision", "rounded"), [("32", False), ("bf16", True)])
def test_float32_is_not_rounded_to_tf32(precision, rounded, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    found = []
    tracker = Tracker(tiny_model(), precision=precision)
    tracker.network.register_forward_pre_hook(lambda *_: found.append(torch.backends.cudnn.allow_tf32))
    tracker.update(video(1)[0])
    assert found == [rounded]
    assert torch.backends.cudnn.allow_tf32


def test_threads_that_want_it_do_not_take_it_from_each_other(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    one, other = exact_convolutions(True), exact_convolutions(True)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32
    other.__exit__(None, None, None)
    assert torch.backends.cudnn.allow_tf32


def test_settings_of_somebody_else_stay(monkeypatch):
    class Mixed:
        @property
        def allow_tf32(self):
            raise RuntimeError("set for each operation apart")

    monkeypatch.setattr(precision_module.torch.backends, "cudnn", Mixed())
    with exact_convolutions(True):
        pass
