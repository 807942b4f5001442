"""Benchmark of training data loading: the stages in one thread, and the loader with several processes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from memotr.bench.measure import Contender, Row, Spread, alternate, rows
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.bench.scene import make_frames
from memotr.config import AugmentationConfig, SamplingConfig
from memotr.data.clips import Clip, ClipDataset, ClipLoader, EpochSampler, Source, collate
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.data.transforms import ClipAugmentation, make_targets
from memotr.io.image_files import read_image
from memotr.structures import ClipBatch

STAGES = ("read and decode", "flip", "resize", "crop", "recolor", "targets", "normalise and collate")
LENGTH = 5
"""Number of frames of a clip."""
OBJECTS = 20
"""Number of objects in a frame."""


def measure(options: Options) -> Iterator[Table]:
    """Yield a table of the stages and one of the loader."""
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        sequence = make_sequence(Path(folder), options)
        yield _stage_table(sequence, options)
        loadings = [Loading(sequence, options.clips, workers) for workers in options.workers]
        try:
            timed = alternate([loading.contender() for loading in loadings], options.rounds)
        finally:
            for loading in loadings:
                loading.loader.close()
    table = [
        row | {"images/s": 1 / each.spread.middle} for row, each in zip(rows(timed, " per image"), timed, strict=True)
    ]
    note = "The start of the processes is not timed, and batches that they have prepared before are not counted."
    yield Table("The complete loader", table, note)


def _stage_table(sequence: Sequence, options: Options) -> Table:
    """Time the stages of loading in one thread, and return them as a table."""
    random, augmentation = np.random.default_rng(0), ClipAugmentation(AugmentationConfig())
    _, *clips = [time_clip(sequence, augmentation, random) for _ in range(1 + options.clips)]  # the first warms up
    table: list[Row] = []
    total = sum(sum(clip.values()) for clip in clips) / len(clips)
    for stage in STAGES:
        seconds = tuple(clip[stage] for clip in clips)
        mean = statistics.mean(seconds)
        table.append({"stage": stage, "ms per image": Spread(mean, seconds).times(1e3), "%": 100 * mean / total})
    (height, width), kilobytes = options.source, statistics.mean(f.stat().st_size for f in sequence.frames) / 1e3
    title = f"An image of a clip: JPEG of {height}×{width}, {kilobytes:.0f} kB, {OBJECTS} objects"
    return Table(
        title,
        table,
        f"Means, not medians, because not every clip is cropped. {1 / total:.0f} images/s in one thread.",
    )


def time_clip(sequence: Sequence, augmentation: ClipAugmentation, random: np.random.Generator) -> dict[str, float]:
    """Return the seconds per image of every stage; 0 for stages that the random draw skips."""
    seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name] += (time.perf_counter() - began) / LENGTH

    assert sequence.boxes is not None
    chosen = random.integers(0, len(sequence), LENGTH)
    with stage("read and decode"):
        images = [read_image(sequence.frames[i]) for i in chosen]
    draw = augmentation.draw(random, images[0].shape[:2])
    frames = [(image, sequence.boxes[i]) for i, image in zip(chosen, images, strict=True)]
    for step in draw.steps:
        with stage(type(step).__name__.lower()):
            frames = [step.apply(*frame) for frame in frames]
    with stage("targets"):
        targets = tuple(make_targets(truth, image.shape[:2]) for image, truth in frames)
    with stage("normalise and collate"):
        collate([Clip(tuple(image for image, _ in frames), targets)])
    return seconds


class Loading:
    """Loader with a number of worker processes, as a contender.

    Args:
        sequence: sequence to load clips from.
        clips: number of clips in a run.
        workers: number of worker processes.
    """

    def __init__(self, sequence: Sequence, clips: int, workers: int) -> None:
        sampling = SamplingConfig(lengths=(LENGTH,), steps=())
        ahead = 2 * workers + 1  # number of batches that a loader prepares in advance
        repeats = -(-(clips + ahead) // (len(sequence) - LENGTH + 1))
        dataset = ClipDataset([Source([sequence], weight=repeats)], sampling, seed=0)
        self.loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=0), workers=workers)
        self.clips, self.workers, self.ahead = clips, workers, ahead

    def contender(self) -> Contender:
        """Return the contender."""
        return Contender(f"{self.workers} worker processes", self.load, self.begin, amount=self.clips * LENGTH)

    def begin(self) -> None:
        """Start an epoch, and use up the batches that the loader has prepared in advance."""
        self.batches = iter(self.loader)
        for _ in range(self.ahead):
            next(self.batches)

    def load(self) -> ClipBatch:
        """Load the clips of a run, and return the last one."""
        clips = [next(self.batches) for _ in range(self.clips)]
        del self.batches
        return clips[-1]


def make_sequence(folder: Path, options: Options) -> Sequence:
    """Write JPEG files and return them as a sequence with boxes."""
    random, (height, width) = np.random.default_rng(0), options.source
    truths, files = [], []
    for number, image in enumerate(make_frames(4 * LENGTH, options.source)):
        files.append(folder / f"{number:08}.jpg")
        cv2.imwrite(str(files[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        size = np.array([0.1 * width, 0.2 * height])
        corners = random.uniform(0, [0.9 * width, 0.8 * height], (OBJECTS, 2))
        boxes = np.concatenate([corners, corners + size], axis=1).astype(np.float32)
        truths.append(FrameBoxes(np.arange(OBJECTS), np.zeros(OBJECTS, np.int64), boxes))
    return Sequence(name="generated", frames=tuple(files), boxes=tuple(truths), classes=("person",))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread within the context, as a worker process of the loader does."""
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)
