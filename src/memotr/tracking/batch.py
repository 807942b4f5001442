"""Several videos at once: independent trackers whose frames go through the network as one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.tracker import Look, Tracker


@dataclass(eq=False)
class _Frame:
    """A frame that waits for the others, and what came of it."""

    images: ImageBatch
    tracks: TrackState
    output: FrameOutput | BaseException | None = None


class Batch:
    """What trackers in threads of their own look at their frames with, together.

    A frame waits until every thread that takes part has brought one; those of one size then go through the network at
    once. A thread that is done leaves, and the others go on without it.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._members = 0
        self._waiting: list[_Frame] = []
        self._changed = threading.Condition()

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Within the context this thread is waited for."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._look_if_all_are_here()

    def __call__(self, images: ImageBatch, tracks: Sequence[TrackState]) -> list[FrameOutput]:
        """What the model says of a frame; raises what looking at any frame of the batch raised."""
        frame = _Frame(images, tracks[0])
        with self._changed:
            self._waiting.append(frame)
            self._look_if_all_are_here()
            self._changed.wait_for(lambda: frame.output is not None)
        if isinstance(frame.output, BaseException):
            raise frame.output
        assert frame.output is not None
        return [frame.output]

    def _look_if_all_are_here(self) -> None:
        """Done by whoever comes last; all the others wait."""
        if not self._waiting or len(self._waiting) < self._members:
            return
        frames, self._waiting = self._waiting, []
        for alike in _by_size(frames):
            try:
                images = _joined([frame.images for frame in alike])
                outputs: Sequence[FrameOutput | BaseException] = self._look(images, [frame.tracks for frame in alike])
            except BaseException as error:
                outputs = [error] * len(alike)
            for frame, output in zip(alike, outputs, strict=True):
                frame.output = output
        self._changed.notify_all()


def batched(tracker: Tracker, count: int) -> tuple[Batch, list[Tracker]]:
    """So many trackers with the network and the settings of one, each with a memory of its own.

    Each is used by one thread, within ``batch.taking_part()``.
    """
    batch = Batch(tracker.look)
    trackers = [tracker.another() for _ in range(count)]
    for each in trackers:
        each.look = batch
    return batch, trackers


def side_by_side(tracker: Tracker, count: int, work: Callable[[Tracker], None], stop: Callable[[], None]) -> None:
    """Do some work with each of ``count`` trackers, all at the same time and their frames in one batch.

    Args:
        tracker: whose network and settings they have; does the work alone if ``count`` is 1.
        count: of trackers, each in a thread of its own.
        work: called once for each.
        stop: asks all of them to end early: called when one of them, or this thread, is interrupted or fails.

    Raises:
        Exception: the first that one of them raised, when all have ended.
    """
    if count == 1:
        work(tracker)
        return
    batch, trackers = batched(tracker, count)

    def member(tracker: Tracker) -> None:
        with batch.taking_part():
            work(tracker)

    with ThreadPoolExecutor(count, "memotr-track") as pool:
        running = [pool.submit(member, each) for each in trackers]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            stop()
            raise


def _by_size(frames: list[_Frame]) -> list[list[_Frame]]:
    """Frames that need no other padding in a batch than alone: it would show in the last bits, and at the edges."""
    groups: dict[object, list[_Frame]] = {}
    for frame in frames:
        groups.setdefault((frame.images.sizes, frame.images.pixels.shape), []).append(frame)
    return list(groups.values())


def _joined(images: list[ImageBatch]) -> ImageBatch:
    if len(images) == 1:
        return images[0]
    sizes = tuple(size for each in images for size in each.sizes or ())
    return ImageBatch(
        torch.cat([each.pixels for each in images]), torch.cat([each.mask for each in images]), sizes or None
    )
