"""Signals that ask a command to stop: which they are, and the two ways in which a command obeys them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Ctrl-C, `kill` and `docker stop`, a terminal that closes, a cluster's scheduler. Windows has only the first two.
STOP_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)

Handler = Callable[[int, FrameType | None], None]


class StopRequest:
    """Remembers the signal that asked to stop; whoever trains looks at it between two steps."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the step to end
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the context a signal of ``STOP_SIGNALS`` is a request, not the end (main thread only)."""
    request = StopRequest()
    with _handled_by(request, STOP_SIGNALS):
        yield request


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Within the context the other ``STOP_SIGNALS`` raise KeyboardInterrupt as Ctrl-C does (main thread only)."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    with _handled_by(interrupt, [number for number in STOP_SIGNALS if number != signal.SIGINT]):
        yield


@contextmanager
def _handled_by(handler: Handler, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    # `nohup` has SIGHUP ignored, and is obeyed.
    taken = [n for n in numbers if n.name != "SIGHUP" or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
