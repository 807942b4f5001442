"""Keeping up with a source that does not wait."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable

from memotr.io.frames import Frame


def newest(frames: Iterable[Frame]) -> Generator[Frame, None, None]:
    """Yield the newest frame each time; drop frames that arrive while the consumer is busy.

    A thread reads on all the time, so that a stream's buffers never fill up and what is seen is what happens now. The
    frames keep their numbers. Closing the generator ends the thread as soon as one more frame has come.

    Raises:
        Exception: whatever reading the frames raises, when the frames before are used up.
    """
    arrived = threading.Condition()
    slot: list[Frame] = []  # the newest frame that nobody has fetched, if any
    failure: list[BaseException] = []
    finished = wanted_no_more = False

    def read() -> None:
        nonlocal finished
        try:
            for frame in frames:
                with arrived:
                    slot[:] = [frame]
                    arrived.notify()
                if wanted_no_more:
                    break
        except BaseException as error:
            failure.append(error)
        with arrived:
            finished = True
            arrived.notify()

    reader = threading.Thread(target=read, name="memotr-live", daemon=True)
    reader.start()
    try:
        while True:
            with arrived:
                arrived.wait_for(lambda: slot or finished)
                if not slot:
                    break
                frame = slot.pop()
            yield frame
    finally:
        wanted_no_more = True
        reader.join()  # the source must not be closed while it is read
    if failure:
        raise failure[0]
