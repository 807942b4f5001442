"""Which clips there are, in which order they come, and that neither depends on who makes them."""

import errno
import gc
import math
import multiprocessing
import os
import pickle
import signal
import warnings
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from memotr.config import AugmentationConfig, SamplingConfig
from memotr.data.clips import (
    MAX_REPLACEMENTS,
    Clip,
    ClipDataset,
    ClipIndex,
    ClipLoader,
    EpochSampler,
    Source,
    collate,
    draw_interval,
)
from memotr.data.preprocess import normalize
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.errors import UserError
from memotr.io.image_files import read_image
from memotr.structures import FrameTargets, ImageBatch

HEIGHT, WIDTH = 24, 40
PLAIN = AugmentationConfig(short_sides=(HEIGHT,), flip=0, crop=0, hsv=(0, 0, 0), still_reverse=0)
LIVELY = AugmentationConfig(
    short_sides=(20, 30), longest_side=60, crop_short_sides=(24, 36), crop_min_size=16, crop_max_size=30, reverse=0.5
)


def draw_image(path: Path) -> np.ndarray:
    """Stands for the reader: an image that its file's number tells from all others."""
    if "broken" in path.name:
        raise UserError(f"cannot read image {path}: it is damaged")
    return np.random.default_rng(int(path.stem)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def sequence(
    first: int, length: int, *, broken: tuple[int, ...] = (), empty: tuple[int, ...] = (), still=False
) -> Sequence:
    """Frames numbered from ``first``; each has one object, whose id is the frame's number."""
    numbers = range(first, first + length)
    box = np.array([[10, 6, 25, 20]], np.float32)
    return Sequence(
        name=f"seq{first}",
        frames=tuple(Path(f"/data/{n:06}{'broken' * (n in broken)}.png") for n in numbers),
        boxes=tuple(
            FrameBoxes.empty() if n in empty else FrameBoxes(np.array([n]), np.array([n % 2]), box) for n in numbers
        ),
        classes=("person", "dog"),
        still=still,
    )


def make(*sources: Source | Sequence, lengths=(2,), steps=(), interval=3, seed=7, epochs=None) -> ClipDataset:
    sources = [s if isinstance(s, Source) else Source([s], PLAIN) for s in sources]
    sampling = SamplingConfig(lengths=lengths, steps=steps, interval=interval)
    return ClipDataset(sources, sampling, seed=seed, read=draw_image, epochs=epochs)


def numbers(clip: Clip) -> list[int]:
    """Frames of a clip, told by the ids of their objects."""
    return [int(target.ids) for target in clip.targets]


def epoch_of(dataset: ClipDataset, epoch: int) -> list[list[int]]:
    return [numbers(dataset[ClipIndex(epoch, i)]) for i in range(dataset.size(epoch))]


def assert_same(a: Clip, b: Clip) -> None:
    for x, y in zip(a.images, b.images, strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(a.targets, b.targets, strict=True):
        assert torch.equal(x.ids, y.ids)
        assert torch.equal(x.labels, y.labels)
        assert torch.equal(x.boxes, y.boxes)


class TestLengthsAndIntervals:
    def test_lengths_change_at_the_steps(self):
        sampling = SamplingConfig()
        assert [sampling.length(epoch) for epoch in range(16)] == [2] * 6 + [3] * 4 + [4] * 4 + [5] * 2

    def test_one_length(self):
        assert SamplingConfig(lengths=(1,), steps=()).length(99) == 1

    @pytest.mark.parametrize(
        "settings",
        [
            {"lengths": (2, 3)},
            {"steps": (6, 6, 14)},
            {"lengths": (), "steps": ()},
            {"interval": 0},
            {"intervals": (3, 2)},
        ],
    )
    def test_bad_settings(self, settings):
        with pytest.raises(ValidationError):
            SamplingConfig(**settings)

    def test_every_length_may_have_an_interval_of_its_own(self):
        usual, own = SamplingConfig(), SamplingConfig(intervals=(40, 3, 2, 1))
        assert [usual.largest_interval(epoch) for epoch in (0, 99)] == [10, 10]
        assert [own.largest_interval(epoch) for epoch in (0, 5, 6, 10, 99)] == [40, 40, 3, 2, 1]
        source = Source([sequence(0, 60)], PLAIN)
        dataset = ClipDataset(
            [source], SamplingConfig(lengths=(2, 3), steps=(1,), intervals=(40, 2)), seed=7, read=draw_image
        )
        gaps = [max(max(np.diff(clip)) for clip in epoch_of(dataset, e)) for e in (0, 1)]
        assert 20 < gaps[0] <= 40
        assert gaps[1] == 2

    @pytest.mark.parametrize(("length", "following"), [(2, 100), (5, 100), (5, 27), (3, 5), (4, 3)])
    def test_intervals(self, length, following):
        """Every interval as likely as any other; those that the sequence has no room for become the largest one."""
        n = 5000
        rng = np.random.default_rng(0)
        counts = Counter(draw_interval(rng, 10, length, following) for _ in range(n))
        largest = min(10, following // (length - 1))
        assert set(counts) == set(range(1, largest + 1))
        for interval, count in counts.items():
            expected = 0.1 if interval < largest else (11 - largest) / 10
            assert abs(count / n - expected) <= 4 * math.sqrt(expected * (1 - expected) / n)

    def test_a_single_frame_needs_no_interval(self):
        assert draw_interval(np.random.default_rng(0), 10, 1, 0) == 1


@pytest.mark.filterwarnings("error")
class TestWhichClips:
    @pytest.mark.parametrize("length", [1, 2, 5])
    def test_every_start_frame_once(self, length):
        dataset = make(sequence(100, 12), sequence(300, 5), lengths=(length,), interval=10)
        clips = epoch_of(dataset, 0)
        expected = [*range(100, 112 - length + 1), *range(300, 305 - length + 1)]
        assert [clip[0] for clip in clips] == expected
        for clip in clips:
            assert len(clip) == length
            assert len({b - a for a, b in pairwise(clip)}) <= 1  # one interval
            assert clip == sorted(clip)
            assert clip[-1] < (112 if clip[0] < 300 else 305)

    def test_intervals_vary_between_clips_and_epochs(self):
        dataset = make(sequence(0, 60), interval=10)
        first, second = epoch_of(dataset, 0), epoch_of(dataset, 1)
        assert {b - a for a, b in first} == set(range(1, 11))
        assert first != second

    def test_length_follows_the_epoch(self):
        dataset = make(sequence(0, 9), lengths=(2, 4), steps=(3,))
        assert [dataset.size(epoch) for epoch in range(5)] == [8, 8, 8, 6, 6]
        assert {len(clip) for clip in epoch_of(dataset, 2)} == {2}
        assert {len(clip) for clip in epoch_of(dataset, 3)} == {4}

    def test_images_belong_to_their_targets(self):
        clip = make(sequence(0, 9), lengths=(3,))[ClipIndex(0, 2)]
        for number, image, target in zip(numbers(clip), clip.images, clip.targets, strict=True):
            np.testing.assert_array_equal(image, draw_image(Path(f"{number}.png")))
            assert target.labels.tolist() == [number % 2]
            torch.testing.assert_close(target.boxes, torch.tensor([[17.5 / 40, 13 / 24, 15 / 40, 14 / 24]]))

    def test_reversed_clips(self):
        source = Source([sequence(0, 30)], PLAIN.model_copy(update={"reverse": 1.0}))
        assert all(a > b for a, b in epoch_of(make(source), 0))

    def test_frames_without_boxes(self):
        dataset = make(sequence(0, 6, empty=tuple(range(6))))
        assert dataset.size(0) == 5
        assert [len(target) for target in dataset[ClipIndex(0, 0)].targets] == [0, 0]

    def test_still_images_become_clips(self):
        source = Source([sequence(n, 1, still=True) for n in (5, 6)], PLAIN)
        dataset = make(source, lengths=(2, 4), steps=(1,))
        assert [dataset.size(0), dataset.size(1)] == [2, 2]
        clip = dataset[ClipIndex(1, 1)]
        assert len(clip.images) == 4
        assert all(set(target.ids.tolist()) <= {6} for target in clip.targets)
        np.testing.assert_array_equal(clip.images[0], draw_image(Path("6.png")))
        assert all((a != b).any() for a, b in pairwise(clip.images))

    def test_still_clips_may_run_backwards(self):
        source = Source([sequence(5, 1, still=True)], PLAIN.model_copy(update={"still_reverse": 1.0}))
        clip = make(source, lengths=(3,))[ClipIndex(0, 0)]
        np.testing.assert_array_equal(clip.images[-1], draw_image(Path("5.png")))

    def test_each_source_has_its_own_augmentation(self):
        small = Source([sequence(0, 5)], PLAIN.model_copy(update={"short_sides": (12,)}))
        dataset = make(sequence(100, 5), small, sequence(200, 5))
        heights = [dataset[ClipIndex(0, i)].images[0].shape[0] for i in range(dataset.size(0))]
        assert heights == [24] * 4 + [12] * 4 + [24] * 4


class TestMixing:
    def test_weights(self):
        dataset = make(Source([sequence(0, 41)], PLAIN, weight=2), Source([sequence(100, 41)], PLAIN, weight=0.25))
        starts = [clip[0] for clip in epoch_of(dataset, 0)]
        assert Counter(n for n in starts if n < 100) == dict.fromkeys(range(40), 2)
        part = [n for n in starts if n >= 100]
        assert len(part) == len(set(part)) == 10
        following = [clip[0] for clip in epoch_of(dataset, 1)][80:]
        assert len(following) == 10
        assert part != following

    def test_a_weight_with_a_fraction(self):
        counts = Counter(clip[0] for clip in epoch_of(make(Source([sequence(0, 41)], PLAIN, weight=1.5)), 0))
        assert Counter(counts.values()) == {2: 20, 1: 20}

    def test_the_share_of_an_epoch_is_reproducible(self):
        source = Source([sequence(0, 200)], PLAIN, weight=0.1)
        a, b, other = make(source), make(source), make(source, seed=8)
        b.size(5)  # what was asked before does not matter
        assert a.starts(3).tolist() == b.starts(3).tolist() != other.starts(3).tolist()

    def test_joining_later(self):
        dataset = make(Source([sequence(0, 5)], PLAIN), Source([sequence(100, 5)], PLAIN, join_epoch=2))
        assert [dataset.size(epoch) for epoch in range(4)] == [4, 4, 8, 8]
        assert {clip[0] for clip in epoch_of(dataset, 2)} == {0, 1, 2, 3, 100, 101, 102, 103}

    @pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
    def test_bad_weights(self, weight):
        with pytest.raises(UserError, match="weight"):
            Source([sequence(0, 5)], weight=weight)


class TestWhatIsRefusedOrNamed:
    def test_short_sequences_are_named_once(self):
        sequences = sequence(0, 9), sequence(100, 3), sequence(200, 1)
        with pytest.warns(UserWarning, match=r"2 of 3 .* shorter than clips of 4 frames.*: seq100, seq200") as record:
            dataset = make(*sequences, lengths=(2, 4), steps=(1,))
        assert len(record) == 1
        assert len(epoch_of(dataset, 0)) == 8 + 2  # and no further warning
        assert len(epoch_of(dataset, 1)) == 6

    def test_many_short_sequences_are_counted(self):
        with pytest.warns(UserWarning, match=r"30 of 31 .*seq9 and 20 more"):
            make(sequence(100, 9), *(sequence(n, 1) for n in range(30)))

    def test_stages_that_are_not_reached_do_not_matter(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make(sequence(0, 3), lengths=(2, 4), steps=(5,), epochs=5)

    @pytest.mark.parametrize("epochs", [None, 6])
    def test_no_sequence_is_long_enough(self, epochs):
        with pytest.raises(UserError, match=r"epoch 5 has no clips.*4 frames"):
            make(sequence(0, 3), sequence(100, 2), lengths=(2, 4), steps=(5,), epochs=epochs)

    def test_a_first_epoch_without_clips_is_refused(self):
        with pytest.raises(UserError, match="epoch 0 has no clips"):
            make(Source([sequence(0, 5)], PLAIN, join_epoch=1))

    def test_no_ground_truth(self):
        without = Sequence(name="test-7", frames=(Path("1.png"),), boxes=None, classes=("person",))
        with pytest.raises(UserError, match="test-7 has no ground truth"):
            make(without)

    def test_classes_differ(self):
        other = Sequence(name="cats", frames=(), boxes=(), classes=("cat",))
        with pytest.raises(UserError, match="cats has the classes cat, but seq0 has person, dog"):
            make(sequence(0, 5), other)

    def test_nothing_at_all(self):
        with pytest.raises(UserError, match="no sequence"):
            make()


class TestUnreadableImages:
    def test_the_clip_is_replaced_and_the_file_named_once(self):
        dataset = make(sequence(0, 20, broken=(4,)), interval=1)
        with pytest.warns(UserWarning, match="000004broken.png.*replaced") as record:
            first, again = epoch_of(dataset, 0), epoch_of(dataset, 0)
        assert len(record) == 1
        assert dataset.unreadable() == [Path("/data/000004broken.png")]
        assert first == again
        assert not any(4 in clip for clip in first)
        assert len(first) == 19
        whole = epoch_of(make(sequence(0, 20), interval=1), 0)
        assert [i for i, (a, b) in enumerate(zip(first, whole, strict=True)) if a != b] == [3, 4]

    def test_the_replacement_depends_on_seed_epoch_and_number_only(self):
        dataset, other = (make(Source([sequence(0, 20, broken=tuple(range(0, 20, 3)))], LIVELY)) for _ in range(2))
        with pytest.warns(UserWarning, match="broken"):
            clips = [dataset[ClipIndex(1, i)] for i in range(19)]
        with pytest.warns(UserWarning, match="broken"):
            others = [other[ClipIndex(1, i)] for i in reversed(range(19))]
        for a, b in zip(clips, reversed(others), strict=True):
            assert_same(a, b)

    def test_nothing_can_be_read(self):
        dataset = make(sequence(0, 30, broken=tuple(range(30))))
        with (
            pytest.warns(UserWarning, match="broken"),
            pytest.raises(UserError, match=f"^{MAX_REPLACEMENTS + 1} consecutive clips .*cannot read image [^\n]*$"),
        ):
            dataset[ClipIndex(0, 0)]


class TestSampler:
    def sampler(self, size=103, batch_size=1, **settings):
        return EpochSampler(lambda _epoch: size, batch_size=lambda _epoch: batch_size, **{"seed": 3, **settings})

    def test_one_rank_sees_every_clip(self):
        batches = list(self.sampler())
        assert sorted(number for [(_, number)] in batches) == list(range(103))

    def test_every_epoch_is_shuffled_differently(self):
        sampler = self.sampler()
        orders = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            orders.append([number for [(_, number)] in sampler])
            assert {e for [(e, _)] in sampler} == {epoch}
        assert orders[0] != orders[1] != orders[2] != orders[0]
        assert orders[0] != sorted(orders[0])
        sampler.set_epoch(1)
        assert [number for [(_, number)] in sampler] == orders[1]

    def test_ranks_share_an_epoch(self):
        ranks = [list(self.sampler(rank=rank, world_size=4, batch_size=3)) for rank in range(4)]
        assert [len(batches) for batches in ranks] == [8] * 4  # 103 clips, 12 a step
        seen = [number for batches in ranks for batch in batches for _, number in batch]
        assert len(seen) == len(set(seen)) == 96
        orders = [[batch[0].number for batch in batches] for batches in ranks]
        assert len({tuple(order) for order in orders}) == 4

    def test_the_clips_left_out_change_with_the_epoch(self):
        left = []
        for epoch in (0, 1):
            sampler = self.sampler(batch_size=10)
            sampler.set_epoch(epoch)
            left.append(set(range(103)) - {number for batch in sampler for _, number in batch})
        assert len(left[0]) == len(left[1]) == 3
        assert left[0] != left[1]

    def test_batches_of_all_ranks_equal_the_batches_of_one(self):
        whole = [{n for _, n in batch} for batch in self.sampler(batch_size=6)]
        ranks = [list(self.sampler(rank=rank, world_size=3, batch_size=2)) for rank in range(3)]
        assert [{n for batch in step for _, n in batch} for step in zip(*ranks, strict=True)] == whole

    def test_skip_continues_where_it_stopped(self):
        sampler = self.sampler(rank=1, world_size=2, batch_size=2)
        sampler.set_epoch(4)
        whole = list(sampler)
        sampler.skip(7)
        assert len(sampler) == len(whole) - 7
        assert list(sampler) == whole[7:]
        sampler.skip(1000)
        assert (len(sampler), list(sampler)) == (0, [])
        sampler.set_epoch(4)
        assert (len(sampler), list(sampler)) == (len(whole), whole)

    def test_too_few_clips(self):
        with pytest.raises(UserError, match=r"3 clips, fewer than the 4 .*\(2 × 2 clips\): lower training.batch_size"):
            len(self.sampler(3, world_size=2, batch_size=2))

    def test_the_batch_may_change_with_the_epoch(self):
        sampler = EpochSampler(lambda _epoch: 103, batch_size=lambda epoch: 10 - epoch, world_size=2, seed=3)
        assert (sampler.total(0), sampler.total(4)) == (5, 8)
        sampler.set_epoch(4)
        assert [len(batch) for batch in sampler] == [6] * 8

    def test_the_size_may_change_with_the_epoch(self):
        dataset = make(sequence(0, 9), lengths=(2, 5), steps=(1,))
        sampler = EpochSampler(dataset.size, seed=0)
        assert (sampler.total(0), sampler.total(1)) == (8, 5)
        sampler.set_epoch(1)
        assert sorted(n for [(_, n)] in sampler) == list(range(5))


class TestCollate:
    @pytest.mark.parametrize("sizes", [[(70, 90)], [(70, 90), (33, 128), (64, 32)], [(1, 1), (31, 65)]])
    def test_like_padding_normalised_images(self, sizes):
        rng = np.random.default_rng(0)
        clips = []
        for b, size in enumerate(sizes):
            images = tuple(rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(3))
            targets = tuple(
                FrameTargets(torch.arange(n) + 10 * b, torch.arange(n) % 2, torch.rand(n, 4)) for n in (2, 0, b)
            )
            clips.append(Clip(images, targets))
        batch = collate(clips)
        assert len(batch) == 3
        for t, (images, targets) in enumerate(zip(batch.frames, batch.targets, strict=True)):
            expected = ImageBatch.from_images([normalize(clip.images[t]) for clip in clips])
            assert torch.equal(images.pixels, expected.pixels)
            assert torch.equal(images.mask, expected.mask)
            for target, clip in zip(targets, clips, strict=True):
                for name in ("ids", "labels", "boxes"):
                    assert torch.equal(getattr(target, name), getattr(clip.targets[t], name))

    def test_every_level_of_every_channel(self):
        image = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2).repeat(2, axis=1)  # (256, 2, 3)
        pixels = collate([Clip((image,), (FrameTargets(*_no_targets()),))]).frames[0].pixels[0, :, :, :2]
        assert torch.equal(pixels, normalize(image))

    def test_images_that_are_views(self):
        whole = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        view = whole[5:40, 7:60]
        pixels = collate([Clip((view,), (FrameTargets(*_no_targets()),))]).frames[0].pixels
        assert torch.equal(pixels[0, :, :35, :53], normalize(view))

    def test_frames_of_a_clip_have_one_size(self):
        images = (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))
        with pytest.raises(ValueError, match="Clip"):
            Clip(images, (FrameTargets(*_no_targets()),) * 2)


def _no_targets():
    return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)


def lively(broken=()) -> ClipDataset:
    video = Source([sequence(0, 9, broken=broken, empty=(3, 4))], LIVELY, weight=1.5)
    stills = Source([sequence(n, 1, still=True) for n in (50, 60)], LIVELY)
    return make(video, stills, lengths=(2, 3), steps=(1,))


def flattened(loader, sampler, epochs=(0, 1)):
    """All tensors of some epochs, in order."""
    tensors = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        for batch in loader:
            for images, targets in zip(batch.frames, batch.targets, strict=True):
                tensors += [images.pixels, images.mask]
                tensors += [x for target in targets for x in (target.ids, target.labels, target.boxes)]
    return tensors


def assert_all_equal(a, b):
    assert len(a) == len(b) > 0
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Unsendable:
    """A batch that cannot be pickled."""

    def __init__(self, clips):
        pass

    def __reduce__(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def threads(_clips):
    return torch.get_num_threads(), cv2.getNumThreads()


@pytest.fixture
def no_collector():
    """Processes must not depend on when their owners are collected."""
    gc.disable()
    yield
    gc.enable()


class TestLoader:
    def load(self, workers, start_method=None, batch=2, **settings):
        dataset = lively()
        sampler = EpochSampler(dataset.size, seed=1, batch_size=lambda _epoch: batch)
        loader = ClipLoader(dataset, sampler, workers=workers, **settings)
        if start_method:
            loader.multiprocessing_context = start_method
        try:
            return flattened(loader, sampler)
        finally:
            loader.close()

    def test_any_number_of_workers_gives_the_same(self):
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)  # OpenCV's threads before the fork
        expected = self.load(0)
        for workers in (1, 2):
            assert_all_equal(self.load(workers), expected)

    @pytest.mark.slow
    def test_spawned_workers_give_the_same(self):
        assert_all_equal(self.load(2, "spawn"), self.load(0))

    def test_workers_end_when_the_loader_is_closed(self, no_collector):
        """Even if they were told to stop before, as a whole group of processes may be."""
        dataset = lively()
        loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=1), workers=2)
        batches = iter(loader)
        next(batches), next(batches)  # one of each worker: both have started
        workers, kept = multiprocessing.active_children(), loader._iterator  # as a circle of references keeps it
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker.pid, signal.SIGTERM)
        assert len(list(batches)) == dataset.size(0) - 2
        loader.close()
        assert kept is not None
        assert not multiprocessing.active_children()
        assert_all_equal(flattened(loader, loader.batch_sampler), self.load(0, batch=1))
        loader.close()
        assert not multiprocessing.active_children()

    def test_workers_that_could_be_started_end_though_others_could_not(self, monkeypatch, no_collector):
        dataset, start, begun = lively(), multiprocessing.Process.start, []

        def start_one(process):
            if begun:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            begun.append(process)
            start(process)

        monkeypatch.setattr(multiprocessing.Process, "start", start_one)
        loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=1), workers=2)
        with pytest.raises(OSError, match="Too many open files") as error:  # which refers to what has started
            next(iter(loader))
        loader.close()
        del error
        assert begun
        assert not multiprocessing.active_children()

    def test_a_worker_that_is_not_closed_obeys_its_parent_s_exit(self):
        """Python sends SIGTERM to workers that still run at its end, and waits for them."""
        dataset = lively()
        loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=1), workers=1)
        next(iter(loader))
        (worker,) = multiprocessing.active_children()
        with suppress(RuntimeError):  # PyTorch's handler of SIGCHLD reports the lost worker, sooner or later
            worker.terminate()
            worker.join(60)
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL
        loader._iterator = None  # else PyTorch complains about the lost worker

    def test_a_batch_that_cannot_be_sent_is_an_error(self, monkeypatch):
        """Such as one that finds shared memory full: it would be waited for for ever."""
        dataset = lively()
        loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=1), workers=1)
        loader.collate_fn = Unsendable
        with pytest.raises(OSError, match="No space left on device"):
            next(iter(loader))
        loader.close()

    def test_each_worker_has_one_thread(self):
        dataset = lively()
        loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=1), workers=1)
        loader.collate_fn = threads
        assert next(iter(loader)) == (1, 1)
        loader.close()

    @pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOMEM])
    def test_want_of_resources_is_no_fault_of_an_image(self, code, monkeypatch):
        def exhausted(*_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "open", exhausted)
        sources = [Source([sequence(0, 9)], PLAIN)]
        dataset = ClipDataset(sources, SamplingConfig(lengths=(2,), steps=()), seed=0, read=read_image)
        with pytest.raises(OSError, match=os.strerror(code)):
            dataset[ClipIndex(0, 0)]
        assert not dataset.unreadable()

    def test_continuing_in_the_middle_of_an_epoch(self):
        dataset = lively()
        sampler = EpochSampler(dataset.size, seed=1)
        loader = ClipLoader(dataset, sampler)
        sampler.set_epoch(1)
        whole = [batch.frames[0].pixels for batch in loader]
        resumed = EpochSampler(dataset.size, seed=1)
        resumed.set_epoch(1)
        resumed.skip(4)
        assert_all_equal([batch.frames[0].pixels for batch in ClipLoader(lively(), resumed)], whole[4:])

    def test_the_training_s_random_numbers_stay_untouched(self):
        torch.manual_seed(0)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        self.load(0)
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002

    @pytest.mark.filterwarnings("ignore:cannot read image")
    def test_unreadable_files_are_known_to_all_workers_and_their_parent(self):
        dataset = lively(broken=(5,))
        sampler = EpochSampler(dataset.size, seed=1)
        flattened(ClipLoader(dataset, sampler, workers=2), sampler)
        assert dataset.unreadable() == [Path("/data/000005broken.png")]

    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.filterwarnings("ignore:cannot read image")
    def test_giving_up_takes_one_line(self, workers):
        dataset = make(sequence(0, 9, broken=tuple(range(9))))
        with pytest.raises(UserError) as error:
            list(ClipLoader(dataset, EpochSampler(dataset.size, seed=0), workers=workers))
        assert str(error.value).startswith(f"{MAX_REPLACEMENTS + 1} consecutive clips")
        assert "\n" not in str(error.value)

    def test_a_pickled_dataset_is_a_few_arrays(self):
        boxes = tuple(FrameBoxes(np.array([1]), np.array([0]), np.zeros((1, 4), np.float32)) for _ in range(2000))
        files = tuple(Path(f"/data/dancetrack0001/img1/{n:08}.jpg") for n in range(2000))
        dataset = make(Sequence(name="long", frames=files, boxes=boxes, classes=("person",)))
        assert len(pickle.dumps(dataset)) < 2000 * 150
        copy = pickle.loads(pickle.dumps(lively()))
        assert_same(copy[ClipIndex(1, 5)], lively()[ClipIndex(1, 5)])
