"""What only a GPU shows: the same tracks there, and a host that waits once a frame."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from memotr.bench.options import Options
from memotr.bench.scene import CrowdTracker, make_crowd, make_model
from memotr.config import load_config
from memotr.structures import ImageBatch
from memotr.tracking.batch import batched
from memotr.tracking.compiled import CompiledTracker
from memotr.tracking.precision import products_in
from memotr.tracking.slots import SlotStep
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.tracking.test_compiled import LIVELY, compare, small_model, video

EXACT = LIVELY | {"precision": "32"}


@pytest.mark.cuda
@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_the_same_tracks_as_on_a_cpu(variant):
    model = small_model(variant=variant)
    on_cpu = Tracker(model, **LIVELY)
    wanted = [on_cpu.update(frame) for frame in video(6)]
    model.cuda()
    for on_cuda in (Tracker(model, **EXACT, graph="off"), Tracker(model, **EXACT), CompiledTracker(model, **EXACT)):
        for frame, tracks in zip(video(6), wanted, strict=True):
            found = on_cuda.update(frame)
            assert found.ids.tolist() == tracks.ids.tolist()
            np.testing.assert_allclose(found.boxes, tracks.boxes, atol=2e-2)
            np.testing.assert_allclose(found.scores, tracks.scores, atol=1e-4)


@pytest.mark.cuda
def test_the_compiled_step_is_replayed_for_every_size_and_video():
    model = small_model().cuda()
    tracker, other = Tracker(model, **EXACT, graph="off"), CompiledTracker(model, **EXACT)
    for width in (96, 128, 96):
        tracker.reset()
        other.reset()
        compare(tracker, other, video(6, width=width))
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0


@pytest.mark.cuda
@pytest.mark.parametrize("kind", [Tracker, CompiledTracker])
def test_slots_grow_there(kind, monkeypatch):
    monkeypatch.setattr("memotr.tracking.slots.SLOTS", 2)
    model = small_model().cuda()
    compare(Tracker(model, **EXACT, graph="off"), kind(model, **EXACT), video(6))


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["32", "tf32", "bf16", "fp16"])
def test_graphs_are_captured_and_replayed_for_every_size_and_video(precision):
    model, settings = small_model().cuda(), LIVELY | {"precision": precision}
    tracker, other = Tracker(model, **settings, graph="off"), Tracker(model, **settings)
    for width in (96, 128, 96):
        tracker.reset()
        other.reset()
        for frame in video(6, width=width):
            wanted, found = tracker.update(frame), other.update(frame)
            if precision == "32":
                assert found.ids.tolist() == wanted.ids.tolist()
                np.testing.assert_allclose(found.boxes, wanted.boxes, atol=2e-2)
            assert np.isfinite(found.boxes).all()
    assert len(other._run_slots._graphs) == 2
    assert not other._run_slots._failed


@pytest.mark.cuda
def test_graphs_of_two_trackers_interleaved_while_a_thread_allocates():
    """As the decoder's does: page-locked memory, copies, and memory of the device."""
    model, stop = small_model().cuda(), threading.Event()
    one, forth, back = (Tracker(model, **EXACT, graph=mode) for mode in ("off", "auto", "auto"))

    def allocate():
        while not stop.is_set():
            for frame in video(3, width=128):
                one.prepare(frame)
            torch.empty(1 << 20).pin_memory().to("cuda", non_blocking=True)

    wanted = [[one.update(frame).boxes for frame in frames] for frames in (video(5), video(5)[::-1]) if not one.reset()]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(allocate)
        try:
            for k, (a, b) in enumerate(zip(video(5), video(5)[::-1], strict=True)):
                np.testing.assert_allclose(forth.update(a).boxes, wanted[0][k], atol=2e-2)
                np.testing.assert_allclose(back.update(b).boxes, wanted[1][k], atol=2e-2)
        finally:
            stop.set()
        running.result()
    assert all(tracker._run_slots._graphs for tracker in (forth, back))


@pytest.mark.cuda
def test_graphs_in_threads():
    model = small_model().cuda()
    first, widths = Tracker(model, **EXACT), (96, 128, 160)

    def work(tracker, width):
        return [tracker.update(frame).boxes for frame in video(6, width=width)]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, (first, first.another(), first.another()), widths))
    for boxes, width in zip(found, widths, strict=True):
        for a, b in zip(boxes, work(Tracker(model, **EXACT, graph="off"), width), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-2)


@pytest.mark.cuda
def test_a_failed_capture_runs_eagerly_and_does_not_affect_other_trackers():
    model = small_model().cuda()
    before, broken = Tracker(model, **EXACT), Tracker(model, **EXACT)
    compare(Tracker(model, **EXACT, graph="off"), before, video(4))

    def wait(module, given):
        given[0].pixels.sum().item()

    broken.network.register_forward_pre_hook(wait)
    with pytest.warns(UserWarning, match="cannot be captured as a CUDA graph"):
        compare(Tracker(model, **EXACT, graph="off"), broken, video(4))
    before.reset()
    compare(Tracker(model, **EXACT, graph="off"), before, video(4))
    assert before._run_slots._graphs
    for _ in range(2):  # the second time after the pool has lost its last graph
        other = Tracker(model, **EXACT)
        compare(Tracker(model, **EXACT, graph="off"), other, video(4))
        assert other._run_slots._graphs
        del other
    cached = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    del cached
    reserved = torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= reserved - (1 << 28), "the allocator waits for the capture to end"


