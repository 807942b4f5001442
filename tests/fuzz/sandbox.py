"""Run each case in a fork of a process that has imported the package, with limits of time and memory."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from tests.fuzz.cases import Case
from tests.fuzz.server import SERVER, serve
from tests.fuzz.verdict import Finding, Outcome, judge

SECONDS = 20
"""Limit of processor time, and of wall-clock time on an idle machine."""

MEMORY = 2 << 30
"""Limit of address space in bytes, on top of what importing the package takes."""

PATIENCE = 3
"""Factor on the limit for wall-clock time on a busy machine."""
Snapshot = dict[str, tuple[int, int, int]]


@dataclass
class Sandbox:
    """Runs cases one after another in a folder of its own.

    Attributes:
        seeds: what :func:`tests.fuzz.seeds.make_seeds` filled.
        arena: folder that is emptied for every case.
        seconds: time limit of a case.
    """

    seeds: Path
    arena: Path
    seconds: int = SECONDS

    def run(self, case: Case) -> tuple[Outcome, list[Finding]]:
        """Write the files of a case, run its command, and judge the outcome."""
        box = case.lay_out(self.seeds, self.arena)
        before = snapshot(self.arena, box / "out")
        outcome = self._watch(case.command(self.arena), box)
        after = snapshot(self.arena, box / "out")
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        changed = [name for name in changed if Path(name) != self.arena / "tmp" / ".ses"]  # ONNX Runtime's own
        outcome = replace(outcome, outside=tuple(changed), out=box / "out")
        return outcome, judge(case, outcome)

    def _watch(self, words: list[str], box: Path) -> Outcome:
        began = time.monotonic()
        streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  (closed below)
        pid = os.fork()
        if pid == 0:
            _run_command(words, box, self.arena, [stream.fileno() for stream in streams], self.seconds)
        watched = os.pidfd_open(pid)
        ended, _, _ = select.select([watched], [], [], PATIENCE * self.seconds)
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        os.close(watched)
        _, status = os.waitpid(pid, 0)
        seconds = time.monotonic() - began
        left = _processes_left(pid)
        texts = []
        for stream in streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read(4 << 20))
        code = os.waitstatus_to_exitcode(status)
        idle = os.getloadavg()[0] < 2 * (os.cpu_count() or 1)
        timed_out = not ended or code == -signal.SIGXCPU or (idle and seconds > self.seconds)
        return Outcome(code, *texts, seconds, timed_out=timed_out, left=left)


def _run_command(words: list[str], box: Path, arena: Path, streams: list[int], seconds: int) -> NoReturn:
    """Run the command in the forked process as ``python -m memotr`` would, and exit with its code."""
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        os.chdir(box)
        os.environ["TMPDIR"] = str(arena / "tmp")
        os.environ["COLUMNS"] = "100"
        tempfile.tempdir = None
        sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        served = serve(box / "in") if any(SERVER in word for word in words) else ""
        sys.argv = ["memotr", *(_as_argument(word.replace(SERVER, served)) for word in words)]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit._clear()  # what libraries registered when they were imported takes a third of a short command's time
        size = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY, MEMORY))
        faulthandler.enable(file=2, all_threads=False)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
        faulthandler.register(signal.SIGXCPU, file=2, chain=True)
        faulthandler.dump_traceback_later(PATIENCE * seconds - 1, file=2)
        code = _exit_code()
    finally:
        os._exit(code)


def _exit_code() -> int:
    from memotr.cli.entry import main

    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        code = 120
    if isinstance(code, str):
        print(code, file=sys.stderr)
    return code if isinstance(code, int) else int(code is not None)


def _as_argument(word: str) -> str:
    """Return an argument as the operating system passes it: without NUL, undecodable bytes as surrogates."""
    lone = any("\ud800" <= letter < "\udc80" for letter in word)
    encoded = word.encode("utf-8", "surrogatepass" if lone else "surrogateescape")
    return encoded.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def warm() -> None:
    """Import the package and its libraries once for all cases."""
    import torch

    import memotr

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(memotr.__path__, "memotr."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (
        "jinja2",
        "lightning_fabric",
        "matplotlib.pyplot",
        "scipy.optimize",
        "torch.utils.tensorboard",
        "torch.export",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def snapshot(folder: Path, besides: Path) -> Snapshot:
    """Return time, size and inode of every path in a folder, except those in ``besides``."""
    found: Snapshot = {}
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path == str(besides):
                    continue
                state = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
                found[entry.path] = (0, 0, 0) if is_folder else (state.st_mtime_ns, state.st_size, state.st_ino)
                if is_folder:
                    waiting.append(entry.path)
    return found


def _processes_left(group: int) -> bool:
    """Kill the processes of a group; return whether there were any."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
