"""Clips to train on: which frames make one up, reading and augmenting them, and the order in which they come.

Everything random about a clip is a function of (seed, epoch, number of the clip in the epoch) alone, whichever worker
or device makes it, so that the same clips come in the same order with any number of workers and after a restart.
"""

from __future__ import annotations

import errno
import math
import multiprocessing.queues
import multiprocessing.util
import os
import signal
import warnings
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from memotr.config import AugmentationConfig, SamplingConfig
from memotr.data.preprocess import normalize
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.data.transforms import ClipAugmentation, Image, make_targets
from memotr.errors import UserError
from memotr.io.image_files import read_image
from memotr.processes import allow_open_files, begin_worker
from memotr.structures import ClipBatch, FrameTargets, ImageBatch

MAX_REPLACEMENTS = 20
"""So many clips in a row may have an image that cannot be read before the training gives up."""

# A loader without workers is content with what there is. Measured: 20 and 12, whatever the size of batches.
OPEN_FILES, OPEN_FILES_A_WORKER = 64, 16

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Reasons why a file cannot be opened that are no fault of the file."""

_ANY_LENGTH = np.iinfo(np.int32).max

# What a stream of random numbers is for; streams of different purposes never meet.
_CLIP, _SUBSET, _SHUFFLE = range(3)


def _random(seed: int, purpose: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *key)))


def draw_interval(rng: np.random.Generator, largest: int, length: int, following: int) -> int:
    """Distance between the frames of a clip: random in 1…``largest``, at most what the sequence has left.

    Args:
        rng: where chance comes from.
        largest: limit of the distance.
        length: frames of the clip.
        following: frames of the sequence after the clip's first; at least length − 1.
    """
    if length == 1:
        return 1
    return min(int(rng.integers(1, largest + 1)), following // (length - 1))


@dataclass(frozen=True, eq=False)
class Source:
    """Sequences of one data set, and how they take part in the training.

    Attributes:
        sequences: with ground truth; still images (``Sequence.still``) become clips by shifting.
        augmentation: how their clips vary.
        weight: how often each start frame comes in an epoch. A fraction is a share of the start frames, drawn anew
            every epoch: 0.1 is a tenth of them, 2.5 all of them twice and one half a third time.
        join_epoch: the first epoch in which they take part.
    """

    sequences: Collection[Sequence]
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    weight: float = 1.0
    join_epoch: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UserError(f"weight of a data set: expected a number above 0, found {self.weight}")


class ClipIndex(NamedTuple):
    """A clip's number within its epoch: what the sampler hands to the workers, so that they need not be told epochs."""

    epoch: int
    number: int


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames of one size, augmented: images (h, w, 3) uint8 RGB and their ground truth, cxcywh in [0, 1]."""

    images: tuple[Image, ...]
    targets: tuple[FrameTargets, ...]

    def __post_init__(self) -> None:
        sizes = {image.shape for image in self.images}
        if len(sizes) != 1 or len(self.targets) != len(self.images):
            raise ValueError(f"Clip: images of shape {sorted(sizes)}, {len(self.targets)} targets")


class _Frames:
    """Image files and ground truth of many sequences end to end, in a few arrays.

    Millions of small Python objects would be copied into every worker, if only by their reference counts.

    Attributes:
        room: (F,) frames from this one to the end of its sequence, itself included: the longest clip that starts here.
    """

    def __init__(self, sequences: list[Sequence]) -> None:
        truths = [boxes for sequence in sequences for boxes in sequence.boxes or ()]
        self._paths = np.array([os.fsencode(path) for sequence in sequences for path in sequence.frames], np.bytes_)
        self._offsets = np.cumsum([0, *map(len, truths)])  # (F + 1,) where the boxes of a frame begin
        nothing = FrameBoxes.empty()
        self._ids = np.concatenate([nothing.ids, *(truth.ids for truth in truths)])  # (G,)
        self._labels = np.concatenate([nothing.labels, *(truth.labels for truth in truths)])  # (G,)
        self._boxes = np.concatenate([nothing.boxes, *(truth.boxes for truth in truths)])  # (G, 4)
        self.still = np.repeat([s.still for s in sequences], [len(s) for s in sequences])  # (F,)
        room = np.concatenate([np.arange(len(s), 0, -1, dtype=np.int32) for s in sequences])  # (F,)
        self.room = np.where(self.still, _ANY_LENGTH, room)

    def path(self, frame: int) -> Path:
        return Path(os.fsdecode(self._paths[frame]))

    def truth(self, frame: int) -> FrameBoxes:
        own = slice(self._offsets[frame], self._offsets[frame + 1])
        return FrameBoxes(self._ids[own], self._labels[own], self._boxes[own])


class ClipDataset(Dataset[Clip]):
    """The clips of each epoch: one per start frame of a sequence.

    ``dataset[ClipIndex(epoch, number)]`` reads and augments a clip. A clip with an image that cannot be read is
    replaced by another one of the epoch, always by the same; the file is named in a warning, once, whichever worker
    meets it.
    """

    def __init__(
        self,
        sources: Collection[Source],
        sampling: SamplingConfig,
        *,
        seed: int,
        read: Callable[[Path], Image] = read_image,
        epochs: int | None = None,
    ) -> None:
        """Sequences that are too short for the clips are named in a warning.

        Args:
            sources: what to mix.
            sampling: lengths of the clips and intervals between their frames.
            seed: of everything random here, 0 or more.
            read: opens an image file as RGB (H, W, 3) uint8; raises UserError where it cannot.
            epochs: how long the training will last; stages of the sampling that it does not reach are not checked.

        Raises:
            UserError: no ground truth, classes that differ between sequences, an epoch without any clip.
        """
        sequences = [sequence for source in sources for sequence in source.sequences]
        _check_annotated(sequences)
        self._sampling = sampling
        self._seed = seed
        self._read_image = read
        self._frames = _Frames(sequences)
        self._augmentations = [ClipAugmentation(source.augmentation) for source in sources]
        self._weights = [source.weight for source in sources]
        self._join_epochs = [source.join_epoch for source in sources]
        counts = [sum(map(len, source.sequences)) for source in sources]
        self._bounds = np.cumsum([0, *counts])  # (sources + 1,) where the frames of a source begin
        self._starts = (-1, np.zeros(0, np.int64))  # of the epoch that was asked for last
        # Shared with the workers: 1 where a frame was found to be unreadable.
        self._unreadable = torch.zeros(len(self._frames.room), dtype=torch.uint8).share_memory_()
        self._check_lengths(sequences, epochs)

    def size(self, epoch: int) -> int:
        """Number of clips in this epoch."""
        return len(self.starts(epoch))

    def starts(self, epoch: int) -> NDArray[np.int64]:
        """First frames of the epoch's clips, in order, counted through all sequences of all sources: (size,)."""
        known, starts = self._starts
        if known == epoch:
            return starts
        length = self._sampling.length(epoch)
        parts = [np.zeros(0, np.int64)]
        for number, (weight, join_epoch) in enumerate(zip(self._weights, self._join_epochs, strict=True)):
            if epoch < join_epoch:
                continue
            first, last = self._bounds[number : number + 2]
            possible = first + np.flatnonzero(self._frames.room[first:last] >= length)
            share = round(weight % 1 * len(possible))
            drawn = _random(self._seed, _SUBSET, epoch, number).permutation(possible)[:share]
            parts += [possible] * int(weight) + [np.sort(drawn)]
        starts = np.concatenate(parts)
        self._starts = epoch, starts
        return starts

    def unreadable(self) -> list[Path]:
        """Files that were found to be unreadable so far, by whichever worker."""
        return [self._frames.path(frame) for frame in self._unreadable.nonzero()[:, 0].tolist()]

    def __getitem__(self, index: ClipIndex) -> Clip:
        """Raises UserError where one clip after the other cannot be read."""
        epoch, number = index
        starts = self.starts(epoch)
        start = int(starts[number])
        reason = ""
        for attempt in range(1 + MAX_REPLACEMENTS):
            rng = _random(self._seed, _CLIP, epoch, number, attempt)
            if attempt:
                start = int(rng.choice(starts))
            try:
                return self._clip(start, epoch, rng)
            except UserError as error:
                reason = str(error)
        raise UserError(f"{1 + MAX_REPLACEMENTS} clips in a row have an image that cannot be read; the last: {reason}")

    def _clip(self, start: int, epoch: int, rng: np.random.Generator) -> Clip:
        """The clip that begins with frame ``start``, read and augmented."""
        length, largest = self._sampling.length(epoch), self._sampling.largest_interval(epoch)
        augmentation = self._augmentations[bisect_right(self._bounds, start) - 1]
        still = bool(self._frames.still[start])
        if still:
            image = self._read(start)
            shift = augmentation.draw_shift(rng, image.shape[:2])
            frames = shift.clip(image, self._frames.truth(start), length)
        else:
            interval = draw_interval(rng, largest, length, int(self._frames.room[start]) - 1)
            numbers = range(start, start + length * interval, interval)
            frames = [(self._read(number), self._frames.truth(number)) for number in numbers]
        draw = augmentation.draw(rng, frames[0][0].shape[:2], still)
        frames = [draw.apply(image, truth) for image, truth in frames]
        if draw.reverse:
            frames.reverse()
        targets = tuple(make_targets(truth, image.shape[:2]) for image, truth in frames)
        return Clip(tuple(image for image, _ in frames), targets)

    def _read(self, frame: int) -> Image:
        path = self._frames.path(frame)
        try:
            return self._read_image(path)
        except UserError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in EXHAUSTED:
                raise error.__cause__ from None  # nothing is wrong with the image
            if not self._unreadable[frame]:
                self._unreadable[frame] = 1
                warnings.warn(f"{error}; clips with this frame are replaced by others", stacklevel=2)
            raise

    def _check_lengths(self, sequences: list[Sequence], epochs: int | None) -> None:
        """Every epoch has a clip; sequences that have none in the longest stage are named."""
        stages = [e for e in {0, *self._sampling.steps, *self._join_epochs} if epochs is None or e < epochs]
        longest = max(self._sampling.length(epoch) for epoch in stages)
        for epoch in sorted(stages):
            if self.size(epoch) == 0:
                raise UserError(
                    f"epoch {epoch} has nothing to train on: no sequence that takes part has "
                    f"{self._sampling.length(epoch)} frames; shorten the clips or let a data set join earlier"
                )
        short = [sequence.name for sequence in sequences if not sequence.still and len(sequence) < longest]
        if short:
            names = ", ".join(short[:10]) + (f" and {len(short) - 10} more" if len(short) > 10 else "")
            warnings.warn(
                f"{len(short)} of {len(sequences)} sequences are shorter than clips of {longest} frames "
                f"and have no part in those: {names}",
                stacklevel=3,
            )


