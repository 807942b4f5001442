"""Kill commands at random moments (SIGKILL), run them again, and see that nothing is half written or left behind.

python benchmarks/kill_runs.py --kills 120 --seed 0

Each command is run once without interruption. Then it is started again and again into a new folder, killed at a random
moment of its work, and finally left to end. After every kill each file under a final name must be whole and every
process gone; after the last run the folder must hold the files of the uninterrupted run and no others, and with equal
content: of training, the weights to the bit. Exit code 1 if anything is wrong. Needs Linux (/proc, /dev/shm).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import torch
import yaml
from safetensors.torch import load_file

from memotr.io.image_files import read_image

PATIENCE = 600  # seconds for one run; more is a hang
GRACE = 30  # seconds in which the processes of a killed run have to be gone
SMALL_MODEL = (
    "model.backbone.width=8",
    "model.hidden_dim=32",
    "model.ffn_dim=32",
    "model.num_queries=8",
    "model.num_heads=2",
    "model.dropout=0.1",
    "training.batch_size=2",
    "training.epochs=3",
    "training.output.log_every=1",
    "training.output.save_every=2",
)
SMALL_CLIPS = (
    "data.train=[{path: ., split: train}]",
    "data.sampling={lengths: [1, 2], steps: [1], interval: 2}",
    "data.augmentation={short_sides: [64], longest_side: 96, crop: 0}",
    "input={short_side: 64, longest_side: 96}",
)


@dataclass(frozen=True)
class Command:
    """A command to kill.

    Attributes:
        start: its arguments, for an output folder.
        resume: its arguments where a killed run left a checkpoint; None: as ``start``.
    """

    start: Callable[[Path], list[str]]
    resume: Callable[[Path], list[str]] | None = None

    def arguments(self, output: Path) -> list[str]:
        """Arguments of the next run."""
        resumable = self.resume is not None and (output / "last.pt").is_file()
        return self.resume(output) if resumable and self.resume else self.start(output)


class MarkedProcess:
    """A command and all processes that it starts: they inherit a marker in their environment."""

    def __init__(self, command: list[str], log: Path | None = None, **environment: str) -> None:
        self.marker = uuid.uuid4().hex
        environment = os.environ | environment | {"PROCESS_MARKER": self.marker}
        with Path(os.devnull if log is None else log).open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def alive(self) -> list[int]:
        """Ids of those of its processes that run."""
        marker, found = f"PROCESS_MARKER={self.marker}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (folder / "environ").read_bytes() and ") Z " not in (folder / "stat").read_text():
                    found.append(int(folder.name))
            except OSError:  # it has just ended, or is another user's
                continue
        return found

    def all_gone(self, seconds: float) -> bool:
        """Wait until none of its processes runs; False if one still does after so many seconds."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def kill_all(self) -> None:
        """Clear away what is left, in whatever state."""
        for process in self.alive():
            os.kill(process, signal.SIGKILL)
        self.process.wait()


@dataclass
class Result:
    """What killing one command came to."""

    name: str
    kills: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def fault(self, kind: str, what: object) -> None:
        self.faults[kind] += 1
        print(f"{self.name}: {kind}: {what}", file=sys.stderr, flush=True)


FAULTS = ("half written", "processes left", "files left", "differs", "failed")


def commands(data: Path) -> dict[str, Command]:
    """By name, all on the data set in ``data``."""

    def train(workers: int) -> Command:
        own = ["--data-root", str(data), "--device", "cpu", f"data.workers={workers}"]
        return Command(
            lambda out: ["train", "tiny", *SMALL_MODEL, *SMALL_CLIPS, *own, "--output", str(out)],
            lambda out: ["train", "--resume", str(out), "--device", "cpu"],
        )

    def on_split(name: str, *more: str) -> Command:
        options = ["--dataset", str(data), "--split", "val", "--checkpoint", "synthdance", "--device", "cpu"]
        return Command(lambda out: [name, *options, *more, "--output", str(out)])

    videos = [str(data / "val" / f"synthdance_val_000{k}") for k in (1, 2)]
    synth = ["--splits", "train=6,val=2", "--frames", "20", "--size", "96x64", "--figures", "2-3", "--workers", "2"]
    return {
        "track": Command(
            lambda out: ["track", *videos, "--checkpoint", "synthdance", "--device", "cpu", "--output", str(out)]
        ),
        "train, workers 0": train(0),
        "train, workers 2": train(2),
        "eval": on_split("eval"),
        "submit": on_split("submit", "--partial", "--format", "dancetrack"),
        "data synth": Command(lambda out: ["data", "synth", str(out), *synth]),
    }


