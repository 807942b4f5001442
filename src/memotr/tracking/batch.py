"""Tracking of several videos at once: the frames of independent trackers form one batch of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from memotr.structures import FrameOutput, ImageBatch, TrackState
from memotr.tracking.precision import turn_given_up
from memotr.tracking.step import Network
from memotr.tracking.tracker import Tracker


@dataclass(eq=False)
class _Frame:
    """Frame that waits for the frames of the other threads, and its output."""

    images: ImageBatch
    tracks: TrackState
    output: FrameOutput | BaseException | None = None


class Batch:
    """Shared forward pass of trackers in separate threads.

    A call waits until every participating thread has passed a frame; frames of the same size then form one batch. A
    thread that has finished leaves, and the others continue without it.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._members = 0
        self._waiting: list[_Frame] = []
        self._changed = threading.Condition()

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Take part within the context: other threads wait for the frames of this one."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def memory(self, tracks: TrackState, vacant: Tensor | None = None) -> TrackState:
        """Update the tracks of one video by the memory of the network."""
        return self._network.memory(tracks, vacant)

    def __call__(
        self, images: ImageBatch, tracks: Sequence[TrackState], *, vacant: Tensor | None = None
    ) -> list[FrameOutput]:
        """Return the output for a frame, as a list of one. Raises the error of the forward pass of its batch."""
        if vacant is not None:
            raise ValueError("a batch has no slots")
        frame = _Frame(images, tracks[0])
        with self._changed:
            self._waiting.append(frame)
        while frame.output is None:
            with turn_given_up(), self._changed:
                self._changed.wait_for(lambda: frame.output is not None or self._is_complete())
            with self._changed:
                if self._is_complete():
                    self._forward()
        if isinstance(frame.output, BaseException):
            raise frame.output
        assert frame.output is not None
        return [frame.output]

    def _is_complete(self) -> bool:
        """Return whether frames wait, and all participating threads have brought theirs."""
        return 0 < len(self._waiting) >= self._members

    def _forward(self) -> None:
        """Run the forward pass, in a thread that has a frame: precision is set by thread."""
        frames, self._waiting = self._waiting, []
        for alike in _by_size(frames):
            try:
                images = _joined([frame.images for frame in alike])
                output = self._network(images, [frame.tracks for frame in alike])
                outputs: list[FrameOutput | BaseException] = [output[b] for b in range(len(alike))]
            except BaseException as error:
                outputs = [error] * len(alike)
            for frame, own in zip(alike, outputs, strict=True):
                frame.output = own
        self._changed.notify_all()


def batched(tracker: Tracker, count: int) -> tuple[Batch, list[Tracker]]:
    """Return a batch and ``count`` trackers that share a network and settings, each with its own memory.

    Each tracker belongs to one thread, which uses it within ``batch.taking_part()``.
    """
    batch = Batch(tracker.network)
    return batch, [tracker.another(batch) for _ in range(count)]


def side_by_side(tracker: Tracker, count: int, work: Callable[[Tracker], None], stop: Callable[[], None]) -> None:
    """Call a function with each of ``count`` trackers in parallel, with their frames in one batch.

    Args:
        tracker: tracker whose network and settings are shared; if ``count`` is 1, it is the only one.
        count: number of trackers, each in its own thread.
        work: function that is called once with each tracker.
        stop: function that asks all calls to end early; it is called when one fails or this thread is interrupted.

    Raises:
        Exception: the first error of a tracker, after all have ended.
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
    """Group frames so that none needs more padding in a batch than alone: padding changes the last bits of results."""
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
