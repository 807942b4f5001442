"""Benchmark of several programs that track at the same time on one machine."""

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

from memotr.bench.measure import Row, Spread
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.data.synth.dance_scene import make_scene
from memotr.data.synth.settings import FPS, SynthSettings
from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.mp4 import VideoSink
from memotr.openmp import USER_SETTINGS
from memotr.processes import available_processors
from memotr.tracks import Tracks

PRESET = "synthdance"
CLIP = SynthSettings(splits={"bench": 1}, frames=20, figures=(4, 6))
MAX_FPS = 100
"""Largest expected number of frames per second of one program. It determines how many clips `memotr track` gets."""
MAX_START_SECONDS = 300
"""Seconds to wait for the first frame of a program."""
MAX_WINDOW_FACTOR = 5
"""Factor by which a window is extended at most, for programs that have become very slow."""

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
    "Frames per second of all programs together; starting and loading are not timed. The threads of the baseline spin "
    "while they wait, which is libgomp's default."
)


@dataclass(frozen=True)
class ProgramKind:
    """Kind of program that is measured.

    Attributes:
        name: name in the table.
        code: Python code of the program; None: the command ``memotr track``.
        spin_count: value of ``GOMP_SPINCOUNT`` for the program; None: not set.
    """

    name: str
    code: str | None
    spin_count: int | None = None

    def command(self, device: str, clips: Sequence[Path], output: Path) -> list[str]:
        """Return the command line of a program."""
        if self.code is not None:
            return [sys.executable, "-c", self.code, PRESET, device, str(clips[0])]
        options = ["--checkpoint", PRESET, "--device", device, "--no-video", "--output", str(output)]
        return [sys.executable, "-m", "memotr", "track", *map(str, clips), *options]

    @property
    def frames_per_line(self) -> int:
        """Number of frames between two lines of output with the word "frames"."""
        return CLIP.frames if self.code is None else 1

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a program."""
        kept = {name: value for name, value in os.environ.items() if name not in USER_SETTINGS}
        kept |= {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONUNBUFFERED": "1"}
        return kept | ({} if self.spin_count is None else {"GOMP_SPINCOUNT": str(self.spin_count)})


KINDS = (
    ProgramKind("Tracker.track, always spinning (baseline)", f"import torch{API}", spin_count=300_000),
    ProgramKind("Tracker.track, PyTorch imported first", f"import torch{API}"),
    ProgramKind("Tracker.track, memotr imported first", f"import memotr{API}"),
    ProgramKind("memotr track", None),
)


@dataclass(frozen=True)
class Situation:
    """Numbers of programs and of busy loops that run at the same time."""

    programs: int
    busy_loops: int = 0

    def __str__(self) -> str:
        programs = f"{self.programs} program{'s' * (self.programs != 1)}"
        return f"{programs}, {self.busy_loops} busy loops" if self.busy_loops else programs


class Program:
    """Process that tracks clips, one after another, and is paused between measurements.

    Args:
        kind: kind of program.
        device: device to compute on.
        clips: video files with the same content.
        folder: folder for the output.
    """

    def __init__(self, kind: ProgramKind, device: str, clips: Sequence[Path], folder: Path) -> None:
        folder.mkdir()
        self.kind = kind
        self.times: list[float] = []  # time of each line of output with the word "frames"
        self._first = threading.Event()
        self._errors = folder / "errors.txt"
        command = kind.command(device, clips, folder)
        with self._errors.open("wb") as errors:
            # In its own process group, so that the system ends it, even if paused, when this process is killed.
            self._process = subprocess.Popen(
                command, env=kind.environment(), stdout=subprocess.PIPE, stderr=errors, process_group=0
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"frames" in line:
                self.times.append(time.perf_counter())
                self._first.set()
        self._first.set()  # the process has ended

    def wait_until_tracking(self) -> None:
        """Wait for the first frame. Raises RuntimeError as :meth:`check`."""
        self._first.wait(MAX_START_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise RuntimeError if the process has ended or has not tracked anything."""
        if not self.times or self._process.poll() is not None:
            errors = self._errors.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{self.kind.name}: a program ended or tracks nothing: {errors}")

    def pause(self) -> None:
        """Stop the process until :meth:`resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def measure(options: Options) -> Iterator[Table]:
    """Start all programs one after another, measure every kind in every situation in each round, and yield a table.

    Raises:
        UserError: programs cannot be paused on this system (Windows).
        RuntimeError: a program has ended or does not track.
    """
    if not hasattr(signal, "SIGSTOP"):
        raise UserError("contention cannot be measured on Windows, where programs cannot be paused: leave it out")
    situations = [*map(Situation, options.programs), Situation(1, busy_loops=available_processors())]
    seconds = options.rounds * len(situations) * (options.settling + options.window)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        clips = make_clips(Path(name), math.ceil((seconds + 10) * MAX_FPS / CLIP.frames))
        programs: list[list[Program]] = [[] for _ in KINDS]
        for k, kind in enumerate(KINDS):
            for number in range(max(options.programs)):
                program = stack.enter_context(Program(kind, options.device, clips, Path(name) / f"{k}-{number}"))
                program.wait_until_tracking()
                time.sleep(options.settling)
                program.pause()
                programs[k].append(program)
        rates: dict[tuple[int, Situation], list[float]] = {(k, s): [] for k in range(len(KINDS)) for s in situations}
        for _ in range(options.rounds):
            for (k, situation), of_rounds in rates.items():
                of_rounds.append(total_rate(programs[k][: situation.programs], situation.busy_loops, options))
    height, width = CLIP.size
    rows: list[Row] = [
        {
            "program": KINDS[k].name,
            "at once": str(situation),
            "frames/s": Spread.of(of_rounds),
            "of one alone": ratio(of_rounds, rates[k, situations[0]]),
            "of the baseline": ratio(of_rounds, rates[0, situation]),
        }
        for (k, situation), of_rounds in rates.items()
    ]
    yield Table(f"Programs at once: {PRESET}, frames of {height}×{width}, {available_processors()} cores", rows, NOTE)


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


def total_rate(programs: Sequence[Program], busy_loops: int, options: Options) -> float:
    """Run programs next to busy loops, and return the frames per second of all programs together."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(busy_loops)]
    try:
        for program in programs:
            program.resume()
        time.sleep(options.settling)
        began = ended = time.perf_counter()
        most = options.window * MAX_WINDOW_FACTOR
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
    return sum(frame_rate(program.times, program.kind.frames_per_line, began, ended) for program in programs)


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
