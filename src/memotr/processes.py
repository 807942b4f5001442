"""Start of processes that end with their parent, even if it is killed; and limits of this process."""

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
"""Environment variable with the process id of the rank that started the other ranks."""


def begin_worker(prepare: Callable[[], object] | None = None, *, shared_folder: Path | None = None) -> None:
    """Prepare a process of :mod:`multiprocessing` to ignore stop signals and to end with its parent.

    Args:
        prepare: called at the end.
        shared_folder: folder to remove if the parent was killed and cannot remove it.
    """
    for number in STOP_SIGNALS:
        if number != signal.SIGTERM:  # a pool ends its processes with SIGTERM
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
    """Pass the id of this process to ranks that are started within the context."""
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[LAUNCHER]


def follow_launcher() -> None:
    """End this process when the process that started it as a rank ends."""
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        return
    launcher = int(os.environ.get(LAUNCHER, os.getppid()))  # torchrun sets no such variable

    def wait() -> None:
        while os.getppid() == launcher:  # the system gives an orphan another parent
            time.sleep(1)

    _exit_after(wait)


def _exit_after(wait: Callable[[], object], leftover: Path | None = None) -> None:
    """Exit the process as soon as ``wait`` returns in a separate thread."""

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
    """Yield a pool of processes; at the end, finish work that has begun and drop the rest.

    The processes are spawned, because a fork of a process with threads or a CUDA context may hang.

    Args:
        workers: number of processes.
        prepare: called first in each process.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin_worker, (prepare,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Block stop signals within the context, while a pool starts processes: an interruption could leave them waiting.

    Processes that are started within the context unblock the signals in :func:`begin_worker`.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def available_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allow_open_files(needed: int, setting: str) -> None:
    """Raise this process's limit of open files if it is below ``needed``.

    Raises:
        UserError: the system does not allow the number that ``setting`` needs.
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
