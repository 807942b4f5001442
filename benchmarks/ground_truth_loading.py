"""Time how long memotr takes to load ground truth for scoring, for training and for an evaluation.

python benchmarks/ground_truth_loading.py /tmp/ground-truth
python benchmarks/ground_truth_loading.py /tmp/ground-truth --against ../other-checkout --rounds 9

The folder receives two synthetic data sets of the size of DanceTrack's and BDD100K's validation splits (about 150 MB;
they are made once). Every load runs in a process of its own, imports are not counted, and files are in the page cache.
With --against the two checkouts take turns and change places after every round; each uses its own src and the Python
that runs this script. "this / other" is the ratio of the medians, "lowest" that of the lowest times, which other
programs disturb less. "opens" is how often an annotation file is opened, counted in one more, untimed process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# What each load consists of: snippets for different versions of the API, the newest first. The first one whose imports
# succeed is used. Each defines load(root) and boxes(loaded), the number of boxes in what was loaded.
LOADS: dict[str, tuple[str, ...]] = {
    "scoring": (
        """
from memotr.evaluation.ground_truth import load_ground_truth

def load(root):
    return load_ground_truth(root, split="val")

def boxes(truth):
    return sum(len(sequence.objects) + len(sequence.regions) for sequence in truth.sequences)
""",
    ),
    "training": (
        """
from memotr.data.datasets import DatasetSpec, load_split

def load(root):
    return load_split(DatasetSpec(root, "val"))

def boxes(sequences):
    return sum(len(frame) for sequence in sequences for frame in sequence.boxes)
""",
    ),
    "evaluation": (
        """
from memotr.evaluation.benchmark import load_benchmark

def load(root):
    return load_benchmark(root, split="val")

def boxes(benchmark):
    return sum(len(sequence.objects) + len(sequence.regions) for sequence in benchmark.truth.sequences)
""",
    ),
}

WORKER = """
import json, sys, time
from collections import Counter
from pathlib import Path

snippets, root, counting = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "count"
for number, snippet in enumerate(snippets, 1):
    try:
        exec(snippet)
        break
    except ImportError:
        if number == len(snippets):
            raise
opens = Counter()

def count(event, arguments):
    if event == "open" and str(arguments[0]).endswith(("gt.txt", ".json")):
        opens[str(arguments[0])] += 1

if counting:
    sys.addaudithook(count)
began = time.perf_counter()
loaded = load(root)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "boxes": boxes(loaded), "opens": sorted(opens.values())}))
"""

SEQUENCES, MOT_FRAMES, MOT_OBJECTS = 25, (800, 1240), (6, 12)
VIDEOS, BDD_FRAMES, BDD_LABELS = 200, 200, (12, 22)
MOT_SIZE, BDD_SIZE = (1080, 1920), (720, 1280)  # height, width
CATEGORIES = ("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle", "other vehicle")
SHARES = (0.22, 0.02, 0.62, 0.03, 0.05, 0.005, 0.015, 0.03, 0.01)  # of the categories


def make_data(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write the data sets unless they are there, and return the folder of each by its name."""
    roots = {"DanceTrack": folder / "DanceTrack", "BDD100K": folder / "BDD100K"}
    writers = {"DanceTrack": write_dancetrack, "BDD100K": write_bdd100k}
    for name, root in roots.items():
        complete = root / "complete"
        if complete.exists():
            continue
        if root.exists():
            raise SystemExit(f"{root}: is not complete; remove it and start again")
        print(f"writing {root}", file=sys.stderr, flush=True)
        writers[name](root, np.random.default_rng(seed))
        complete.touch()
    return roots


