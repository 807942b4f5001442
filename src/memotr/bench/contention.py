"""Throughput of several programs that track at the same time on one machine."""

from __future__ import annotations

import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from memotr.bench.machine import num_cores
from memotr.bench.measure import Row, Spread
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.data.synth.dance_scene import make_scene
from memotr.data.synth.settings import FPS, SynthSettings
from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.mp4 import VideoSink
from memotr.openmp import USER_SETTINGS
from memotr.tracks import Tracks

PRESET = "synthdance"
CLIP = SynthSettings(splits={"bench": 1}, frames=20, figures=(4, 6))
FASTEST = 100  # frames per second of one program at most; decides how many clips `memotr track` gets
LONGEST_START = 300  # seconds
LONGEST_WINDOW = 5  # times its usual length, for programs that collapse

API = """
import sys
from memotr import Tracker, load_model

checkpoint, device, source = sys.argv[1:]
tracker = Tracker(load_model(checkpoint, device=device))
while True:
    for _ in tracker.track(source):
        print("frames", flush=True)
"""
BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass\n"

NOTE = (
    "Frames per second of all programs together; starting and loading are not counted. The threads of the baseline "
    "always spin while they wait, as libgomp has it by itself."
)


@dataclass(frozen=True)
class Way:
    """Kind of program that is measured.

    Attributes:
        name: name in the table.
        code: Python code of the program; None: the command ``memotr track``.
        spin_count: ``GOMP_SPINCOUNT`` of the program; None: not set.
    """

    name: str
    code: str | None
    spin_count: int | None = None

    def command(self, device: str, clips: Sequence[Path], output: Path) -> list[str]:
        if self.code is not None:
            return [sys.executable, "-c", self.code, PRESET, device, str(clips[0])]
        options = ["--checkpoint", PRESET, "--device", device, "--no-video", "--output", str(output)]
        return [sys.executable, "-m", "memotr", "track", *map(str, clips), *options]

    @property
    def frames_per_line(self) -> int:
        """Number of frames between two lines of output that name frames."""
        return CLIP.frames if self.code is None else 1

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in USER_SETTINGS}
        kept |= {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONUNBUFFERED": "1"}
        return kept | ({} if self.spin_count is None else {"GOMP_SPINCOUNT": str(self.spin_count)})


WAYS = (
    Way("Tracker.track, always spinning (baseline)", f"import torch{API}", spin_count=300_000),
    Way("Tracker.track, PyTorch imported first", f"import torch{API}"),
    Way("Tracker.track, memotr imported first", f"import memotr{API}"),
    Way("memotr track", None),
)


@dataclass(frozen=True)
class Situation:
    """Number of programs and of busy loops that run at once."""

    programs: int
    busy_loops: int = 0

    def __str__(self) -> str:
        programs = f"{self.programs} program{'s' * (self.programs != 1)}"
        return f"{programs}, {self.busy_loops} busy loops" if self.busy_loops else programs


class Program:
    """Process that tracks clips, one after another, and is paused between measurements.

    Args:
        way: kind of program.
        device: device to compute on.
        clips: video files with the same content.
        folder: folder for the output.

    Raises:
        RuntimeError: it ended, or did not track anything for a long time.
    """

    def __init__(self, way: Way, device: str, clips: Sequence[Path], folder: Path) -> None:
        folder.mkdir()
        self.way = way
        self.times: list[float] = []  # of each line of output that names frames
        self._first = threading.Event()
        self._errors = folder / "errors.txt"
        command = way.command(device, clips, folder)
        with self._errors.open("wb") as errors:
            # In a process group of its own, so that the system ends it, paused or not, when this process is killed.
            self._process = subprocess.Popen(
                command, env=way.environment(), stdout=subprocess.PIPE, stderr=errors, process_group=0
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"frames" in line:
                self.times.append(time.perf_counter())
                self._first.set()
        self._first.set()  # it has ended

    def wait_until_tracking(self) -> None:
        self._first.wait(LONGEST_START)
        self.check()

    def check(self) -> None:
        if not self.times or self._process.poll() is not None:
            errors = self._errors.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{self.way.name}: a program ended or tracks nothing: {errors}")

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def measure(options: Options) -> Iterator[Table]:
    """Start all programs one after another, then measure every kind in every situation in each round.

    Raises:
        UserError: programs cannot be paused here (Windows).
    """
    if not hasattr(signal, "SIGSTOP"):
        raise UserError("contention cannot be measured on Windows, where programs cannot be paused: leave it out")
    situations = [*map(Situation, options.programs), Situation(1, busy_loops=num_cores())]
    seconds = options.rounds * len(situations) * (options.settling + options.window)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        clips = make_clips(Path(name), math.ceil((seconds + 10) * FASTEST / CLIP.frames))
        programs: list[list[Program]] = [[] for _ in WAYS]
        for w, way in enumerate(WAYS):
            for number in range(max(options.programs)):
                program = stack.enter_context(Program(way, options.device, clips, Path(name) / f"{w}-{number}"))
                program.wait_until_tracking()
                time.sleep(options.settling)
                program.pause()
                programs[w].append(program)
        rates: dict[tuple[int, Situation], list[float]] = {(w, s): [] for w in range(len(WAYS)) for s in situations}
        for _ in range(options.rounds):
            for (w, situation), found in rates.items():
                found.append(rate_together(programs[w][: situation.programs], situation.busy_loops, options))
    height, width = CLIP.size
    rows: list[Row] = [
        {
            "driven by": WAYS[w].name,
            "at once": str(situation),
            "frames/s": Spread.of(found),
            "of one alone": ratio(found, rates[w, situations[0]]),
            "of the baseline": ratio(found, rates[0, situation]),
        }
        for (w, situation), found in rates.items()
    ]
    yield Table(f"Programs at once: {PRESET}, frames of {height}×{width}, {num_cores()} cores", rows, NOTE)


def make_clips(folder: Path, count: int) -> list[Path]:
    """Write a video of synthetic dancers, and links to it under other names."""
    scene = make_scene(CLIP, "bench", 0)
    clips = [folder / f"{number:04}.mp4" for number in range(count)]
    with VideoSink(clips[0], fps=Fraction(FPS)) as sink:
        for t in range(len(scene)):
            image, _ = scene.frame(t)
            sink.write(Frame(t, np.ascontiguousarray(image[..., ::-1]), t / FPS), Tracks.empty(t, ()))
    for link in clips[1:]:
        link.symlink_to(clips[0])
    return clips


def rate_together(programs: Sequence[Program], busy_loops: int, options: Options) -> float:
    """Run programs next to busy loops; return the frames per second that they track together."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(busy_loops)]
    try:
        for program in programs:
            program.resume()
        time.sleep(options.settling)
        began = ended = time.perf_counter()
        most = options.window * LONGEST_WINDOW
        while ended < began + options.window or (
            ended < began + most and any(sum(t >= began for t in program.times) < 2 for program in programs)
        ):
            time.sleep(options.window / 10)
            ended = time.perf_counter()
    finally:
        for program in programs:
            program.pause()
        for loop in loops:
            loop.kill()
            loop.wait()
    for program in programs:
        program.check()
    return sum(frame_rate(program.times, program.way.frames_per_line, began, ended) for program in programs)


def frame_rate(times: Sequence[float], frames: int, began: float, ended: float) -> float:
    """Return the frames per second in a window.

    Args:
        times: times at which ``frames`` more frames were finished.
        frames: number of frames per entry of ``times``.
        began: start of the window.
        ended: end of the window; with fewer than two times inside, the result is an upper bound.
    """
    inside = [t for t in times if began <= t <= ended]
    count, seconds = (len(inside) - 1, inside[-1] - inside[0]) if len(inside) > 1 else (1, ended - began)
    return count * frames / seconds


def ratio(ours: Sequence[float], base: Sequence[float]) -> Spread:
    """Return the ratio of the medians, with the ratios of the rounds."""
    pairs = tuple(a / b for a, b in zip(ours, base, strict=True))
    return Spread(statistics.median(ours) / statistics.median(base), pairs)
