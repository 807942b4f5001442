"""Reading of live sources in a thread, so that tracking stays up to date."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable

from memotr.io.frames import Frame


def newest(frames: Iterable[Frame]) -> Generator[Frame, None, None]:
    """Yield the newest frame each time; drop frames that arrive while the consumer is busy.

    A thread reads all frames, so that the buffers of a stream never fill up and the newest frame is current. Frames
    keep their numbers. Closing the generator waits for the thread, which ends after its next frame.

    Raises:
        Exception: an error from reading, raised after the last frame before it has been yielded.
    """
    arrived = threading.Condition()
    slot: list[Frame] = []  # the newest frame that is not yet consumed, if any
    failure: list[BaseException] = []
    finished = closed = False

    def read() -> None:
        nonlocal finished
        try:
            for frame in frames:
                with arrived:
                    slot[:] = [frame]
                    arrived.notify()
                if closed:
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
        closed = True
        reader.join()  # the source must not be closed while it is read
    if failure:
        raise failure[0]