def write_dancetrack(root: Path, rng: np.random.Generator) -> None:
    for number in range(1, SEQUENCES + 1):
        folder = root / "val" / f"dancetrack{number:04d}"
        frames, objects = int(rng.integers(*MOT_FRAMES)), int(rng.integers(*MOT_OBJECTS))
        write_images(folder / "img1", [f"{frame:08d}.jpg" for frame in range(1, frames + 1)], MOT_SIZE)
        boxes = walk(rng, frames, objects, MOT_SIZE).round().astype(int)
        lines = [
            f"{frame},{track},{left},{top},{right - left},{bottom - top},1,1,1\n"
            for frame, row in enumerate(boxes.tolist(), 1)
            for track, (left, top, right, bottom) in enumerate(row, 1)
        ]
        (folder / "gt").mkdir()
        (folder / "gt" / "gt.txt").write_text("".join(lines))
        height, width = MOT_SIZE
        info = {"name": folder.name, "imDir": "img1", "frameRate": 20, "seqLength": frames}
        info |= {"imWidth": width, "imHeight": height, "imExt": ".jpg"}
        (folder / "seqinfo.ini").write_text("[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in info.items()))


def write_bdd100k(root: Path, rng: np.random.Generator) -> None:
    labels = root / "labels" / "box_track_20" / "val"
    labels.mkdir(parents=True)
    for number in range(VIDEOS):
        name = f"b{number:07x}-{rng.integers(16**8):08x}"
        images = [f"{name}-{frame + 1:07d}.jpg" for frame in range(BDD_FRAMES)]
        write_images(root / "images" / "track" / "val" / name, images, BDD_SIZE)
        boxes = walk(rng, BDD_FRAMES, int(rng.integers(*BDD_LABELS)), BDD_SIZE)
        categories = rng.choice(CATEGORIES, boxes.shape[1], p=SHARES).tolist()
        crowds = rng.choice([False, True], boxes.shape[1], p=[0.99, 0.01]).tolist()
        frames = [
            {
                "name": image,
                "videoName": name,
                "frameIndex": frame,
                "labels": [
                    {
                        "id": f"{number:03d}{track:05d}",
                        "category": category,
                        "attributes": {"occluded": False, "truncated": False, "crowd": crowd},
                        "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
                    }
                    for track, (category, crowd, box) in enumerate(zip(categories, crowds, row, strict=True))
                ],
            }
            for frame, (image, row) in enumerate(zip(images, boxes.tolist(), strict=True))
        ]
        (labels / f"{name}.json").write_text(json.dumps(frames))


def write_images(folder: Path, names: list[str], size: tuple[int, int]) -> None:
    """Write one grey image under all names, as hard links."""
    folder.mkdir(parents=True)
    first = folder / names[0]
    if not cv2.imwrite(str(first), np.full(size, 127, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 1]):
        raise SystemExit(f"{first}: cannot be written")
    for name in names[1:]:
        (folder / name).hardlink_to(first)


def walk(rng: np.random.Generator, frames: int, objects: int, size: tuple[int, int]) -> np.ndarray:
    """Return (frames, objects, 4) xyxy boxes in pixels that move through an image of this (height, width)."""
    extent = np.array(size[::-1])
    sides = rng.uniform(0.03, 0.3, (objects, 2)) * extent
    steps = rng.normal(0, 4, (frames, objects, 2))
    corners = np.clip(rng.uniform(0, 1, (objects, 2)) * extent + steps.cumsum(axis=0), 0, extent - sides)
    return np.concatenate([corners, corners + sides], axis=2)


def load(checkout: Path, task: str, root: Path, mode: str) -> dict[str, Any]:
    """Load a data set in a process of its own. Mode ``time`` measures seconds, ``count`` counts opened files."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, "-c", WORKER, json.dumps(LOADS[task]), str(root), mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: {task} of {root.name} fails\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(checkouts: list[Path], task: str, root: Path, rounds: int) -> Iterator[tuple[list[float], int, list[int]]]:
    """Yield seconds of every round, number of boxes and opens of each annotation file, for each checkout."""
    counted = [load(checkout, task, root, "count") for checkout in checkouts]  # warms the page cache, too
    seconds: list[list[float]] = [[] for _ in checkouts]
    order = list(range(len(checkouts)))
    for _ in range(rounds):
        for k in order:
            seconds[k].append(load(checkouts[k], task, root, "time")["seconds"])
        order.reverse()
    for times, found in zip(seconds, counted, strict=True):
        yield times, found["boxes"], found["opens"]


def spread(values: list[float]) -> str:
    """Return ``median (lowest–highest)`` in seconds."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def opens_text(opens: list[int]) -> str:
    """Return how often files are opened: ``2``, or ``1–3`` where files differ."""
    return "0" if not opens else str(opens[0]) if opens[0] == opens[-1] else f"{opens[0]}–{opens[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Folder for the synthetic data sets; made if it does not exist.")
    parser.add_argument("--against", type=Path, help="Checkout to compare this one with.")
    parser.add_argument("--rounds", type=int, default=5, help="Number of timed loads of each kind.")
    parser.add_argument("--data", choices=("DanceTrack", "BDD100K"), help="Time the loads of this data set only.")
    options = parser.parse_args()
    checkouts = [Path(__file__).resolve().parents[1]]
    if options.against is not None:
        checkouts.append(options.against.resolve())
        if not (checkouts[1] / "src" / "memotr").is_dir():
            parser.error(f"{options.against}: is no checkout: it has no src/memotr")
    roots = make_data(options.folder.resolve())
    headings = ["data", "load", "boxes", "seconds", "opens"]
    if len(checkouts) > 1:
        headings += ["boxes, other", "seconds, other", "opens, other", "this / other", "lowest"]
    print("| " + " | ".join(headings) + " |\n|---|---|" + "--:|" * (len(headings) - 2))
    for name, root in roots.items():
        for task in LOADS if options.data in (None, name) else ():
            cells, medians, lowest = [name, task], [], []
            for times, boxes, opens in measure(checkouts, task, root, options.rounds):
                cells += [f"{boxes:,}", spread(times), opens_text(opens)]
                medians.append(statistics.median(times))
                lowest.append(min(times))
            if len(checkouts) > 1:
                cells += [f"{values[0] / values[1]:.2f}" for values in (medians, lowest)]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
