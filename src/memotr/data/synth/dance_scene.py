"""Scene of one sequence: drawing of its frames, and their ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.data.synth.background import Background, draw_background, draw_scenery
from memotr.data.synth.choreography import Paths, Stage, choreograph
from memotr.data.synth.figure_drawing import Look, Sprite, draw_figure, draw_looks
from memotr.data.synth.settings import DIFFICULTIES, Difficulty, SynthSettings
from memotr.data.synth.skeleton import Dance, joints

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Window = tuple[slice, slice]  # rows, columns

FINER = 2
"""Scale at which everything is drawn, before it is reduced to the size of the frame."""
MIN_VISIBLE = 0.25
"""Visible share below which figures are not annotated."""
BACK, FRONT = 0.64, 0.95
"""y of the feet at the back and the front of the stage, in frame heights from the top."""
FAR, NEAR = 0.86, 1.12
"""Relative size of figures at the back and the front of the stage."""
SCENERY_DEPTH = 0.55
"""Depth of the scenery on the stage, from 0 (back) to 1 (front)."""
SCENERY = 255
"""Value of scenery in the visibility map."""


@dataclass(frozen=True)
class Annotation:
    """Annotation of a figure in a frame.

    Attributes:
        id: id from 1, the same throughout the sequence.
        label: class from 0.
        box: left, top, width, height in pixels of the figure's part inside the picture, occluded or not.
        visibility: share of its pixels that are neither occluded nor outside the picture.
    """

    id: int
    label: int
    box: tuple[float, float, float, float]
    visibility: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Sequence whose frames can be drawn in any order.

    Attributes:
        size: (height, width) of the frames in pixels.
        height: height of an average figure in frame heights.
        looks: appearance of the N figures.
        paths: paths of the N figures.
        joints: (T, N, J, 3) joints of the figures, see :func:`memotr.data.synth.skeleton.joints`.
        background: background of all frames.
        scenery: occluders in front of the figures that are further back than ``SCENERY_DEPTH``.
        camera: (T, 2) camera motion to the right and down, in pixels of the finer picture.
        blur: (T,) standard deviation of the blur in pixels.
        noise: (H', W', 3) int16 noise image, larger than a frame; each frame uses another crop.
        shuffles: (T, 2) top and left of the crop of the noise.
    """

    size: tuple[int, int]
    height: float
    looks: list[Look]
    paths: Paths
    joints: Floats
    background: Background
    scenery: list[Sprite]
    camera: NDArray[np.int64]
    blur: Floats
    noise: NDArray[np.int16]
    shuffles: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.camera)

    def frame(self, t: int) -> tuple[Pixels, list[Annotation]]:
        """Draw a frame.

        Args:
            t: number of the frame, from 0.

        Returns:
            The picture (H, W, 3) uint8 BGR, and its ground truth sorted by id.
        """
        height, width = self.size[0] * FINER, self.size[1] * FINER
        shift = int(self.camera[t, 0]), int(self.camera[t, 1])
        picture = self.background.picture(t, (height, width), shift)
        visible = np.zeros((height, width), np.uint8)  # number of the figure that is visible at each pixel
        figures: dict[int, Sprite] = {}
        scenery_missing = bool(self.scenery)
        for k in np.argsort(self.paths.depth[t], kind="stable").tolist():  # from the back to the front
            if scenery_missing and self.paths.depth[t, k] > SCENERY_DEPTH:
                self._draw_scenery(picture, visible, shift)
                scenery_missing = False
            figures[k] = self.sprite(t, k)
            _draw_over(picture, visible, figures[k], k + 1)
        if scenery_missing:
            self._draw_scenery(picture, visible, shift)
        annotations = [self._annotation(k, figures[k], visible) for k in sorted(figures)]
        return self._finish(picture, t), [found for found in annotations if found is not None]

    def sprite(self, t: int, k: int) -> Sprite:
        """Draw figure k of frame t, in pixels of the finer picture."""
        unit = self.size[0] * FINER
        depth = self.paths.depth[t, k]
        scale = (FAR + (NEAR - FAR) * depth) * self.height * self.looks[k].height
        x = self.size[1] * FINER / 2 + self.paths.x[t, k] * unit - self.camera[t, 0]
        y = (BACK + (FRONT - BACK) * depth - self.paths.hop[t, k]) * unit - self.camera[t, 1]
        return draw_figure(self.looks[k], self.joints[t, k], self.paths.turn[t, k], x, y, scale * unit)

    def _draw_scenery(self, picture: Pixels, visible: Pixels, shift: tuple[int, int]) -> None:
        for piece in self.scenery:
            moved = Sprite(piece.image, piece.mask, piece.left - shift[0], piece.top - shift[1])
            _draw_over(picture, visible, moved, SCENERY)

    def _annotation(self, k: int, sprite: Sprite, visible: Pixels) -> Annotation | None:
        """Return the annotation of a figure, or None if too little of it is visible."""
        place = _overlap(sprite, visible.shape)
        if place is None:
            return None
        in_sprite, in_picture = place
        mask = sprite.mask[in_sprite]
        visibility = int(np.count_nonzero(visible[in_picture] == k + 1)) / cv2.countNonZero(sprite.mask)
        if visibility < MIN_VISIBLE:
            return None
        left, top, wide, tall = cv2.boundingRect(mask)
        left, top = left + in_picture[1].start, top + in_picture[0].start
        box = left / FINER, top / FINER, wide / FINER, tall / FINER
        return Annotation(k + 1, int(self.looks[k].robot), box, visibility)

    def _finish(self, picture: Pixels, t: int) -> Pixels:
        """Return the picture at its final size, with blur and noise."""
        height, width = self.size
        image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        if self.blur[t] > 0.2:
            image = cv2.GaussianBlur(image, (3, 3), float(self.blur[t]))
        top, left = self.shuffles[t].tolist()
        grain = self.noise[top : top + height, left : left + width]
        return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), np.uint8)


