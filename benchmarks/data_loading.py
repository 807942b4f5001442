"""Images per second of the training data's way from file to batch, and where the time goes.

python benchmarks/data_loading.py                          # 1080p JPEGs, DanceTrack's augmentation, clips of 5 frames
python benchmarks/data_loading.py --workers 0 4 8 --json data_loading.json

The stages are timed in this process on one thread; the loader is timed from end to end for each number of workers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from memotr.config import AugmentationConfig, SamplingConfig
from memotr.data.clips import (
    Clip,
    ClipDataset,
    ClipLoader,
    EpochSampler,
    Source,
    collate,
    normalize_into,
)
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.data.transforms import ClipAugmentation, Crop, Flip, Recolor, Resize, make_targets
from memotr.io.image_files import read_image

AUGMENTATION = (Flip, Resize, Crop, Recolor)
STAGES = ("read and decode", *(f"augment: {step.__name__.lower()}" for step in AUGMENTATION))
STAGES += ("augment: targets", "normalise", "collate")


class Stopwatch:
    """Seconds spent in each of the stages."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def make_sequence(folder: Path, frames: int, size: tuple[int, int], boxes: int) -> Sequence:
    """JPEG files of about a camera's size per frame, each with some boxes."""
    rng = np.random.default_rng(0)
    height, width = size
    truths, files = [], []
    for number in range(frames):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        noise = rng.integers(0, 12, (height, width, 3), dtype=np.uint8)
        image = cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), noise)
        files.append(folder / f"{number:08}.jpg")
        cv2.imwrite(str(files[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        corner = rng.uniform(0, [width - 100, height - 200], (boxes, 2))
        xyxy = np.concatenate([corner, corner + np.array([100, 200])], axis=1).astype(np.float32)
        truths.append(FrameBoxes(np.arange(boxes), np.zeros(boxes, np.int64), xyxy))
    return Sequence(name="generated", frames=tuple(files), boxes=tuple(truths), classes=("person",))


def time_stages(sequence: Sequence, length: int, clips: int) -> dict[str, float]:
    """Seconds per image of each stage."""
    watch, rng = Stopwatch(), np.random.default_rng(0)
    augmentation = ClipAugmentation(AugmentationConfig())
    for _ in range(clips):
        chosen = rng.integers(0, len(sequence), length)
        with watch.stage("read and decode"):
            images = [read_image(sequence.frames[i]) for i in chosen]
        draw = augmentation.draw(rng, images[0].shape[:2])
        frames = []
        for i, image in zip(chosen, images, strict=True):
            frame = image, sequence.boxes[i]
            for step in draw.steps:
                with watch.stage(f"augment: {type(step).__name__.lower()}"):
                    frame = step.apply(*frame)
            frames.append(frame)
        with watch.stage("augment: targets"):
            targets = tuple(make_targets(truth, image.shape[:2]) for image, truth in frames)
        clip = Clip(tuple(image for image, _ in frames), targets)
        out = torch.zeros(3, *clip.images[0].shape[:2])
        for image in clip.images:
            with watch.stage("normalise"):
                normalize_into(image, out)
        with watch.stage("collate"):
            collate([clip])
    watch.seconds["collate"] -= watch.seconds["normalise"]  # which it contains
    return {name: seconds / (clips * length) for name, seconds in watch.seconds.items()}


def time_loader(sequence: Sequence, length: int, clips: int, workers: int) -> float:
    """Images per second from end to end, after the workers have started."""
    sampling = SamplingConfig(lengths=(length,), steps=())
    repeats = -(-(clips + 2 * workers + 1) // (len(sequence) - length + 1))
    dataset = ClipDataset([Source([sequence], weight=repeats)], sampling, seed=0)
    sampler = EpochSampler(dataset.size, seed=0)
    batches = iter(ClipLoader(dataset, sampler, workers=workers))
    for _ in range(2 * workers + 1):  # what was prepared ahead
        next(batches)
    start = time.perf_counter()
    for _ in range(clips):
        next(batches)
    return clips * length / (time.perf_counter() - start)


def report(stages: dict[str, float], loaders: dict[int, float], what: str) -> None:
    total = sum(stages.values())
    console = Console()
    console.print(f"{what}: {1 / total:.0f} images/s on one thread")
    table = Table("stage", "ms per image", "share")
    for name, seconds in stages.items():
        table.add_row(name, f"{1e3 * seconds:.2f}", f"{seconds / total:.0%}")
    table.columns[1].justify = table.columns[2].justify = "right"
    console.print(table)
    console.print("Loader from end to end:")
    table = Table("workers", "images/s", "per worker")
    for workers, rate in loaders.items():
        table.add_row(str(workers), f"{rate:.1f}", f"{rate / max(1, workers):.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--length", type=int, default=5, help="frames of a clip")
    parser.add_argument("--boxes", type=int, default=20, help="boxes in a frame")
    parser.add_argument("--clips", type=int, default=40, help="clips per measurement")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        size = arguments.height, arguments.width
        sequence = make_sequence(Path(folder), 4 * arguments.length, size, arguments.boxes)
        kilobytes = sum(file.stat().st_size for file in sequence.frames) / len(sequence) / 1000
        time_stages(sequence, arguments.length, 2)  # warm-up
        stages = time_stages(sequence, arguments.length, arguments.clips)
        loaders = {w: time_loader(sequence, arguments.length, arguments.clips, w) for w in arguments.workers}
    report(stages, loaders, f"{arguments.width}×{arguments.height} JPEG of {kilobytes:.0f} kB, {arguments.boxes} boxes")
    if arguments.json:
        figures = {"seconds_per_image": stages, "images_per_second_by_workers": loaders, "settings": vars(arguments)}
        arguments.json.write_text(json.dumps(figures, indent=2, default=str))


if __name__ == "__main__":
    main()