def _check_annotated(sequences: list[Sequence]) -> None:
    if not sequences:
        raise UserError("no sequence to train on")
    for sequence in sequences:
        if sequence.boxes is None:
            raise UserError(f"sequence {sequence.name} has no ground truth; only annotated splits can be trained on")
        if sequence.classes != sequences[0].classes:
            raise UserError(
                f"sequence {sequence.name} has the classes {', '.join(sequence.classes)}, but {sequences[0].name} has "
                f"{', '.join(sequences[0].classes)}; data sets that are mixed must have the same"
            )


class EpochSampler(Sampler[list[ClipIndex]]):
    """Which clips each batch has: another shuffle every epoch, cut into disjoint shares of equal length.

    ``world_size`` ranks with batches of B clips see together what one rank with batches of ``world_size`` · B sees.
    The last clips of the shuffle, fewer than one such batch, are left out of the epoch.
    """

    def __init__(
        self,
        size: Callable[[int], int],
        *,
        batch_size: Callable[[int], int] = lambda _epoch: 1,
        rank: int = 0,
        world_size: int = 1,
        seed: int,
    ) -> None:
        """``size`` and ``batch_size`` tell how many clips an epoch (``ClipDataset.size``) and its batches have."""
        self._size = size
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs through, from its beginning."""
        self._epoch = epoch
        self._skipped = 0

    def skip(self, batches: int) -> None:
        """Leave out so many batches of this epoch that an interrupted run has already seen."""
        self._skipped = batches

    def total(self, epoch: int) -> int:
        """Batches of this epoch on every rank.

        Raises:
            UserError: fewer clips than one batch of all ranks.
        """
        clips, batch = self._size(epoch), self._batch_size(epoch)
        needed = self._world_size * batch
        if clips < needed:
            raise UserError(
                f"epoch {epoch} has {clips} clips, fewer than the {needed} that one step takes "
                f"({self._world_size} devices with {batch} clips each)"
            )
        return clips // needed

    def __len__(self) -> int:
        """Batches that are left of the epoch."""
        return max(0, self.total(self._epoch) - self._skipped)

    def __iter__(self) -> Iterator[list[ClipIndex]]:
        epoch, skipped = self._epoch, self._skipped
        batches, batch = self.total(epoch), self._batch_size(epoch)
        order = _random(self._seed, _SHUFFLE, epoch).permutation(self._size(epoch))
        order = order[: batches * self._world_size * batch]
        shares = order.reshape(batches, self._world_size, batch)
        for share in shares[skipped:, self._rank].tolist():  # (batch_size,)
            yield [ClipIndex(epoch, number) for number in share]


def collate(clips: list[Clip]) -> ClipBatch:
    """B clips of the same length as one batch; every frame is padded to the largest of them."""
    length, stride = len(clips[0].images), 32
    sizes = [clip.images[0].shape[:2] for clip in clips]
    height, width = (-(-max(sides) // stride) * stride for sides in zip(*sizes, strict=True))
    pixels = _zeros(length, len(clips), 3, height, width)  # (T, B, 3, H, W)
    mask = torch.ones(len(clips), height, width, dtype=torch.bool)  # (B, H, W)
    for b, (clip, (h, w)) in enumerate(zip(clips, sizes, strict=True)):
        mask[b, :h, :w] = False
        for image, frame in zip(clip.images, pixels[:, b], strict=True):
            normalize_into(image, frame[:, :h, :w])
    targets = iter(_packed([target for clip in clips for target in clip.targets]))
    per_clip = [[next(targets) for _ in range(length)] for _ in clips]
    per_frame = [list(frame) for frame in zip(*per_clip, strict=True)]
    return ClipBatch([ImageBatch(frame, mask, tuple(sizes)) for frame in pixels], per_frame)


def _packed(targets: list[FrameTargets]) -> list[FrameTargets]:
    """The same values in three storages: each storage that leaves a worker costs a file handle."""
    counts = [len(target) for target in targets]
    ids = torch.cat([target.ids for target in targets]).split(counts)
    labels = torch.cat([target.labels for target in targets]).split(counts)
    boxes = torch.cat([target.boxes for target in targets]).split(counts)
    return [FrameTargets(*fields) for fields in zip(ids, labels, boxes, strict=True)]


def _zeros(*shape: int) -> Tensor:
    """Zeros in float32; made in shared memory within a worker, which saves copying them there on the way out."""
    if get_worker_info() is None:
        return torch.zeros(shape)
    # As PyTorch's own collate does it. Fresh pages of shared memory are zero.
    shared = torch.UntypedStorage._new_shared(math.prod(shape) * torch.float32.itemsize)
    return torch.empty(0).set_(shared).view(shape)


@cache
def _normalized_levels() -> tuple[NDArray[np.float32], ...]:
    """For each channel the normalised value of each of the 256 levels: three times (256,)."""
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)  # (1, 256, 3)
    return tuple(normalize(ramp)[:, 0].contiguous().numpy())


def normalize_into(image: Image, out: Tensor) -> None:
    """What ``normalize`` gives for (h, w, 3), bit for bit, written to (3, h, w) by looking it up."""
    for plane, levels, channel in zip(cv2.split(image), _normalized_levels(), out.numpy(), strict=True):
        cv2.LUT(plane, levels, dst=channel)


class ClipLoader(DataLoader[Clip]):
    """Reads, augments and collates clips in worker processes; iterating gives the ``ClipBatch`` of every batch.

    Use ``sampler.set_epoch`` before each epoch, and :meth:`close` after the last one. The order and the clips do not
    depend on ``workers``.
    """

    def __init__(
        self, dataset: ClipDataset, sampler: EpochSampler, *, workers: int = 0, pin_memory: bool = False
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            worker_init_fn=_begin_worker,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else every epoch takes a number out of the training's own stream
        )
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        try:
            yield from self._start_epoch()
        except UserError as error:
            # One that comes from a worker carries the worker's traceback before its own line.
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None

    def close(self) -> None:
        """End the worker processes. The next iteration starts new ones."""
        iterator, self._iterator = self._iterator, None
        try:
            if iterator is not None:
                iterator._shutdown_workers()  # type: ignore[attr-defined]  # lets them finish what they have begun
        finally:
            for process in self._processes:
                process.kill()
                process.join()
            self._processes.clear()

    def _start_epoch(self) -> Iterator[Any]:
        if self._iterator is not None or not self.num_workers:
            return super().__iter__()
        needed = OPEN_FILES + OPEN_FILES_A_WORKER * self.num_workers
        allow_open_files(needed, "data.workers")
        multiprocessing.util.get_temp_dir()  # for the sockets of all workers: this process removes it at its end
        before = multiprocessing.active_children()
        try:
            return super().__iter__()
        finally:  # some have started, even if not all could be
            self._processes += [process for process in multiprocessing.active_children() if process not in before]
            for process in self._processes:
                # Whatever is still running when Python exits is sent SIGTERM, which workers ignore, and waited for.
                process._popen.terminate = process._popen.kill  # type: ignore[attr-defined]


def _begin_worker(_worker: int) -> None:
    """Use one thread and ignore signals that ask the training to stop: until it is saved, it needs its workers."""
    # Workers already share the processor. In a forked one OpenCV waits forever for its parent's threads; 0 works.
    cv2.setNumThreads(0)
    begin_worker(shared_folder=Path(multiprocessing.util.get_temp_dir()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    multiprocessing.queues.Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]


def _send_error(queue: multiprocessing.queues.Queue[Any], _error: Exception, item: tuple[Any, ClipBatch]) -> None:
    """Send the present error in place of a batch that cannot be sent, for which the training would wait for ever."""
    queue.put((item[0], ExceptionWrapper(where="in a worker, which could not send a batch")))