def files_in(folder: Path) -> dict[str, Path]:
    """By name relative to the folder; TensorBoard's event files, named by time and host, under one name."""
    found = (file for file in sorted(folder.rglob("*")) if not file.is_dir())
    return {re.sub(r"tfevents\..*", "tfevents", str(file.relative_to(folder))): file for file in found}


def check_whole(file: Path) -> None:
    """Read a file to its end. Raises any exception if it is cut short."""
    match file.suffix:
        case ".json":
            json.loads(file.read_text())
        case ".jsonl":
            lines = file.read_text().splitlines(keepends=True)
            if file.name == "metrics.jsonl" and lines and not lines[-1].endswith("\n"):
                lines.pop()  # written as the training goes; --resume drops such a line
            for line in lines:
                json.loads(line)
        case ".txt" | ".ini":
            text = file.read_text()
            if text and not text.endswith("\n"):
                raise ValueError("ends within a line")
        case ".yaml":
            yaml.safe_load(file.read_text())
        case ".mp4":
            with av.open(file) as container:
                if not sum(1 for _ in container.decode(video=0)):
                    raise ValueError("holds no frame")
        case ".zip":
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    raise ValueError("a member is damaged")
        case ".pt":
            torch.load(file, weights_only=True)
        case ".safetensors":
            load_file(file)
        case ".png" | ".jpg":
            read_image(file)


def same_content(name: str, file: Path, other: Path) -> bool:
    """Whether two files say the same, apart from times and places."""
    if file.suffix == ".safetensors":
        ours, theirs = load_file(file), load_file(other)
        return ours.keys() == theirs.keys() and all(tensor.equal(theirs[key]) for key, tensor in ours.items())
    if file.suffix in {".txt", ".jpg", ".ini", ".zip"} or name == "synthdance.yaml":
        return file.read_bytes() == other.read_bytes()
    if name == "metrics.jsonl":
        return [curve(line) for line in file.open()] == [curve(line) for line in other.open()]
    return True


def curve(line: str) -> dict[str, object]:
    return {key: value for key, value in json.loads(line).items() if key not in ("seconds_per_step", "memory_mb")}


