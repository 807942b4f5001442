"""Signals that ask to stop: each is obeyed, `nohup` too, and a terminal that has closed is no obstacle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from memotr.signals import STOP_SIGNALS, interrupt_on_signals, stop_on_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_which_signals_ask_to_stop() -> None:
    assert {number.name for number in STOP_SIGNALS} == {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"}


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_request_to_stop(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop.signal is number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait() -> None:
    with stop_on_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_an_interruption(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupt_on_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("context", [stop_on_signals, interrupt_on_signals])
def test_nohup_is_obeyed(context) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with context() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


ON_A_TERMINAL = """
import signal, sys
from memotr.signals import stop_on_signals
from memotr.terminal import guarded_streams
with guarded_streams(), stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop:
        signal.pause()
    print("stopped by", stop.signal.name, flush=True)
    print("stopped by", stop.signal.name, file=sys.stderr, flush=True)
sys.exit(128 + stop.signal)
"""


def test_a_terminal_that_closes_takes_nothing_with_it() -> None:
    """Every write to it fails from then on."""
    terminal, side = os.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=side, stderr=side) as process:
        os.close(side)
        assert os.read(terminal, 100).startswith(b"ready")
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 128 + signal.SIGHUP
