"""Keeping up with a source that does not wait."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from memotr.io.frames import Frame
from memotr.io.live import newest
from tests.io.results import make_frame

PATIENCE = 30.0  # seconds; only a deadlock takes so long


def test_unread_frames_are_dropped() -> None:
    busy, stored, done = threading.Event(), threading.Event(), threading.Event()

    def camera() -> Iterator[Frame]:
        yield make_frame(0)
        assert busy.wait(PATIENCE)
        yield from map(make_frame, range(1, 6))
        stored.set()  # asked for frame 6, so frame 5 is in the slot
        assert done.wait(PATIENCE)
        yield make_frame(6)

    frames = newest(camera())
    assert next(frames).index == 0
    busy.set()
    assert stored.wait(PATIENCE)
    assert next(frames).index == 5
    done.set()
    assert [frame.index for frame in frames] == [6]


def test_an_error_comes_after_the_last_frame() -> None:
    def camera() -> Iterator[Frame]:
        yield make_frame(0)
        raise OSError("unplugged")

    frames = newest(camera())
    assert next(frames).index == 0
    with pytest.raises(OSError, match="unplugged"):
        next(frames)


def test_closing_ends_the_reader() -> None:
    readers: list[threading.Thread] = []

    def camera() -> Iterator[Frame]:
        readers.append(threading.current_thread())
        yield from map(make_frame, itertools.count())

    frames = newest(camera())
    next(frames)
    frames.close()
    assert not readers[0].is_alive()
