"""Frames of another size than their sequence: `data check`, training, figures and evaluation refuse them alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memotr.config import AugmentationConfig, SamplingConfig
from memotr.data.clips import ClipDataset, ClipIndex, ClipLoader, EpochSampler, Source
from memotr.data.dataset_check import check
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from memotr.evaluation.tracking import track_sequences
from memotr.training.figure import ShownClip
from tests.data.layouts import Scene, read_dataset, write_image, write_sequence
from tests.evaluation.test_eval import Sizes

AUGMENTATION = AugmentationConfig(short_sides=(96,), flip=1, crop=1, crop_short_sides=(96,), crop_min_size=64)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """The last image of a sequence, which is half as large as the others."""
    write_sequence(tmp_path / "a", Scene(length=3))
    file = tmp_path / "a" / "img1" / "000003.jpg"
    write_image(file, Scene(size=(48, 80)).image(0))
    return file


def clips(sequence: Sequence) -> ClipDataset:
    return ClipDataset([Source([sequence], AUGMENTATION)], SamplingConfig(lengths=(3,), steps=(), interval=1), seed=0)


def load(sequence: Sequence, workers: int) -> None:
    dataset = clips(sequence)
    loader = ClipLoader(dataset, EpochSampler(dataset.size, seed=0), workers=workers)
    try:
        next(iter(loader))
    finally:
        loader.close()


USES = {
    "training": lambda sequence: load(sequence, 0),
    "training in a worker": lambda sequence: load(sequence, 1),
    "training, size unknown": lambda sequence: load(replace(sequence, size=None), 0),
    "figure": lambda sequence: ShownClip.choose(sequence, interval=1),
    "figure, size unknown": lambda sequence: ShownClip.choose(replace(sequence, size=None), interval=1),
    "evaluation": lambda sequence: track_sequences(
        Sizes(), [sequence], sequence.frames[0].parents[2] / "out", MOT_RESULTS
    ),
}


@pytest.mark.parametrize("use", USES)
def test_training_and_evaluation_refuse_sizes_that_the_check_refuses(odd: Path, use: str) -> None:
    (problem,) = check(odd.parents[2]).problems.errors
    assert str(problem).startswith(
        f"{odd}: is 80×48, but its sequence is 160×96, and its boxes may be in pixels of either"
    )
    (sequence,) = read_dataset(odd.parents[2])
    with pytest.raises(UserError) as error:
        USES[use](sequence)
    assert str(error.value) == str(problem)
    assert not (odd.parents[2] / "out" / "a.txt").exists()


def test_a_sequence_of_another_size_than_declared(tmp_path: Path) -> None:
    """Such as COCO video whose images were made smaller: its boxes still count the pixels of the JSON file."""
    write_sequence(tmp_path / "a", Scene(length=3))
    (sequence,) = read_dataset(tmp_path)
    with pytest.raises(UserError, match=r"000001\.jpg: is 160×96, but its sequence is 320×192"):
        clips(replace(sequence, size=(192, 320)))[ClipIndex(0, 0)]


def test_sequences_may_differ_in_size(tmp_path: Path) -> None:
    sizes = [(96, 160), (48, 80), (72, 72)]
    for k, size in enumerate(sizes):
        write_sequence(tmp_path / f"s{k}", Scene(length=4, size=size))
    dataset = ClipDataset(
        [Source(read_dataset(tmp_path), AUGMENTATION)], SamplingConfig(lengths=(2,), steps=(), interval=1), seed=0
    )
    assert len([dataset[ClipIndex(0, k)] for k in range(dataset.size(0))]) == 9


def test_frames_of_one_size_keep_their_boxes(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a", scene := Scene(length=3))
    (sequence,) = read_dataset(tmp_path)
    plain = AUGMENTATION.model_copy(update={"flip": 0.0, "crop": 0.0, "hsv": (0, 0, 0), "reverse": 0.0})
    dataset = ClipDataset([Source([sequence], plain)], SamplingConfig(lengths=(3,), steps=(), interval=1), seed=0)
    clip = dataset[ClipIndex(0, 0)]
    for frame, target in enumerate(clip.targets):
        expected = [[(x + w / 2) / 160, (y + h / 2) / 96, w / 160, h / 96] for _, _, x, y, w, h in scene.boxes(frame)]
        np.testing.assert_allclose(target.boxes.numpy(), expected, atol=1e-6)


def test_sequences_may_have_sizes_of_their_own(tmp_path: Path) -> None:
    sizes = {"a": (48, 80), "b": (96, 160), "c": (64, 96)}
    for name, size in sizes.items():
        write_sequence(tmp_path / name, Scene(length=2, size=size))
    sequences = [replace(each, size=sizes[each.name]) for each in read_dataset(tmp_path)]
    plain = AUGMENTATION.model_copy(update={"crop": 0.0})
    dataset = ClipDataset([Source(sequences, plain)], SamplingConfig(lengths=(1,), steps=(), interval=1), seed=0)
    shapes = {dataset[ClipIndex(0, number)].images[0].shape[:2] for number in range(dataset.size(0))}
    assert dataset.size(0) == 6
    assert shapes == {(96, 160), (96, 144)}
