"""Training clips: choice of frames, reading, augmentation, and order within an epoch.

The random numbers of a clip depend only on (seed, epoch, number of the clip in the epoch). Clips and their order are
therefore the same with any number of workers or devices, and after a restart.
"""

from __future__ import annotations

import errno
import math
import multiprocessing.queues
import multiprocessing.util
import os
import signal
import socket
import sys
import traceback
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import arbitrary_address  # type: ignore[attr-defined]
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
from memotr.data.sequences import BoxTable, FrameSizeError, Sequence, check_frame_size
from memotr.data.transforms import ClipAugmentation, Image, make_targets
from memotr.errors import UserError, warn
from memotr.io.image_files import read_image
from memotr.processes import allow_open_files, begin_worker
from memotr.structures import ClipBatch, FrameTargets, ImageBatch

MAX_REPLACEMENTS = 20
"""Maximum number of replacements for a clip with an unreadable image; if all are unreadable, training stops."""

# Open files that a loader with workers needs. Measured: 20, and 12 per worker, independent of the batch size.
OPEN_FILES, OPEN_FILES_PER_WORKER = 64, 16

RESOURCE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Error numbers for a lack of open files or memory, which are not caused by the file that was read."""

_ANY_LENGTH = np.iinfo(np.int32).max

# Purposes of random number streams, which are independent of each other.
_CLIP, _SUBSET, _SHUFFLE = range(3)


def _random(seed: int, purpose: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *key)))


def draw_interval(rng: np.random.Generator, largest: int, length: int, following: int) -> int:
    """Draw the interval between the frames of a clip from 1…``largest``, and limit it so that the clip fits.

    Args:
        rng: random generator.
        largest: largest interval, in frames.
        length: number of frames of the clip.
        following: number of frames in the sequence after the first frame of the clip; at least length − 1.
    """
    if length == 1:
        return 1
    return min(int(rng.integers(1, largest + 1)), following // (length - 1))


@dataclass(frozen=True, eq=False)
class Source:
    """Sequences of one data set, and how they are used in training.

    Attributes:
        sequences: sequences with ground truth; still images (``Sequence.still``) become clips by shifting.
        augmentation: settings of the augmentation of their clips.
        weight: number of times that each start frame is used per epoch, above 0. A fraction selects a random share of
            the start frames in every epoch: 0.1 uses a tenth of them; 2.5 uses all twice and half of them once more.
        join_epoch: first epoch in which the sequences are used, from 0.
    """

    sequences: Collection[Sequence]
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    weight: float = 1.0
    join_epoch: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise UserError(f"weight of a data set: expected a number above 0, found {self.weight}")


class ClipIndex(NamedTuple):
    """Epoch and number of a clip in it. With the epoch in the index, workers need no state."""

    epoch: int
    number: int


@dataclass(frozen=True, eq=False)
class Clip:
    """T augmented frames of one size: images (h, w, 3) uint8 RGB and their ground truth, cxcywh in [0, 1]."""

    images: tuple[Image, ...]
    targets: tuple[FrameTargets, ...]

    def __post_init__(self) -> None:
        sizes = {image.shape for image in self.images}
        if len(sizes) != 1 or len(self.targets) != len(self.images):
            raise ValueError(f"Clip: images of shape {sorted(sizes)}, {len(self.targets)} targets")


class _Frames:
    """Concatenated image files and ground truth of several sequences, in a few arrays as in :class:`BoxTable`.

    Attributes:
        truth: ground truth of the F frames.
        still: (F,) mask of still images.
        remaining: (F,) number of frames from each frame to the end of its sequence, both included; unlimited for still
            images.
    """

    def __init__(self, sequences: list[Sequence]) -> None:
        self._paths = np.array([os.fsencode(path) for sequence in sequences for path in sequence.frames], np.bytes_)
        self.truth = BoxTable.from_sequences(sequences)
        self.still = np.repeat([s.still for s in sequences], [len(s) for s in sequences])  # (F,)
        remaining = np.concatenate([np.arange(len(s), 0, -1, dtype=np.int32) for s in sequences])  # (F,)
        self.remaining = np.where(self.still, _ANY_LENGTH, remaining)
        self._ends = np.cumsum([len(s) for s in sequences])  # (S,)
        self._sizes = [s.size for s in sequences]

    def path(self, frame: int) -> Path:
        return Path(os.fsdecode(self._paths[frame]))

    def size(self, frame: int) -> tuple[int, int] | None:
        """Return (height, width) of the frame's sequence, if known."""
        return self._sizes[np.searchsorted(self._ends, frame, side="right")]


