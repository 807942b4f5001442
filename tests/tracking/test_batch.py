"""Videos that are tracked side by side come out as they do one by one."""

import threading

import numpy as np
import pytest
import torch

from memotr.structures import ImageBatch
from memotr.tracking.batch import Batch, batched, side_by_side
from memotr.tracking.tracker import Tracker
from tests.builders import random_images, tiny_model

SETTINGS = {"det_thresh": 0.6, "track_thresh": 0.5, "min_area": 0}


def videos():
    """Of different lengths and of two sizes."""
    shapes = [(5, 64, 96), (3, 64, 96), (4, 48, 96), (2, 64, 96)]
    return [np.random.default_rng(k).integers(0, 256, (*shape, 3), dtype=np.uint8) for k, shape in enumerate(shapes)]


def small_tracker():
    model = tiny_model()
    model.config = model.config.model_copy(update={"input": model.config.input.model_copy(update={"short_side": 64})})
    return Tracker(model, **SETTINGS)


def test_the_same_tracks_as_one_by_one():
    tracker, clips = small_tracker(), videos()
    wanted, found = [], [[] for _ in clips]
    for clip in clips:
        tracker.reset()
        wanted.append([tracker.update(frame) for frame in clip])
    todo = list(range(len(clips)))

    def work(tracker):
        while todo:
            k = todo.pop()
            tracker.reset()
            found[k] = [tracker.update(frame) for frame in clips[k]]

    side_by_side(tracker, 3, work, stop=todo.clear)
    for mine, theirs in zip(found, wanted, strict=True):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert a.ids.tolist() == b.ids.tolist()
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
    assert sum(len(frame) for clip in wanted for frame in clip) > 20


def test_frames_go_through_the_network_together():
    sizes = []

    def network(images, tracks):
        sizes.append(len(images))
        return [images.pixels[b] for b in range(len(tracks))]

    batch = Batch(network)
    images = [torch.full((1, 3, 32, 32), float(k)) for k in range(3)]
    found, together = {}, threading.Barrier(3)

    def member(k):
        with batch.taking_part():
            together.wait()
            mask = torch.zeros(1, 32, 32, dtype=torch.bool)
            for _ in range(k + 1):  # the first leaves after one frame, the others go on
                (found[k],) = batch(ImageBatch(images[k], mask, ((32, 32),)), [None])

    threads = [threading.Thread(target=member, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sizes == [3, 2, 1]
    assert all(found[k].equal(images[k][0]) for k in range(3))


def test_those_who_wait_go_on_when_the_last_one_leaves():
    batch = Batch(lambda images, tracks: [images.pixels[0]])
    waiting, found = threading.Event(), []

    class Announcing(threading.Condition):
        def wait_for(self, predicate, timeout=None):
            waiting.set()
            return super().wait_for(predicate, timeout=10)

    batch._changed = Announcing()

    def member():
        with batch.taking_part():
            found.extend(batch(random_images([(32, 32)]), [None]))

    with batch.taking_part():
        thread = threading.Thread(target=member)
        thread.start()
        assert waiting.wait(timeout=30)
    thread.join(timeout=30)
    assert len(found) == 1


def test_a_video_that_ends_leaves_the_precision_of_the_others():
    """The last frame that all wait for is complete when a thread without a frame leaves."""
    batch, (short, long) = batched(Tracker(tiny_model(), precision="bf16", **SETTINGS), 2)
    clip, ended, found = videos()[0], threading.Event(), []

    def one():
        with batch.taking_part():
            short.update(clip[0])
            assert ended.wait(timeout=30)
            while not batch._waiting:
                threading.Event().wait(1e-3)

    def other():
        with batch.taking_part():
            found.append(long.update(clip[0]))
            ended.set()
            found.append(long.update(clip[1]))

    threads = [threading.Thread(target=work, daemon=True) for work in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 2


def test_an_error_in_one_thread_ends_all():
    tracker, stopped = small_tracker(), threading.Event()
    first = threading.Lock()

    def work(tracker):
        if first.acquire(blocking=False):
            raise ValueError("this one")
        assert stopped.wait(timeout=30)

    with pytest.raises(ValueError, match="this one"):
        side_by_side(tracker, 2, work, stop=stopped.set)


def test_an_error_in_the_network_reaches_every_thread():
    def forward(images, tracks):
        raise RuntimeError("out of memory")

    batch = Batch(forward)
    raised = []

    def member():
        with batch.taking_part():
            try:
                batch(random_images([(32, 32)]), [None])
            except RuntimeError as error:
                raised.append(str(error))

    threads = [threading.Thread(target=member) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert raised == ["out of memory"] * 2


def test_trackers_have_memories_of_their_own():
    tracker = small_tracker()
    batch, (one, other) = batched(tracker, 2)
    assert one.network is other.network is batch
    tracker.update(videos()[0][0])
    assert (tracker.frame, one.frame) == (1, 0)
    assert one.tracks is not other.tracks


def test_frames_of_different_sizes_do_not_share_a_batch_though_their_padding_fits():
    together = []

    def network(images, tracks):
        together.append(images.sizes)
        return [images.pixels[b] for b in range(len(tracks))]

    batch = Batch(network)
    sizes, ready = [(20, 30), (32, 32), (20, 30)], threading.Barrier(3)

    def member(size):
        with batch.taking_part():
            ready.wait()
            batch(random_images([size]), [None])

    threads = [threading.Thread(target=member, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(together) == [((20, 30), (20, 30)), ((32, 32),)]
