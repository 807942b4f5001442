"""Adaptation of the waiting of OpenMP threads to the load of the machine (Linux, libgomp).

PyTorch runs most layers on a team of threads, which meet hundreds of times per frame. The threads of libgomp, the
OpenMP library in PyTorch's Linux wheels, spin for several milliseconds before they sleep. On an idle machine that is
fast, because no thread has to be woken. Next to other programs, a spinning thread may hold the processor that the
thread it waits for needs, and the frame rate can drop to a hundredth.

libgomp reads ``OMP_WAIT_POLICY`` once, when it is loaded, and has no function that changes the policy later. But it
limits spinning to a few microseconds while it manages more threads than there are processors. Therefore a second,
sleeping team is kept as long as other programs need the processors. The work of a layer is divided in the same way with
and without it, so results are bitwise equal.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

import torch

from memotr.errors import warn

USER_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables that control how threads wait. If one is set, nothing is adapted."""

CPU_TIMES = Path("/proc/stat")
WORK_COLUMNS = (0, 1, 2, 5, 6, 7)
"""Columns of :data:`CPU_TIMES` with work: user, nice, system, irq, softirq, steal (other virtual machines)."""

INTERVAL = 0.2
"""Seconds between two measurements of the load."""
BUSY, CALM = 0.25, 0.1
"""Numbers of processors that the team lacks because of other programs: more than ``BUSY`` make the machine busy, and at
most ``CALM`` make it calm."""
CALM_INTERVALS = 5
"""Number of consecutive calm intervals after which threads spin again."""

_lock = threading.Lock()
_adaptation: Adaptation | None = None


def adapt_waiting() -> None:
    """Start to adapt how the OpenMP threads of this process wait for each other.

    This does nothing if one of :data:`USER_SETTINGS` is set, if there is no /proc, or if the OpenMP library of PyTorch
    does not spin. It can be called repeatedly, for example after `torch.set_num_threads`.
    """
    global _adaptation
    if not CPU_TIMES.is_file() or any(name in os.environ for name in USER_SETTINGS):
        return
    with _lock:
        if _adaptation is None or _adaptation.process != os.getpid():  # a forked child does not inherit threads
            _adaptation = Adaptation()
            _adaptation.start()
        _adaptation.team_size = torch.get_num_threads()


class Adaptation(threading.Thread):
    """Background thread that measures the load of the machine and holds a sleeping team while it is busy.

    Attributes:
        process: the process that the thread runs in.
        team_size: number of threads that share the work of a layer.
    """

    def __init__(self) -> None:
        super().__init__(name="memotr-openmp", daemon=True)
        self.process = os.getpid()
        self.team_size = torch.get_num_threads()

    def run(self) -> None:
        """Measure the load in intervals and form or dissolve the sleeping team."""
        library = openmp_library()
        if library is None:
            return
        load, policy = Load(), WaitPolicy()
        sleeping: SleepingTeam | None = None
        while True:
            time.sleep(INTERVAL)
            missing = load.of_others() + self.team_size - len(os.sched_getaffinity(0))
            if not policy.sleeps(missing):
                if sleeping is not None:
                    sleeping.dissolve()
                sleeping = None
            elif hasattr(library, "kmp_set_blocktime"):  # LLVM or Intel: each thread would have to call it
                warn(
                    "other programs keep the processors busy, and the OpenMP threads of this PyTorch spin while they "
                    "wait, which slows tracking down many times over: set KMP_BLOCKTIME=0 before Python starts"
                )
                return
            elif sleeping is None:
                sleeping = SleepingTeam(library, self.team_size)


class WaitPolicy:
    """Rule for sleeping threads: they sleep once the machine is busy, until it has been calm for a while."""

    def __init__(self) -> None:
        self._calm = CALM_INTERVALS

    def sleeps(self, missing: float) -> bool:
        """Decide for the next interval, given the number of processors that the team lacked in the last one."""
        if missing > BUSY or (missing > CALM and self._calm < CALM_INTERVALS):
            self._calm = 0
        else:
            self._calm += 1
        return self._calm < CALM_INTERVALS


class Load:
    """Load by other programs on the processors that this process may use."""

    def __init__(self) -> None:
        self._before = self._now()

    def of_others(self) -> float:
        """Return the number of processors that others kept busy since the last call."""
        before, self._before = self._before, self._now()
        seconds, work, own = (now - then for now, then in zip(self._before, before, strict=True))
        return (work - own) / seconds

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return the time, the work done by everyone, and by this process, all in seconds."""
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = (line.split() for line in CPU_TIMES.read_text(encoding="ascii").splitlines())
        ticks = sum(int(times[column]) for name, *times in lines if name in names for column in WORK_COLUMNS)
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


class SleepingTeam:
    """Second team of OpenMP threads, which makes libgomp manage one thread more than there are processors.

    Args:
        library: libgomp.
        working: number of threads in the first team.
    """

    def __init__(self, library: ctypes.CDLL, working: int) -> None:
        self._library = library
        self._size = max(2, library.omp_get_num_procs() - working + 2)  # libgomp counts one of the two first threads
        self._dissolved = threading.Event()
        threading.Thread(target=self._hold, name="memotr-openmp-team", daemon=True).start()

    def dissolve(self) -> None:
        """End the team's threads."""
        self._dissolved.set()

    def _hold(self) -> None:
        """Form the team, which lasts as long as this thread."""
        do_nothing = ctypes.cast(self._library.omp_get_level, ctypes.c_void_p)
        self._library.GOMP_parallel(do_nothing, None, ctypes.c_uint(self._size), ctypes.c_uint(0))
        self._dissolved.wait()


def openmp_library() -> ctypes.CDLL | None:
    """Return the OpenMP library that PyTorch uses, or None without one."""
    library = ctypes.CDLL(torch._C.__file__)  # its symbols and those of all libraries that it needs
    return library if hasattr(library, "GOMP_parallel") else None
