"""A training step of the full-size network: kernels, precisions and activation checkpointing side by side.

    python benchmarks/training_step.py                                  # 3 frames at 256x448, on the CPU
    python benchmarks/training_step.py --device cuda --frames 5 --size 800x1422 --rounds 10

A step is the forward of a clip with matching and losses, the backward, clipping and AdamW. Contenders take turns, after
one warm-up step each; peak memory is that of two steps in a process of its own (resident on a CPU, allocated on CUDA).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.structures import ClipBatch, FrameTargets, ImageBatch
from memotr.training.clip_runner import ClipRunner
from memotr.training.optim import make_optimizer

PARTS = ("backbone", "encoder", "decoder")


@dataclass(frozen=True)
class Contender:
    """A way to make the step; the first one is what the others are compared with."""

    name: str
    kernel: str
    precision: str
    recompute: tuple[str, ...] = ()


CONTENDERS = (
    Contender("reference kernel", "reference", "32"),
    Contender("ours", "auto", "32"),
    Contender("ours, bf16", "auto", "bf16"),
    Contender("ours, checkpointed", "auto", "32", PARTS),
    Contender("ours, bf16, checkpointed", "auto", "bf16", PARTS),
)


def make_clip(frames, size, objects, device):
    """Noise with objects that move a little from frame to frame."""
    generator = torch.Generator().manual_seed(0)
    centres = 0.2 + 0.6 * torch.rand(objects, 2, generator=generator)
    sizes = 0.05 + 0.15 * torch.rand(objects, 2, generator=generator)
    images, targets = [], []
    for _ in range(frames):
        images.append(ImageBatch.from_images([torch.randn(3, *size, generator=generator)]))
        boxes = torch.cat((centres, sizes), dim=1)
        targets.append([FrameTargets(torch.arange(objects), torch.zeros(objects, dtype=torch.int64), boxes)])
        centres = centres + 0.01 * torch.randn(objects, 2, generator=generator)
    return ClipBatch(images, targets).to(device)


class Step:
    """The step of one contender on a model of its own weights."""

    def __init__(self, preset, clip, contender, device):
        torch.manual_seed(0)
        config = load_config(preset)
        self.model = (
            build_model(config).to(device).set_kernel(contender.kernel).recompute_activations(contender.recompute)
        )
        self.runner = ClipRunner(self.model).to(device).train()
        self.optimizer = make_optimizer(self.model, config.training.optimizer)
        self.clip, self.contender, self.device = clip, contender, device

    def __call__(self):
        """Seconds."""
        start = time.perf_counter()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.contender.precision == "bf16"):
            loss = self.runner(self.clip).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        assert loss.isfinite()  # waits for the device
        return time.perf_counter() - start


def measure_time(options, contenders):
    """Seconds of every step by contender. Each has a model: they take turns without moving weights around."""
    clip = make_clip(options.frames, options.size, options.objects, options.device)
    steps = {contender: Step(options.preset, clip, contender, options.device) for contender in contenders}
    for step in steps.values():
        step()
    seconds = {contender: [] for contender in contenders}
    for _ in range(options.rounds):
        for contender, step in steps.items():
            seconds[contender].append(step())
    return seconds


def measure_memory(options, contender):
    """Peak memory in MB of a fresh process that makes two steps."""
    command = [
        sys.executable,
        __file__,
        "--alone",
        contender.name,
        "--preset",
        options.preset,
        "--device",
        options.device,
    ]
    command += ["--frames", str(options.frames), "--size", "x".join(map(str, options.size))]
    command += ["--objects", str(options.objects)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_alone(options):
    contender = next(each for each in CONTENDERS if each.name == options.alone)
    clip = make_clip(options.frames, options.size, options.objects, options.device)
    step = Step(options.preset, clip, contender, options.device)
    for _ in range(2):
        step()
    print(torch.cuda.max_memory_allocated() / 2**20 if options.device == "cuda" else peak_resident())


def peak_resident():
    """MB. Linux counts the parent's peak into a child's rusage, but not into this."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def describe_machine(device):
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def parse_size(text):
    height, width = text.split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="dancetrack")
    parser.add_argument("--size", type=parse_size, default=(256, 448), help="height x width of a frame")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in CONTENDERS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        run_alone(options)
        return
    contenders = [each for each in CONTENDERS if options.only is None or each.name in options.only]
    height, width = options.size
    print(
        f"{options.preset}, a clip of {options.frames} frames at {height}x{width} with {options.objects} objects; "
        f"{describe_machine(options.device)}, torch {torch.__version__}"
    )
    seconds, rows = measure_time(options, contenders), []
    base = statistics.median(seconds[contenders[0]])
    for contender, times in seconds.items():
        median, memory = statistics.median(times), measure_memory(options, contender)
        rows.append(
            {"name": contender.name, "seconds": times, "median": median, "peak_mb": memory, "ratio": base / median}
        )
        print(
            f"{contender.name:<25} {median:7.3f} s/step ({min(times):.3f}-{max(times):.3f}) {1 / median:7.3f} clips/s "
            f"{base / median:6.2f}x  {memory:6.0f} MB"
        )
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items()}
        options.json.write_text(json.dumps({"options": settings, "torch": torch.__version__, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