class ClipDataset(Dataset[Clip]):
    """Data set of the clips of each epoch, one per start frame of a sequence.

    ``dataset[ClipIndex(epoch, number)]`` reads and augments a clip. A clip with an unreadable image is replaced by
    another clip of the epoch, which depends only on the index. A warning names each unreadable file once, not once per
    worker.
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
        """Prepare the clips of all sources, and warn about sequences that are too short for the clips.

        Args:
            sources: data sets to mix.
            sampling: lengths of the clips and intervals between their frames.
            seed: random seed, 0 or greater.
            read: function that reads an image file as RGB (H, W, 3) uint8 and raises UserError for unreadable files.
            epochs: number of epochs of the training; the sampling of later epochs is not checked.

        Raises:
            UserError: ground truth is missing, classes differ between sequences, or an epoch has no clips.
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
        self._bounds = np.cumsum([0, *counts])  # (sources + 1,) first frame of each source, and the total
        self._starts = (-1, np.zeros(0, np.int64))  # last requested epoch and its start frames
        self._unreadable = torch.zeros(len(self._frames.remaining), dtype=torch.uint8)  # 1 for unreadable frames
        self._check_lengths(sequences, epochs)

    def size(self, epoch: int) -> int:
        """Return the number of clips in an epoch."""
        return len(self.starts(epoch))

    def starts(self, epoch: int) -> NDArray[np.int64]:
        """Return the start frame (size,) of each clip of an epoch; frames are numbered from 0 over all sources."""
        known, starts = self._starts
        if known == epoch:
            return starts
        length = self._sampling.length(epoch)
        parts = [np.zeros(0, np.int64)]
        for number, (weight, join_epoch) in enumerate(zip(self._weights, self._join_epochs, strict=True)):
            if epoch < join_epoch:
                continue
            first, last = self._bounds[number : number + 2]
            possible = first + np.flatnonzero(self._frames.remaining[first:last] >= length)
            share = round(weight % 1 * len(possible))
            drawn = _random(self._seed, _SUBSET, epoch, number).permutation(possible)[:share]
            parts += [possible] * int(weight) + [np.sort(drawn)]
        starts = np.concatenate(parts)
        self._starts = epoch, starts
        return starts

    def share_unreadable(self) -> None:
        """Move the record of unreadable files to shared memory, for worker processes started from now on."""
        self._unreadable.share_memory_()

    def unreadable(self) -> list[Path]:
        """Return the unreadable files that any worker has found so far."""
        return [self._frames.path(frame) for frame in self._unreadable.nonzero()[:, 0].tolist()]

    def __getitem__(self, index: ClipIndex) -> Clip:
        """Read and augment a clip.

        Raises:
            UserError: the clip and ``MAX_REPLACEMENTS`` replacements have unreadable images, or the size of a frame
                differs from the size of its sequence.
        """
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
            except FrameSizeError:
                raise
            except UserError as error:
                reason = str(error)
        raise UserError(f"{1 + MAX_REPLACEMENTS} consecutive clips have an unreadable image; the last error: {reason}")

    def _clip(self, start: int, epoch: int, rng: np.random.Generator) -> Clip:
        """Read and augment the clip that starts at frame ``start``."""
        length, largest = self._sampling.length(epoch), self._sampling.largest_interval(epoch)
        augmentation = self._augmentations[bisect_right(self._bounds, start) - 1]
        still = bool(self._frames.still[start])
        if still:
            image = self._read(start)
            shift = augmentation.draw_shift(rng, image.shape[:2])
            frames = shift.clip(image, self._frames.truth.frame(start), length)
        else:
            interval = draw_interval(rng, largest, length, int(self._frames.remaining[start]) - 1)
            numbers = range(start, start + length * interval, interval)
            frames = [(self._read(number), self._frames.truth.frame(number)) for number in numbers]
            for number, (image, _) in zip(numbers, frames, strict=True):
                expected = self._frames.size(number) or frames[0][0].shape[:2]
                check_frame_size(self._frames.path(number), image.shape[:2], expected)
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
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in RESOURCE_ERRORS:
                raise error.__cause__ from None  # not an error of the image
            if not self._unreadable[frame]:
                self._unreadable[frame] = 1
                warn(f"{error}; clips with this frame are replaced by other clips")
            raise

    def _check_lengths(self, sequences: list[Sequence], epochs: int | None) -> None:
        """Raise UserError for an epoch without clips; warn about sequences that are too short for the longest clips."""
        stages = [e for e in {0, *self._sampling.steps, *self._join_epochs} if epochs is None or e < epochs]
        longest = max(self._sampling.length(epoch) for epoch in stages)
        for epoch in sorted(stages):
            if self.size(epoch) == 0:
                raise UserError(
                    f"epoch {epoch} has no clips: no sequence used in it has "
                    f"{self._sampling.length(epoch)} frames; shorten the clips (data.sampling.lengths), or let a "
                    "data set join earlier"
                )
        short = [sequence.name for sequence in sequences if not sequence.still and len(sequence) < longest]
        if short:
            names = ", ".join(short[:10]) + (f" and {len(short) - 10} more" if len(short) > 10 else "")
            warn(
                f"{len(short)} of {len(sequences)} sequences are shorter than clips of {longest} frames "
                f"and are not used for these: {names}"
            )


