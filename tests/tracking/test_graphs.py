"""The captured step gives what the eager one gives, from memory that is worthless between its replays."""

import contextlib
import functools
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from memotr.errors import MemotrWarning, UserError
from memotr.models import inference
from memotr.tracking import graphs
from memotr.tracking import slots as slot_module
from memotr.tracking.batch import batched
from memotr.tracking.graphs import CudaCapture, GraphedStep, capture_on
from memotr.tracking.slots import Rows, Slots
from memotr.tracking.tracker import Tracker
from tests.tracking.tape import TapeCapture
from tests.tracking.test_compiled import LIVELY, compare, small_model, video


@pytest.fixture
def capture(monkeypatch):
    """Captures on the CPU in place of CUDA's; the trackers of a test share it."""
    capture = TapeCapture()
    monkeypatch.setattr("memotr.tracking.tracker.capture_on", lambda device: capture)
    return capture


def eager(model):
    return Tracker(model, **LIVELY, graph="off")


def test_two_frames_of_a_size_are_captured_once(capture):
    model = small_model()
    compare(eager(model), Tracker(model, **LIVELY), video(6))
    assert (capture.captures, capture.replays) == (1, 5)


def test_a_cpu_has_no_graphs():
    assert capture_on(torch.device("cpu")) is None
    assert isinstance(Tracker(small_model()).video, Rows)


def test_graphs_are_kept_over_sizes_and_videos(capture):
    model = small_model()
    tracker, other = eager(model), Tracker(model, **LIVELY)
    for width in (96, 128, 96, 128):
        tracker.reset()
        other.reset()
        compare(tracker, other, video(3, width=width))
    assert (capture.captures, capture.replays) == (2, 2 + 2 + 3 + 3)


def test_frames_that_only_their_padding_makes_alike_are_captured_apart(capture):
    """Here, 64 x 96 and 64 x 92 pixels, both in 64 x 96."""
    model = small_model()
    tracker, other = eager(model), Tracker(model, **LIVELY)
    for width in (96, 92):
        tracker.reset()
        other.reset()
        compare(tracker, other, video(3, width=width))
    assert (capture.captures, capture.replays) == (2, 4)


def test_images_of_alternating_sizes_are_not_captured(capture):
    model = small_model()
    frames = [frame for pair in zip(video(3), video(3, width=128), strict=True) for frame in pair]
    compare(eager(model), Tracker(model, **LIVELY), frames)
    assert capture.captures == 0


def test_the_least_recently_used_graph_is_dropped(capture, monkeypatch):
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    model = small_model()
    other = Tracker(model, **LIVELY)

    def captures(width):
        before = capture.captures
        other.reset()
        for frame in video(2, width=width):
            other.update(frame)
        return capture.captures - before

    assert [captures(width) for width in (96, 128, 96, 160, 96, 128)] == [1, 1, 0, 1, 0, 1]
    assert sum(tape() is not None for tape in capture.tapes) == 2


def test_slots_grow(capture, monkeypatch):
    monkeypatch.setattr(slot_module, "SLOTS", 2)
    model = small_model()
    other = Tracker(model, **LIVELY)
    counts = compare(eager(model), other, video(5))
    assert max(counts) > 4
    assert len(other.video.state.tracks) >= max(counts)
    assert capture.replays


def test_returned_tensors_are_not_overwritten(capture):
    other = Tracker(small_model(), **LIVELY)
    for frame in video(3):
        other.update(frame)
    before = other.tracks.long_memory, other.tracks.long_memory.clone()
    other.reset()
    for frame in video(3)[::-1]:
        other.update(frame)
    assert torch.equal(*before)


def test_two_trackers_of_a_model_interleaved(capture):
    model = small_model()
    one, forth, back = eager(model), Tracker(model, **LIVELY), Tracker(model, **LIVELY)
    wanted = [[one.update(frame).boxes for frame in frames] for frames in (video(5), video(5)[::-1]) if not one.reset()]
    pairs = [(forth.update(a).boxes, back.update(b).boxes) for a, b in zip(video(5), video(5)[::-1], strict=True)]
    found = list(zip(*pairs, strict=True))
    for wanted_boxes, boxes in zip(wanted, found, strict=True):
        assert all(np.allclose(a, b, atol=2e-2) for a, b in zip(wanted_boxes, boxes, strict=True))
    assert capture.captures == 2


