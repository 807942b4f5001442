"""SynthDance's pictures and their ground truth: boxes, visibility, identities, and motion that deceives."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.synthdance_difficulty import BASELINES, associate, perfect_detections, score
from memotr.data.datasets import DatasetSpec, load_split
from memotr.data.synth.choreography import Paths
from memotr.data.synth.dance_scene import FINER, MIN_VISIBLE, SCENERY_DEPTH, Scene, make_scene
from memotr.data.synth.figure_drawing import Sprite
from memotr.data.synth.settings import SynthSettings
from memotr.data.synth.writer import generate
from memotr.errors import UserError
from memotr.evaluation.ground_truth import load_ground_truth


def clean(scene: Scene) -> Scene:
    """Without noise, blur and scenery."""
    return replace(scene, noise=np.zeros_like(scene.noise), blur=np.zeros_like(scene.blur), scenery=[])


def only(scene: Scene, figures: list[int]) -> Scene:
    """Without the other figures; ids count those that stay."""
    paths = Paths(*(getattr(scene.paths, name)[:, figures] for name in Paths.__dataclass_fields__))
    looks = [scene.looks[k] for k in figures]
    return replace(scene, looks=looks, joints=scene.joints[:, figures], paths=paths)


def curtain(scene: Scene, left: int) -> Sprite:
    """Scenery that hides all of the stage's back to the right of ``left`` (in the finer picture)."""
    height, width = scene.size[0] * FINER, scene.size[1] * FINER - left
    return Sprite(np.full((height, width, 3), 99, np.uint8), np.full((height, width), 255, np.uint8), left, 0)


def drawn(picture: NDArray[np.uint8], empty: NDArray[np.uint8]) -> list[int]:
    """left, top, right, bottom of where two pictures differ."""
    rows, columns = np.nonzero((picture != empty).any(axis=2))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("classes", [1, 2])
def test_boxes_enclose_the_drawn_figures(classes: int) -> None:
    settings = SynthSettings(classes=classes, figures=(3, 3), frames=60)
    scene = clean(make_scene(settings, "train", 0))
    empty, cut = only(scene, []), 0
    for k in range(3):
        alone = only(scene, [k])
        for t in range(0, 60, 6):
            picture, annotations = alone.frame(t)
            for annotation in annotations:
                left, top, wide, tall = annotation.box
                box = [left, top, left + wide, top + tall]
                np.testing.assert_allclose(box, drawn(picture, empty.frame(t)[0]), atol=0.51)
                cut += annotation.visibility < 1
                assert annotation.label == scene.looks[k].robot
    assert cut, "no figure reaches out of the picture"


@pytest.mark.parametrize("classes", [1, 2])
def test_figures_are_drawn_whole(classes: int) -> None:
    scene = make_scene(SynthSettings(classes=classes, figures=(12, 12), frames=60), "train", 0)
    for t in range(0, 60, 4):
        for k in range(12):
            mask = scene.sprite(t, k).mask
            assert mask.any()
            assert not any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def test_boxes_are_whole_where_others_hide_a_figure() -> None:
    scene = clean(make_scene(SynthSettings(figures=(8, 8), frames=60), "train", 3))
    hidden = 0
    for t in range(0, 60, 5):
        alone = {k + 1: only(scene, [k]).frame(t)[1] for k in range(8)}
        for found in scene.frame(t)[1]:
            (whole,) = alone[found.id]
            assert found.box == whole.box
            assert MIN_VISIBLE <= found.visibility <= whole.visibility
            hidden += found.visibility < 0.7 * whole.visibility
    assert hidden > 3


def test_invisible_figures_are_not_annotated() -> None:
    scene = clean(make_scene(SynthSettings(figures=(6, 6), frames=30), "train", 1))
    behind = scene.paths.depth[0] <= SCENERY_DEPTH
    assert 0 < behind.sum() < 6
    seen = {found.id for found in scene.frame(0)[1]}
    found = replace(scene, scenery=[curtain(scene, 0)]).frame(0)[1]
    assert {each.id for each in found} == seen - set((np.flatnonzero(behind) + 1).tolist())