@pytest.mark.cuda
def test_graphs_write_to_their_own_memory_alone():
    """Also after Inductor has captured a graph, for which it frees cuBLAS's workspaces."""
    model = small_model().cuda()
    tracker, other = Tracker(model, **EXACT, graph="off"), Tracker(model, **EXACT)
    compare(tracker, other, video(6)[:3])
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    taken = torch.full((1 << 28,), 7, dtype=torch.uint8, device="cuda")
    compare(tracker, other, video(6)[3:])
    assert other._run_slots._graphs
    assert taken.eq(7).all()


def after_frames(tracker, images, count=4):
    for _ in range(count):
        tracker.step(images, *images.sizes[0])
    return tracker.tracks


def full_size_pair(model, images, precision):
    """The tracks after four frames with 30 tracks, of a replayed step and of the same step run eagerly."""
    first = make_crowd(model, 30)
    graphed, eager = (CrowdTracker(model, first, precision) for _ in range(2))
    eager._run_slots = SlotStep(eager.frame_step)
    eager.reset()
    pair = after_frames(graphed, images), after_frames(eager, images)
    assert graphed._run_slots._graphs
    return pair


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["32", "tf32", "bf16"])
def test_the_published_network_at_full_size(precision):
    """It has enough pixels for the other variant of the kernel, and products that cuBLAS splits."""
    size = (800, 1422)
    model = make_model(Options(load_config("dancetrack"), device="cuda"), size)
    images = ImageBatch.from_images([torch.randn(3, *size)]).to("cuda")
    graphed, eager = full_size_pair(model, images, precision)
    rows = after_frames(CrowdTracker(model, make_crowd(model, 30), precision, prepared=False), images)
    assert graphed.ids.tolist() == eager.ids.tolist() == rows.ids.tolist() == list(range(30))
    rounding = {"32": 1e-3, "tf32": 5e-2, "bf16": 0.5}[precision]
    for name in ("logits", "boxes", "output_embed", "long_memory"):
        found, same, other = (getattr(tracks, name) for tracks in (graphed, eager, rows))
        torch.testing.assert_close(found, same, atol=1e-4, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
        torch.testing.assert_close(found, other, atol=rounding, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.cuda
def test_frames_from_another_thread_on_a_stream_of_the_user():
    """There, kernels of the other thread may still run when the update begins."""
    model = small_model().cuda()
    tracker, other = Tracker(model, **EXACT, graph="off"), Tracker(model, **EXACT)
    wanted = [tracker.update(frame).boxes for frame in video(5)]
    torch.cuda.synchronize()

    def prepare(frame):
        torch.cuda._sleep(50_000_000)
        return other.prepare(frame)

    with ThreadPoolExecutor(1) as pool, torch.cuda.stream(torch.cuda.Stream()):
        for frame, boxes in zip(video(5), wanted, strict=True):
            np.testing.assert_allclose(other.update(pool.submit(prepare, frame).result()).boxes, boxes, atol=2e-2)


@pytest.mark.cuda
def test_another_device_than_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    model = small_model().to("cuda:1")
    other = Tracker(model, **EXACT)
    compare(Tracker(model, **EXACT, graph="off"), other, video(5))
    assert other._run_slots._graphs
    assert torch.cuda.current_device() == 0


@pytest.mark.cuda
@pytest.mark.parametrize("kind", [Tracker, CompiledTracker])
def test_the_host_waits_for_the_results_alone(kind, monkeypatch):
    other = kind(small_model().cuda(), **LIVELY)
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
    batch, (one, _) = batched(Tracker(model, **EXACT), 2)
    alone = Tracker(model, **EXACT)
    with batch.taking_part():
        compare(alone, one, video(3))


@pytest.mark.cuda
def test_tf32_is_the_default_there_and_32_is_exact():
    """A product and a convolution against float64: TF32 has three digits, float32 seven."""
    assert Tracker(tiny_model().cuda()).precision == "tf32"
    torch.manual_seed(0)
    a, image, weight = torch.randn(512, 512), torch.randn(1, 64, 32, 32), torch.randn(64, 64, 3, 3)
    for precision, least, most in (("tf32", 1e-5, 1e-2), ("32", 0, 5e-6)):
        with products_in(precision):
            found = (a.cuda() @ a.cuda()).cpu(), torch.conv2d(image.cuda(), weight.cuda()).cpu()
        wanted = a.double() @ a.double(), torch.conv2d(image.double(), weight.double())
        for x, y in zip(found, wanted, strict=True):
            assert least <= (x - y).norm() / y.norm() <= most, precision
