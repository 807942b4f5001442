"""Decoding, tracking and writing side by side: order, bounds, and what is left after every kind of end."""

import itertools
import threading
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import Frame, Selection, Source
from memotr.io.mot import MotSink
from memotr.io.sinks import Sink
from memotr.tracking.pipeline import AHEAD, BEHIND, track_source
from memotr.tracks import Tracks
from tests.io.results import make_frame, make_tracks, read_mot

PATIENCE = 30.0  # seconds; only a deadlock takes so long


class Numbers(Source):
    """Frames of grey level = number; fails, ends or waits where it is told to."""

    def __init__(self, count: int | None, *, stride: int = 1, fail_at: int | None = None, live: bool = False) -> None:
        super().__init__("numbers", "video", Fraction(25), count, Selection(stride=stride))
        self.count, self.fail_at, self.live = count, fail_at, live
        self.decoded = 0
        self.ended = False

    def __iter__(self) -> Generator[Frame, None, None]:
        try:
            numbers = itertools.count() if self.count is None else range(self.count)
            for index in itertools.islice(numbers, 0, None, self.selection.stride):
                if index == self.fail_at:
                    raise UserError(f"frame {index} cannot be read")
                self.decoded += 1
                yield make_frame(index, level=index % 256)
        finally:
            self.ended = True


class Echo:
    """A tracker that sees one object: its id is the grey level of the frame."""

    def __init__(self, on_update: Callable[[int], None] = lambda calls: None) -> None:
        self.calls = 1000  # not reset yet
        self.on_update = on_update

    def reset(self) -> None:
        self.calls = 0

    def prepare(self, frame: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        return frame

    def update(self, frame: NDArray[np.uint8], /) -> Tracks:
        self.calls += 1
        self.on_update(self.calls)
        return make_tracks([[1, 2, 3, 4]], frame=self.calls - 1, ids=[int(frame[0, 0, 0])])


class Record(Sink):
    """Keeps what it is given; breaks where it is told to."""

    def __init__(self, path: Path, *, fail_at: int | None = None, fail_on_close: bool = False) -> None:
        super().__init__(path)
        self.fail_at, self.fail_on_close = fail_at, fail_on_close
        self.seen: list[int] = []
        self.closed = 0
        self.threads: set[str] = set()

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        if frame.index == self.fail_at:
            raise OSError(28, "No space left on device")
        assert tracks.frame == frame.index
        assert tracks.ids[0] == frame.index % 256
        self.seen.append(frame.index)
        self.threads.add(threading.current_thread().name)

    def _finish(self) -> None:
        self.closed += 1
        if self.fail_on_close:
            raise OSError(28, "No space left on device")


def test_every_frame_in_order_with_its_number_in_the_source(tmp_path: Path) -> None:
    sinks = [Record(tmp_path / "a"), Record(tmp_path / "b")]
    shown: list[tuple[int, int]] = []
    source = Numbers(60, stride=3)
    track_source(Echo(), source, sinks, lambda frame, tracks: shown.append((frame.index, tracks.frame)))
    for sink in sinks:
        assert sink.seen == list(range(0, 60, 3))
        assert sink.closed == 1
        assert threading.current_thread().name not in sink.threads
    assert shown == [(i, i) for i in range(0, 60, 3)]


def test_without_sinks() -> None:
    tracker = Echo()
    track_source(tracker, Numbers(4))
    assert tracker.calls == 4


def interrupt(calls: int) -> None:
    if calls == 6:
        raise KeyboardInterrupt


def explode(calls: int) -> None:
    if calls == 6:
        raise RuntimeError("bad weights")


@pytest.mark.parametrize(("on_update", "error"), [(interrupt, KeyboardInterrupt), (explode, RuntimeError)])
@pytest.mark.parametrize("live", [False, True])
def test_stopping_leaves_whole_files(
    tmp_path: Path, on_update: Callable[[int], None], error: type[BaseException], live: bool
) -> None:
    source = Numbers(None, live=live)
    sink, recorded = MotSink(tmp_path / "a.txt"), Record(tmp_path / "b")
    with pytest.raises(error):
        track_source(Echo(on_update), source, [sink, recorded])
    assert source.ended
    assert len(recorded.seen) == 5
    assert [frame - 1 for frame in read_mot(tmp_path / "a.txt")] == recorded.seen
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.txt", tmp_path / "b"]


def test_interrupted_while_showing(tmp_path: Path) -> None:
    sink = Record(tmp_path / "a")

    def show(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_source(Echo(), Numbers(None), [sink], show)
    assert (sink.seen, sink.closed) == (list(range(6)), 1)


def test_source_that_fails(tmp_path: Path) -> None:
    sink = Record(tmp_path / "a")
    with pytest.raises(UserError, match="frame 7 cannot be read"):
        track_source(Echo(), Numbers(20, fail_at=7), [sink])
    assert (sink.seen, sink.closed) == (list(range(7)), 1)
    assert sink.path.exists()


@pytest.mark.parametrize("count", [100, 8])
def test_sink_that_fails(tmp_path: Path, count: int) -> None:
    """The others have every frame up to the failure and none behind a gap; none takes its place."""
    sinks = [Record(tmp_path / "a"), Record(tmp_path / "b", fail_at=6), Record(tmp_path / "c")]
    with pytest.raises(UserError, match=r"cannot write .*b: No space left"):
        track_source(Echo(), Numbers(count), sinks)
    assert [sink.seen for sink in sinks] == [list(range(7)), list(range(6)), list(range(6))]
    assert [sink.closed for sink in sinks] == [1, 0, 1]
    assert not any(sink.path.exists() for sink in sinks)


def test_sink_that_cannot_be_closed(tmp_path: Path) -> None:
    sinks = [Record(tmp_path / "a", fail_on_close=True), Record(tmp_path / "b")]
    with pytest.raises(UserError, match=r"cannot write .*a: No space left"):
        track_source(Echo(), Numbers(3), sinks)
    assert [sink.closed for sink in sinks] == [1, 1]
    assert not list(tmp_path.iterdir())


def test_the_number_of_frames_in_flight_is_bounded(tmp_path: Path) -> None:
    updates = threading.Semaphore(0)
    source = Numbers(100)
    decoded: list[int] = []

    class Stuck(Record):
        def _write(self, frame: Frame, tracks: Tracks) -> None:
            if frame.index == 0:
                for _ in range(BEHIND + 1):
                    assert updates.acquire(timeout=PATIENCE)
                assert not updates.acquire(timeout=0.1), "the tracker runs on although nothing is written"
                decoded.append(source.decoded)
            super()._write(frame, tracks)

    sink = Stuck(tmp_path / "a")
    track_source(Echo(lambda calls: updates.release()), source, [sink])
    assert sink.seen == list(range(100))
    assert decoded[0] <= BEHIND + 1 + AHEAD