def make_scene(settings: SynthSettings, split: str, index: int) -> Scene:
    """Return the scene of sequence ``index`` of a split, which does not depend on other sequences."""
    rng = np.random.default_rng([settings.seed, crc32(split.encode()), index])
    difficulty, frames = DIFFICULTIES[settings.difficulty], settings.frames
    num = _draw_number(rng, *settings.figures)
    unit = settings.size[0] * FINER
    height = float(np.interp(num, [2, 12], [0.46, 0.34]) * rng.uniform(0.94, 1.06))
    scenery, hideouts = _scenery(rng, settings, difficulty, unit)
    stage = Stage(settings.size[1] / settings.size[0] / 2, difficulty.pan, hideouts, 0.42 * height)
    paths = choreograph(rng, num, frames, stage, difficulty)
    robots = num // 3 if settings.classes > 1 else 0
    looks = draw_looks(rng, num, robots, difficulty.likeness)
    margin = round(difficulty.pan * unit) + 8
    background = draw_background(rng, (unit, settings.size[1] * FINER), frames, margin)
    return Scene(
        settings.size, height, looks, paths, joints(paths, Dance.draw(rng)), background, scenery,
        _camera(rng, frames, difficulty.pan, unit), _focus(rng, frames, difficulty.blur),
        *_noise(rng, settings, difficulty.noise),
    )  # fmt: skip


def _draw_number(rng: np.random.Generator, fewest: int, most: int) -> int:
    """Draw the number of figures; small numbers are more likely."""
    low, high = fewest - 0.5, most + 0.5
    drawn = rng.triangular(low, low + 0.3 * (high - low), high)
    return int(np.clip(np.round(drawn), fewest, most))


def _scenery(
    rng: np.random.Generator, settings: SynthSettings, difficulty: Difficulty, unit: int
) -> tuple[list[Sprite], tuple[float, ...]]:
    """Draw random occluders, and return them with their x in frame heights from the middle."""
    half = settings.size[1] / settings.size[0] / 2
    spots = rng.permutation(np.linspace(-0.7, 0.7, 4) * half)[: rng.integers(0, difficulty.scenery + 1)]
    spots = spots + rng.uniform(-0.1, 0.1, len(spots))
    ground = round((BACK + (FRONT - BACK) * SCENERY_DEPTH) * unit)
    pieces = [draw_scenery(rng, round((half + x) * unit), ground, unit) for x in spots.tolist()]
    return pieces, tuple(spots.tolist())


def _camera(rng: np.random.Generator, frames: int, pan: float, unit: int) -> NDArray[np.int64]:
    """Draw a random camera motion (T, 2) in pixels, see :class:`Scene`."""
    t = np.arange(frames)
    reach = rng.uniform(0, pan) * (rng.random() < 0.6)
    across = reach * np.sin(rng.uniform(0, 6.28) + rng.uniform(0.02, 0.09) * t)
    down = min(0.02, reach * 0.1) * np.sin(rng.uniform(0, 6.28) + rng.uniform(0.05, 0.2) * t)
    return np.round(np.stack([across, down], axis=1) * unit).astype(np.int64)


def _focus(rng: np.random.Generator, frames: int, blur: float) -> Floats:
    """Draw random standard deviations (T,) of the blur in pixels."""
    most = rng.uniform(0, blur)
    return np.asarray(most * np.sin(rng.uniform(0, 6.28) + 0.05 * np.arange(frames)) ** 2)


def _noise(
    rng: np.random.Generator, settings: SynthSettings, noise: float
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Draw a noise image and its crops, see :class:`Scene`."""
    spare = 48
    shape = settings.size[0] + spare, settings.size[1] + spare, 3
    grain = np.round(rng.standard_normal(shape, np.float32) * rng.uniform(0.3, 1) * noise).astype(np.int16)
    return grain, rng.integers(0, spare, (settings.frames, 2))


def _draw_over(picture: Pixels, visible: Pixels, sprite: Sprite, number: int) -> None:
    """Draw a sprite over the picture, and its number over the visibility map."""
    place = _overlap(sprite, visible.shape)
    if place is not None:
        in_sprite, in_picture = place
        mask = sprite.mask[in_sprite]
        cv2.copyTo(sprite.image[in_sprite], mask, picture[in_picture])
        visible[in_picture][mask > 0] = number


def _overlap(sprite: Sprite, shape: tuple[int, ...]) -> tuple[Window, Window] | None:
    """Return the overlap of a sprite and a picture in the coordinates of each, or None if they do not overlap."""
    y1, x1 = max(sprite.top, 0), max(sprite.left, 0)
    y2, x2 = min(sprite.top + sprite.mask.shape[0], shape[0]), min(sprite.left + sprite.mask.shape[1], shape[1])
    if y1 >= y2 or x1 >= x2:
        return None
    in_sprite = slice(y1 - sprite.top, y2 - sprite.top), slice(x1 - sprite.left, x2 - sprite.left)
    return in_sprite, (slice(y1, y2), slice(x1, x2))