def test_threads_take_turns(capture):
    """Other trackers of a network, too, each with frames of its own size."""
    model = small_model()
    first = Tracker(model, **LIVELY)
    trackers = [first, first.another(), first.another()]
    assert len({id(tracker.network.layouts) for tracker in trackers}) == 3, "which the graphs read"
    start = threading.Barrier(len(trackers))

    def work(tracker, width):
        start.wait()
        return [tracker.update(frame).boxes for frame in video(5, width=width)]

    with ThreadPoolExecutor(len(trackers)) as pool:
        found = list(pool.map(work, trackers, (96, 128, 160)))
    for boxes, width in zip(found, (96, 128, 160), strict=True):
        one = eager(model)
        for a, b in zip(boxes, video(5, width=width), strict=True):
            np.testing.assert_allclose(a, one.update(b).boxes, atol=2e-2)


def test_changed_weights_are_captured_anew(capture):
    model = small_model()
    other = Tracker(model, **LIVELY, network=model)
    tracker = Tracker(model, **LIVELY, network=model, graph="off")
    model.layouts = {}
    compare(tracker, other, video(3))
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.01
    compare(tracker, other, video(3))
    assert capture.captures == 2


def test_a_moved_model_is_refused(capture):
    model = small_model()
    tracker = Tracker(model)
    model.to("meta")
    with pytest.raises(UserError, match="the model was moved from cpu to meta: create a new tracker"):
        tracker.update(video(1)[0])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("not permitted when stream is capturing\nand more"), "RuntimeError: not permitted .* capturing"),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_a_failed_capture_runs_eagerly_with_one_warning(capture, error, reason):
    """Also without memory for a second copy of the step: the frames before ran without one."""
    capture.refuse = error
    model = small_model()
    other = Tracker(model, **LIVELY)
    with pytest.warns(MemotrWarning, match=rf"cannot be captured as a CUDA graph \({reason}\)") as found:
        compare(eager(model), other, video(4))
    assert len(found) == 1


def test_the_reason_of_a_failed_capture_is_its_first_error(capture, monkeypatch):
    """PyTorch ends the capture, which fails again and tells nothing."""

    def record(function):
        try:
            refuse()
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(capture, "record", record)
    other = Tracker(small_model(), **LIVELY)
    other.update(video(2)[0])
    with pytest.warns(UserWarning, match=r"\(RuntimeError: operation not permitted when stream is capturing\)"):
        other.update(video(2)[1])


@pytest.mark.parametrize("variant", ["dab", "deformable-detr"])
def test_the_layers_of_cuda_begin_without_tracks_too(variant, monkeypatch):
    """In eager mode, as in batches; with slots there is no layer without rows."""
    model = small_model(variant=variant)
    tracker = eager(model)
    monkeypatch.setattr(inference, "OneDnnLinear", inference.CublasLinear)
    compare(tracker, eager(model), video(4))


def test_a_batch_and_by_choice_nothing_is_captured(capture):
    model = small_model()
    assert isinstance(Tracker(model).video, Slots)
    assert isinstance(Tracker(model)._run_slots, GraphedStep)
    assert isinstance(eager(model).video, Rows)
    assert isinstance(eager(model).another().video, Rows)
    _, trackers = batched(Tracker(model), 2)
    assert all(isinstance(tracker.video, Rows) for tracker in trackers)


