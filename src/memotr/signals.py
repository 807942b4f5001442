"""Signals that ask a command to stop, and two ways to handle them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""Signals of Ctrl-C, of `kill` and `docker stop`, of a closing terminal, and of a cluster's scheduler. Windows has only
the first two."""

Handler = Callable[[int, FrameType | None], None]


class StopRequest:
    """Handler that records a signal, for a loop that checks it between two steps."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record a signal; raise KeyboardInterrupt on a second Ctrl-C."""
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt  # on a second Ctrl-C do not wait for the end of the step
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record signals of ``STOP_SIGNALS`` within the context (main thread only); yield the request."""
    request = StopRequest()
    with _handled_by(request, STOP_SIGNALS):
        yield request


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for all ``STOP_SIGNALS``, as for Ctrl-C, within the context (main thread only)."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    with _handled_by(interrupt, [number for number in STOP_SIGNALS if number != signal.SIGINT]):
        yield


@contextmanager
def _handled_by(handler: Handler, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Install a handler within the context, except for a SIGHUP that is ignored because of `nohup`."""
    taken = [n for n in numbers if n.name != "SIGHUP" or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
