"""Memory and time per frame over a long video: neither may grow.

python benchmarks/long_run.py --frames 2000 --preset tiny
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from memotr.build import build_model
from memotr.config import load_config
from memotr.tracking.tracker import Tracker


def resident_mb():
    """Resident memory of this process (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--every", type=int, default=200)
    options, overrides = parser.parse_known_args()

    torch.manual_seed(0)
    model = build_model(load_config(options.preset, overrides))
    with torch.no_grad():  # scores spread around the thresholds, so that tracks are born and end all the time
        for head in model.class_embed:
            head.weight.mul_(8)
            head.bias.fill_(-1.5)
    tracker = Tracker(model, miss_tolerance=10)
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    seconds, tracks = [], []
    print("  frames   ids so far   tracks   ms/frame   resident MB")
    for t in range(1, options.frames + 1):
        frame = np.roll(scene, 7 * t, axis=1)
        start = time.perf_counter()
        tracker.update(frame)
        seconds.append(time.perf_counter() - start)
        tracks.append(len(tracker.tracks))
        if t % options.every == 0:
            last = slice(-options.every, None)
            print(
                f"{t:8} {tracker.next_id:12} {statistics.mean(tracks[last]):8.1f}"
                f" {1000 * statistics.median(seconds[last]):10.1f} {resident_mb():13.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
