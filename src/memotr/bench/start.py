"""Benchmark of the start: from the command to the first frames, in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from memotr.bench.contention import CLIP, PRESET, make_clips
from memotr.bench.measure import Row, Spread
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.weights.named import weights_file

START = """
import sys, time
marks = [("interpreter", time.time())]
checkpoint, device, source = sys.argv[1:]

def mark(name):
    marks.append((name, time.time()))
"""

STAGES = f"""{START}
import memotr.cli
mark("import of the command line")
with memotr.cli.application.importing():
    import torch
    mark("import of PyTorch")
    import memotr.api
    from memotr.tracking.tracker import Tracker
    from memotr.weights import model_files
mark("other imports")
weights = model_files.read_tracker(checkpoint)
config, origin = model_files.find_config(weights)
mark("reading the weights")
model = model_files.fill_model(weights, config, origin).to(device).eval().set_kernel("auto")
mark("building the model")
tracker = Tracker(model)
mark("preparing the network")
with memotr.io.sources.open_source(source) as frames:
    frames = iter(frames)
    prepared = [tracker.prepare(next(frames).image) for _ in range(3)]
    frames.close()
mark("decoding and resizing three frames")
heads, channels = config.model.num_heads, config.model.hidden_dim // config.model.num_heads
value, locations = torch.zeros(1, 1, heads, channels, device=device), torch.zeros(1, 1, heads, 1, 1, 2, device=device)
memotr.models.kernels.deformable_attention(value, [(1, 1)], locations, locations[..., 0])
mark("kernels")
for number in ("first", "second", "third"):
    tracker.update(prepared.pop(0))
    mark(f"{{number}} frame")
import json
print(json.dumps(marks))
"""
"""Program that does what `memotr track` does, in the same order, one step after the other."""

FLOOR = f"""{START}
import torch
from safetensors.torch import load_file
load_file(checkpoint)
mark("import of PyTorch and reading of the weights")
import json
print(json.dumps(marks))
"""

FIRST_FRAME = "first frame"

NOTE = (
    "Seconds since the command, before which files and compiled kernels were read once. memotr track decodes while the "
    "tracker waits, and also writes its results and ends."
)

Marks = list[tuple[str, float]]
"""Name of each stage and the seconds from the command to its end."""


def measure(options: Options) -> Iterator[Table]:
    """Start the programs in turns, and yield a table of the stages and one of the whole start."""
    with tempfile.TemporaryDirectory() as name:
        (clip,) = make_clips(Path(name), 1)
        track = ["-m", "memotr", "track", str(clip), "--checkpoint", PRESET, "--device", options.device]
        track += ["--no-video", "--max-frames", "1", "--output", str(Path(name) / "output")]
        weights = str(weights_file(Path(PRESET)))
        programs = (
            ["-c", FLOOR, weights, options.device, str(clip)],
            ["-c", STAGES, PRESET, options.device, str(clip)],
            track,
        )
        rounds = [[run(program) for program in programs] for _ in range(1 + options.rounds)][1:]
    yield stage_table([stages for _, stages, _ in rounds])
    floor = tuple(marks[-1][1] for marks, _, _ in rounds)
    whole = {
        "import of PyTorch and reading of the weights": floor,
        "first frame": tuple(dict(marks)[FIRST_FRAME] for _, marks, _ in rounds),
        "memotr track of one frame, to its end": tuple(marks[-1][1] for _, _, marks in rounds),
    }
    rows: list[Row] = [
        {
            "from the command to": name,
            "s": Spread.of(seconds),
            "of the first row": Spread(
                Spread.of(seconds).middle / Spread.of(floor).middle,
                tuple(ours / least for ours, least in zip(seconds, floor, strict=True)),
            ),
        }
        for name, seconds in whole.items()
    ]
    yield Table(f"Start: {PRESET}, frames of {CLIP.size[0]}×{CLIP.size[1]}", rows, NOTE)


def stage_table(rounds: Sequence[Marks]) -> Table:
    """Return the table of the stages."""
    rows: list[Row] = []
    before = [0.0] * len(rounds)
    for marks in zip(*rounds, strict=True):
        ends = [end for _, end in marks]
        spent = [end - start for end, start in zip(ends, before, strict=True)]
        rows.append({"stage": marks[0][0], "s": Spread.of(spent), "s since the command": Spread.of(ends)})
        before = ends
    return Table("Stages of the start", rows)


def run(arguments: Sequence[str]) -> Marks:
    """Run a Python program, and return its stages, or else its end as the only one."""
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    began = time.time()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise RuntimeError(f"a program failed: {done.stderr}")
    last = done.stdout.splitlines()[-1]
    marks = json.loads(last) if last.startswith("[[") else [("end", ended)]
    return [(name, at - began) for name, at in marks]