class FakeCuda:
    """As much of `torch.cuda` as a capture calls, with a log of the calls."""

    def __init__(self, monkeypatch):
        log = self.log = []
        streams, pools = itertools.count(), itertools.count(1)

        class Stream:
            def __init__(self, device=None):
                self.name = f"stream {next(streams)}" if device else "main"

            def wait_stream(self, other):
                log.append(f"{self.name} waits for {other.name}")

            def wait_event(self, event):
                log.append(f"{self.name} waits")

        class Event:
            def record(self, stream):
                log.append(f"{stream.name} recorded")

        class Graph:
            def pool(self):
                return self.given

            def replay(self):
                log.append("replay")

        @contextlib.contextmanager
        def graph(graph, *, pool, stream, capture_error_mode):
            graph.given = pool
            log.append(f"capture in pool {pool[1]} on {stream.name}, {capture_error_mode}")
            yield

        @contextlib.contextmanager
        def stream(stream):
            log.append(f"on {stream.name}")
            yield

        main = Stream()
        replaced = {
            "Stream": Stream,
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": graph,
            "graph_pool_handle": lambda: (0, next(pools)),
            "current_stream": lambda: main,
            "set_stream": lambda stream: log.append(f"back on {stream.name}"),
            "stream": stream,
            "device": lambda device: contextlib.nullcontext(),
        }
        for name, value in replaced.items():
            monkeypatch.setattr(torch.cuda, name, value)
        for name in ("endAllocateToPool", "releasePool"):
            call = functools.partial(self.close, name)
            monkeypatch.setattr(torch._C, f"_cuda_{name}", call, raising=False)
        self.closed = False  # PyTorch itself ends a failed capture

    def close(self, name, device, pool):
        if self.closed:
            raise RuntimeError("not currently recording to mempool_id")
        self.log.append(f"{name} {device} {pool[1]}")

    def captured(self):
        """Return where the captures of the log were made, and empty the log."""
        found = [line.removesuffix(", thread_local") for line in self.log if line.startswith("capture in")]
        self.log.clear()
        return found


def test_how_cuda_is_asked_to_capture(monkeypatch):
    """In the thread's own mode, after a run elsewhere: on the stream of the pool, only captures allocate."""
    cuda = FakeCuda(monkeypatch)
    capture = CudaCapture(torch.device("cuda", 0))
    with capture.turn():
        replay, outputs = capture.record(lambda: cuda.log.append("run") or (torch.ones(1),))
        replay()
    assert cuda.log == [
        "main waits",
        *("stream 0 waits for main", "on stream 0", "run", "main waits for stream 0"),
        *("capture in pool 1 on stream 2, thread_local", "run"),
        *("replay", "main recorded"),
    ]
    assert len(outputs) == 1


def test_graphs_share_pool_and_stream_while_one_lives(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    capture = CudaCapture(torch.device("cuda", 0))
    with capture.turn():
        first, _ = capture.record(tuple)
        second, _ = capture.record(tuple)
        assert cuda.captured() == ["capture in pool 1 on stream 2"] * 2
        del first, second
        capture.record(tuple)
        assert cuda.captured() == ["capture in pool 2 on stream 3"]


@pytest.mark.parametrize("closed", [False, True])
def test_a_failed_capture_is_ended_and_its_pool_not_used_again(monkeypatch, closed):
    cuda = FakeCuda(monkeypatch)
    capture = CudaCapture(torch.device("cuda", 3))
    with capture.turn():
        replay, _ = capture.record(tuple)
    cuda.log.clear()
    cuda.closed = closed
    with capture.turn(), pytest.raises(RuntimeError, match="not permitted"):
        capture.record(lambda: cuda.log.append("run") if "run" not in cuda.log else refuse())
    ended = [] if closed else ["endAllocateToPool 3 1", "releasePool 3 1"]
    assert cuda.log[-2 - len(ended) :] == ["back on main", *ended, "main recorded"]
    assert cuda.captured() == ["capture in pool 1 on stream 2"]
    with capture.turn():
        replay()  # the first graph lives
        again, _ = capture.record(tuple)
        assert cuda.captured() == ["capture in pool 2 on stream 3"]
    del replay, again


def test_an_update_waits_on_its_stream_for_a_frame_prepared_on_another(monkeypatch):
    """Frames are prepared by a thread, which has its own current stream."""
    log = []

    class Stream:
        def record_event(self):
            log.append("record")
            return "event"

        def wait_event(self, event):
            log.append(f"wait for {event}")

    tracker, device = Tracker(small_model()), torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: log.append(device) or Stream())
    monkeypatch.setattr("memotr.tracking.tracker.preprocess_on", lambda *given: torch.zeros(3, 64, 96, device="meta"))
    tracker.update(tracker.prepare(video(1)[0]))
    assert log == []
    monkeypatch.setattr(tracker, "device", device)
    prepared = tracker.prepare(video(1)[0])
    assert log == [device, "record"]
    monkeypatch.setattr(tracker, "device", torch.device("cpu"))
    log.clear()
    here = tracker.prepare(video(1)[0]).images
    tracker.update(replace(prepared, images=here))
    assert log == [torch.device("cpu"), "wait for event"]


def refuse():
    raise RuntimeError("operation not permitted when stream is capturing")