def test_visibility_is_the_share_that_is_seen() -> None:
    scene = only(clean(make_scene(SynthSettings(figures=(6, 6), frames=30), "train", 1)), [0])
    scene.paths.depth[:], scene.paths.x[:] = 0, 0
    sprite = scene.sprite(0, 0)
    left, top, wide, _ = cv2.boundingRect(sprite.mask)
    for share in (0.4, 0.6, 0.9):
        columns = left + round(share * wide)
        expected = cv2.countNonZero(sprite.mask[:, :columns]) / cv2.countNonZero(sprite.mask)
        found = replace(scene, scenery=[curtain(scene, sprite.left + columns + scene.camera[0, 0])]).frame(0)[1]
        if expected < MIN_VISIBLE:
            assert not found
        else:
            assert found[0].visibility == pytest.approx(expected)
            assert found[0].box[:2] == ((sprite.left + left) / FINER, (sprite.top + top) / FINER)


def test_an_id_is_one_figure_before_and_after_its_exit() -> None:
    """Its hat is in its box whenever it is seen well; no two hats are alike."""
    returned = 0
    for index in range(3):
        scene = clean(make_scene(SynthSettings(figures=(5, 5), frames=100), "train", index))
        assert len({look.hat for look in scene.looks}) == 5
        edge = scene.size[1] / scene.size[0] / 2
        outside = np.abs(scene.paths.x - scene.camera[:, :1] / scene.size[0] / FINER) > edge + 0.25
        seen = np.zeros((100, 5), bool)
        for t in range(100):
            picture, annotations = scene.frame(t)
            for found in annotations:
                seen[t, found.id - 1] = True
                left, top, wide, tall = (round(value) for value in found.box)
                crop = picture[top : top + tall, left : left + wide].astype(int)
                hat = np.array(scene.looks[found.id - 1].hat)
                assert found.visibility < 0.9 or (np.abs(crop - hat).max(axis=2) <= 2).sum() >= 3
        assert not (seen & outside).any()
        away = [np.flatnonzero(column) for column in outside.T]
        returned += sum(len(t) > 0 and seen[t[-1] :, k].any() and seen[: t[0], k].any() for k, t in enumerate(away))
    assert returned >= 2


def test_any_size_shape_and_number() -> None:
    for size, figures in (((64, 64), 1), ((240, 426), 12), ((96, 384), 12)):
        scene = make_scene(SynthSettings(size=size, figures=(figures, figures), frames=4, classes=2), "any", 0)
        picture, annotations = scene.frame(3)
        assert (picture.shape, picture.dtype) == ((*size, 3), np.uint8)
        assert 0 < len(annotations) <= figures


def test_sequences_differ_and_splits_do() -> None:
    settings = SynthSettings(frames=2, size=(64, 96))
    pictures = [make_scene(settings, split, k).frame(0)[0] for split in ("train", "val", "test") for k in range(3)]
    pictures.append(make_scene(replace(settings, seed=1), "train", 0).frame(0)[0])
    assert len({picture.tobytes() for picture in pictures}) == 10


def test_motion_alone_does_not_suffice(tmp_path: Path) -> None:
    """Small pictures suffice: how figures move does not depend on the size."""
    generate(tmp_path, SynthSettings(splits={"test": 3}, size=(64, 107)), workers=1)
    sequences, truth = load_split(DatasetSpec(tmp_path, "test")), load_ground_truth(tmp_path, split="test")
    clips = perfect_detections(sequences)
    for name, make in BASELINES.items():
        linked = {clip: list(associate(frames, make(frame_rate=20))) for clip, frames in clips.items()}
        scores = score(linked, truth)
        assert scores["AssA"] < 0.6 < 0.8 < scores["DetA"], name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"splits": {}}, "name at least one"),
        ({"splits": {"train": 0}}, "at least one sequence"),
        ({"splits": {"../up": 1}}, "no valid folder name"),
        ({"frames": 1}, "frames 1"),
        ({"size": (32, 320)}, "size 320×32"),
        ({"size": (64, 640)}, "size 640×64"),
        ({"figures": (3, 2)}, "figures 3-2"),
        ({"figures": (2, 13)}, "from 1 to 12"),
        ({"classes": 3}, "classes 3"),
        ({"difficulty": "mad"}, "choose from standard, easy"),
    ],
)
def test_settings_refused(changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SynthSettings(**changed)
