"""Latency of a frame through the full-size network, kernels and precisions side by side.

python benchmarks/frame.py --sizes 448x800 800x1422 --rounds 5
python benchmarks/frame.py --memory          # peak resident memory (Linux), each contender in its own process
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.structures import ImageBatch, TrackState

CONTENDERS = [("reference", "32"), ("numba", "32"), ("reference", "bf16"), ("numba", "bf16")]


def tracks_for(model, count):
    """So many tracks with random content."""
    empty = model.no_tracks()
    rows = {name: getattr(empty, name) for name in vars(empty)}
    grown = {name: torch.randn(count, *row.shape[1:]).to(row.dtype) for name, row in rows.items()}
    grown |= {"boxes": torch.rand(count, 4), "labels": torch.zeros(count, dtype=torch.int64)}
    return TrackState(**grown)


@torch.inference_mode()
def run_frame(model, images, tracks, kernel, precision):
    model.set_kernel(kernel)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        output = model(images, [tracks])[0].float()
    model.memory(tracks)
    return output


def measure(preset, size, num_tracks, rounds):
    """Seconds a frame of every contender, taken in turns after one warm-up each."""
    model = build_model(load_config(preset)).eval()
    images = ImageBatch.from_images([torch.randn(3, *size)])
    tracks = tracks_for(model, num_tracks)
    seconds = {contender: [] for contender in CONTENDERS}
    for contender in CONTENDERS:
        run_frame(model, images, tracks, *contender)
    for _ in range(rounds):
        for contender in CONTENDERS:
            start = time.perf_counter()
            run_frame(model, images, tracks, *contender)
            seconds[contender].append(time.perf_counter() - start)
    return seconds


def peak_memory(preset, size, num_tracks, contender):
    """Peak resident memory in MB of a fresh process that looks at two frames."""
    command = [sys.executable, __file__, "--preset", preset, "--sizes", f"{size[0]}x{size[1]}"]
    command += ["--tracks", str(num_tracks), "--alone", *contender]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_alone(preset, size, num_tracks, kernel, precision):
    model = build_model(load_config(preset)).eval()
    images = ImageBatch.from_images([torch.randn(3, *size)])
    for _ in range(2):
        run_frame(model, images, tracks_for(model, num_tracks), kernel, precision)
    status = Path(
        "/proc/self/status"
    ).read_text()  # ru_maxrss would begin with that of the process that started this one
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def parse_size(text):
    height, width = text.split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="dancetrack")
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(448, 800), (800, 1422)])
    parser.add_argument("--tracks", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        run_alone(options.preset, options.sizes[0], options.tracks, *options.alone)
        return
    rows = []
    print(f"{options.preset}, {options.tracks} tracks, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for size in options.sizes:
        seconds = measure(options.preset, size, options.tracks, options.rounds)
        base = statistics.median(seconds[CONTENDERS[0]])
        for contender, times in seconds.items():
            median = statistics.median(times)
            row = {"size": f"{size[0]}x{size[1]}", "kernel": contender[0], "precision": contender[1], "seconds": times}
            row |= {"median": median, "ratio": base / median}
            if options.memory:
                row["peak_mb"] = peak_memory(options.preset, size, options.tracks, contender)
            rows.append(row)
            memory = f"  {row['peak_mb']:6.0f} MB" if options.memory else ""
            print(
                f"{row['size']:>9}  {contender[0]:<9} {contender[1]:<4}  {median:6.3f} s"
                f" ({min(times):.3f}-{max(times):.3f})  {1 / median:6.2f} frames/s  {row['ratio']:5.2f}x{memory}"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
