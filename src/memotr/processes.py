"""Processes that this package starts: none of them outlives the process that started it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from memotr.errors import UserError
from memotr.signals import STOP_SIGNALS

LAUNCHER = "MEMOTR_LAUNCHER"
"""Environment variable with the process id of the rank that started the other ones."""


def begin_worker(prepare: Callable[[], object] | None = None, *, shared_folder: Path | None = None) -> None:
    """Prepare a process of :mod:`multiprocessing`: it is stopped by its parent, not by what asks its parent to stop.

    Args:
        prepare: called after that.
        shared_folder: removed if the parent is killed, which then cannot do it.
    """
    for number in STOP_SIGNALS:
        if number != signal.SIGTERM:  # by which a pool ends its processes
            signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # see uninterrupted
    parent = multiprocessing.parent_process()
    assert parent is not None
    _exit_after(parent.join, shared_folder)
    if prepare is not None:
        prepare()


@contextmanager
def launching() -> Iterator[None]:
    """Tell ranks that are started within the context which process they belong to."""
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[LAUNCHER]


def follow_launcher() -> None:
    """If another process started this one as a rank, end when that one ends."""
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        return
    launcher = int(os.environ.get(LAUNCHER, os.getppid()))  # torchrun sets no such variable

    def wait() -> None:
        while os.getppid() == launcher:  # it is another process's child once its parent has ended
            time.sleep(1)

    _exit_after(wait)


def _exit_after(wait: Callable[[], object], leftover: Path | None = None) -> None:
    """Exit, whatever the process is doing, as soon as ``wait`` returns in a thread of its own."""

    def watch() -> None:
        wait()
        try:
            if leftover is not None:
                shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="memotr-parent", daemon=True).start()


@contextmanager
def process_pool(workers: int, prepare: Callable[[], object] | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes. At the end of the context, work that has begun is finished and the rest is dropped.

    Spawned, because the fork of a process with threads or a CUDA context may hang.

    Args:
        workers: number of processes.
        prepare: called in each of them first.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin_worker, (prepare,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep signals that ask to stop waiting while a pool starts processes, which would be left waiting for ever.

    Processes that are started within the context do not see the signals either, until they have begun.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def allow_open_files(needed: int, setting: str) -> None:
    """Raise this process's limit of open files if it is below ``needed``.

    Raises:
        UserError: the system does not allow that many, which ``setting`` asks for.
    """
    if sys.platform == "win32":
        return
    import resource

    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return
    if most != resource.RLIM_INFINITY and most < needed:
        raise UserError(
            f"{setting} needs {needed} open files, the limit is {most}: raise it (ulimit -n) or lower {setting}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