def _check_annotated(sequences: list[Sequence]) -> None:
    if not sequences:
        raise UserError("no sequences to train on")
    for sequence in sequences:
        if sequence.boxes is None:
            raise UserError(f"sequence {sequence.name} has no ground truth; only annotated splits can be trained on")
        if sequence.classes != sequences[0].classes:
            raise UserError(
                f"sequence {sequence.name} has the classes {', '.join(sequence.classes)}, but {sequences[0].name} has "
                f"{', '.join(sequences[0].classes)}; data sets that are trained on together must have the same classes"
            )


class EpochSampler(Sampler[list[ClipIndex]]):
    """Batch sampler: shuffles the clips of every epoch, and splits them evenly among the ranks.

    Together, the batches of B clips on ``world_size`` ranks contain the same clips as a batch of ``world_size`` · B
    clips on one rank. The last clips of a shuffle that do not fill such a batch are left out of the epoch.
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
        """Create a sampler.

        Args:
            size: number of clips as a function of the epoch (``ClipDataset.size``).
            batch_size: number of clips per batch and rank, as a function of the epoch.
            rank: rank of this process.
            world_size: number of ranks.
            seed: random seed of the shuffles.
        """
        self._size = size
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, which starts at the first batch."""
        self._epoch = epoch
        self._skipped = 0

    def skip(self, batches: int) -> None:
        """Skip the first batches of the epoch, which an interrupted run has already used."""
        self._skipped = batches

    def total(self, epoch: int) -> int:
        """Return the number of batches of an epoch on each rank.

        Raises:
            UserError: the epoch has fewer clips than one batch of all ranks needs.
        """
        clips, batch = self._size(epoch), self._batch_size(epoch)
        needed = self._world_size * batch
        if clips < needed:
            raise UserError(
                f"epoch {epoch} has {clips} clips, fewer than the {needed} that one step needs "
                f"({self._world_size} × {batch} clips): lower training.batch_size or training.batch_sizes, "
                "or for shorter clips data.sampling.lengths"
            )
        return clips // needed

    def __len__(self) -> int:
        """Return the number of batches left in the epoch."""
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
    """Collate B clips of the same length into one batch, padded to the largest height and width (multiples of 32)."""
    length, stride = len(clips[0].images), 32
    sizes = [clip.images[0].shape[:2] for clip in clips]
    height, width = (-(-max(sides) // stride) * stride for sides in zip(*sizes, strict=True))
    pixels = _zeros(length, len(clips), 3, height, width)  # (T, B, 3, H, W)
    mask = torch.ones(len(clips), height, width, dtype=torch.bool)  # (B, H, W)
    for b, (clip, (h, w)) in enumerate(zip(clips, sizes, strict=True)):
        mask[b, :h, :w] = False
        for image, frame in zip(clip.images, pixels[:, b], strict=True):
            normalize_into(image, frame[:, :h, :w])
    targets = iter(_pack([target for clip in clips for target in clip.targets]))
    per_clip = [[next(targets) for _ in range(length)] for _ in clips]
    per_frame = [list(frame) for frame in zip(*per_clip, strict=True)]
    return ClipBatch([ImageBatch(frame, mask, tuple(sizes)) for frame in pixels], per_frame)


def _pack(targets: list[FrameTargets]) -> list[FrameTargets]:
    """Return the targets packed into three storages, because each storage sent by a worker needs an open file."""
    counts = [len(target) for target in targets]
    ids = torch.cat([target.ids for target in targets]).split(counts)
    labels = torch.cat([target.labels for target in targets]).split(counts)
    boxes = torch.cat([target.boxes for target in targets]).split(counts)
    return [FrameTargets(*fields) for fields in zip(ids, labels, boxes, strict=True)]


def _zeros(*shape: int) -> Tensor:
    """Return float32 zeros; in a worker they are in shared memory, which saves a copy when the batch is sent."""
    if get_worker_info() is None:
        return torch.zeros(shape)
    # As in PyTorch's default collate function. New pages of shared memory are zero.
    shared = torch.UntypedStorage._new_shared(math.prod(shape) * torch.float32.itemsize)
    return torch.empty(0).set_(shared).view(shape)


@cache
def _normalized_levels() -> tuple[NDArray[np.float32], ...]:
    """Return the normalised values (256,) of the levels 0…255, for each of the three channels."""
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)  # (1, 256, 3)
    return tuple(normalize(ramp)[:, 0].contiguous().numpy())


def normalize_into(image: Image, out: Tensor) -> None:
    """Write ``normalize(image)`` of (h, w, 3) to ``out`` (3, h, w) by table lookup; the result is bitwise equal."""
    for plane, levels, channel in zip(cv2.split(image), _normalized_levels(), out.numpy(), strict=True):
        cv2.LUT(plane, levels, dst=channel)


class ClipLoader(DataLoader[Clip]):
    """Data loader that reads, augments and collates clips in worker processes, and yields a ``ClipBatch`` per batch.

    Call ``sampler.set_epoch`` before each epoch and :meth:`close` after the last one. The clips and their order do
    not depend on ``workers``.
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
            generator=torch.Generator(),  # otherwise every epoch draws from the global random stream
        )
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        try:
            yield from self._start_epoch()
        except UserError as error:
            # The text of an error from a worker is the worker's traceback, followed by the message.
            raise UserError(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from None

    def close(self) -> None:
        """Stop the worker processes; the next iteration starts new ones."""
        iterator, self._iterator = self._iterator, None
        try:
            if iterator is not None:
                iterator._shutdown_workers()  # type: ignore[attr-defined]  # waits until they have finished their batches
        finally:
            for process in self._processes:
                process.kill()
                process.join()
            self._processes.clear()

    def lacked_shared_memory(self) -> bool:
        """Return whether a worker process was killed because shared memory was exhausted."""
        bus_error = getattr(signal, "SIGBUS", None)  # sent on writing to a page that cannot be allocated
        return bus_error is not None and any(process.exitcode == -bus_error for process in self._processes)

    def _start_epoch(self) -> Iterator[Any]:
        if self._iterator is not None or not self.num_workers:
            return super().__iter__()
        needed = OPEN_FILES + OPEN_FILES_PER_WORKER * self.num_workers
        allow_open_files(needed, "data.workers")
        _check_socket_path()
        before = multiprocessing.active_children()
        assert isinstance(self.dataset, ClipDataset)
        self.dataset.share_unreadable()
        try:
            try:
                return super().__iter__()
            finally:  # also after an error, when only some workers have started
                self._processes += [process for process in multiprocessing.active_children() if process not in before]
                for process in self._processes:
                    # At exit Python sends SIGTERM, which workers ignore, and waits for them.
                    process._popen.terminate = process._popen.kill  # type: ignore[attr-defined]
        except OSError as error:
            _discard_iterator(error)
            raise


def _check_socket_path() -> None:
    """Raise UserError if workers cannot send batches, because the path of their sockets would be too long."""
    folder = multiprocessing.util.get_temp_dir()  # creates it for the sockets; removed when this process ends
    if not hasattr(socket, "AF_UNIX"):
        return
    path = Path(arbitrary_address("AF_UNIX"))  # as workers choose it
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
            path.unlink()
        except OSError as error:
            raise UserError(
                f"{folder}: loader workers cannot open sockets in this folder for temporary files ({error}); set the "
                "environment variable TMPDIR to a short path on a local disk, or data.workers=0"
            ) from None


def _discard_iterator(error: Exception) -> None:
    """Delete PyTorch's incomplete iterator, which the traceback holds, without the error that its deletion prints."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook


def _begin_worker(_worker: int) -> None:
    """Use one thread and ignore stop signals, because training needs its workers until the checkpoint is saved."""
    # Workers already use all cores, and OpenCV's threads deadlock in a forked process unless their number is 0.
    cv2.setNumThreads(0)
    begin_worker(shared_folder=Path(multiprocessing.util.get_temp_dir()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    multiprocessing.queues.Queue._on_queue_feeder_error = _send_error  # type: ignore[attr-defined]


def _send_error(queue: multiprocessing.queues.Queue[Any], _error: Exception, item: tuple[Any, ClipBatch]) -> None:
    """Send the current error in place of a batch that cannot be sent; otherwise training would wait forever."""
    queue.put((item[0], ExceptionWrapper(where="in a worker that could not send a batch")))