class Trial:
    """A command, its uninterrupted run, and a place for the runs that are killed."""

    def __init__(self, name: str, command: Command, folder: Path) -> None:
        self.command, self.folder, self.result = command, folder, Result(name)
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.output, self.reference = folder / "output", folder / "reference"
        run = self.start(self.reference)
        self.wait_for_work(run, self.reference)
        began = time.monotonic()
        if run.process.wait(PATIENCE):
            raise SystemExit(f"{name}: fails without being killed\n{self.log.read_text()}")
        self.seconds = time.monotonic() - began
        self.expected = files_in(self.reference)
        self.check_left(run, "before any kill")

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self, output: Path) -> MarkedProcess:
        command = [sys.executable, "-m", "memotr.cli", *self.command.arguments(output)]
        self.began = time.time()
        return MarkedProcess(command, self.log, TMPDIR=str(self.temporary))

    def wait_for_work(self, run: MarkedProcess, output: Path) -> None:
        """Most of a short run is its imports: wait until it has written something."""
        before = set(files_in(output))
        while run.process.poll() is None and set(files_in(output)) == before:
            time.sleep(0.02)

    def one_chain(self, rng: random.Random, kills: int) -> None:
        """Kill up to so many runs into a new folder, then let one end."""
        shutil.rmtree(self.output, ignore_errors=True)
        for _ in range(kills):
            run = self.start(self.output)
            if rng.random() < 0.9:  # else somewhere in the beginning
                self.wait_for_work(run, self.output)
            try:
                began = time.monotonic()
                run.process.wait(rng.uniform(0, self.seconds))
                self.seconds = time.monotonic() - began  # it was quicker than the first run
                break
            except subprocess.TimeoutExpired:
                run.process.send_signal(signal.SIGKILL)
                run.process.wait()
                self.result.kills += 1
            self.after_kill(run)
        self.let_end()

    def after_kill(self, run: MarkedProcess) -> None:
        if not run.all_gone(GRACE):
            self.result.fault("processes left", run.alive())
            run.kill_all()
        for name, file in files_in(self.output).items():
            if name not in self.expected:
                continue  # not a final name: the next run removes it
            try:
                check_whole(file)
            except Exception as error:  # whatever a reader makes of half a file
                self.result.fault("half written", f"{name}: {error!r}")
        for sequence in {file.parent.parent for file in self.output.glob("*/synthdance_*_????/*/*.jpg")}:
            expected = set(files_in(self.reference / sequence.relative_to(self.output)))
            if set(files_in(sequence)) != expected:
                self.result.fault("half written", sequence)

    def let_end(self) -> None:
        if self.command.resume and (self.output / "last.safetensors").is_file() and self.finished():
            return
        run = self.start(self.output)
        try:
            code = run.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = -1
        self.result.runs += 1
        if code:
            run.kill_all()
            self.result.fault("failed", f"exit code {code}: {self.log.read_text()[-2000:]}")
            return
        self.check_left(run, "after the last run")
        found = files_in(self.output)
        for name in self.expected.keys() - found.keys():
            self.result.fault("differs", f"{name} is missing")
        for name in self.expected.keys() & found.keys():
            if not same_content(name, found[name], self.expected[name]):
                self.result.fault("differs", name)
        for name in found.keys() - self.expected.keys():
            self.result.fault("files left", name)

    def finished(self) -> bool:
        """Whether a training was killed after its last checkpoint: there is nothing to go on with."""
        progress = torch.load(self.output / "last.pt", weights_only=True)["progress"]
        return progress["epoch"] == 3 and not progress["outcome_due"]

    def check_left(self, run: MarkedProcess, when: str) -> None:
        if not run.all_gone(GRACE):
            self.result.fault("processes left", f"{when}: {run.alive()}")
            run.kill_all()
        for path in self.temporary.iterdir():
            if not path.name.startswith("torchinductor"):  # PyTorch's cache of compiled code
                self.result.fault("files left", f"{when}: {path}")
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.shared_memory():
            self.result.fault("files left", f"{when}: {path}")

    def shared_memory(self) -> Iterator[Path]:
        """Names that PyTorch or multiprocessing made in /dev/shm since the run began and that no process uses."""
        names = (path for pattern in ("torch_*", "sem.*") for path in Path("/dev/shm").glob(pattern))
        made = []
        for path in names:
            with suppress(FileNotFoundError):  # another program's
                made += [path] * (path.stat().st_mtime >= self.began)
        used = ""
        for folder in Path("/proc").glob("[0-9]*") if made else ():
            try:
                used += (folder / "maps").read_text()
            except OSError:
                continue
        yield from (path for path in made if str(path) not in used and path.exists())


def table(results: list[Result]) -> str:
    """What all of it came to, in Markdown."""
    lines = ["| command | kills | ended | " + " | ".join(FAULTS) + " |", "|---|" + "--:|" * (2 + len(FAULTS))]
    for result in results:
        numbers = [result.kills, result.runs, *(result.faults[kind] for kind in FAULTS)]
        lines.append(f"| {result.name} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command, such as 'train, workers 2'; repeatable")
    options = parser.parse_args()
    rng, results = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        size = ["--splits", "train=2,val=3", "--frames", "12", "--size", "96x64", "--figures", "2-3", "--workers", "1"]
        subprocess.run([sys.executable, "-m", "memotr.cli", "data", "synth", str(data), *size], check=True)
        chosen = {name: each for name, each in commands(data).items() if name in (options.only or commands(data))}
        trials = [Trial(name, each, Path(folder) / name) for name, each in chosen.items()]
        results, share = [trial.result for trial in trials], -(-options.kills // len(trials))
        try:
            while waiting := [trial for trial in trials if trial.result.kills < share]:
                for trial in waiting:
                    trial.one_chain(rng, min(rng.randint(1, 4), share - trial.result.kills))
                    print(f"{trial.result.name}: {trial.result.kills} of {share} kills", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("stopped: this is what there is so far", file=sys.stderr)
    print(table(results))
    return int(any(result.faults for result in results))


if __name__ == "__main__":
    sys.exit(main())
