"""Drawing of walls, floors and lights behind the figures, and of scenery in front of some of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.data.synth.figure_drawing import Sprite

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

HORIZON = 0.58
"""y of the edge between wall and floor, in frame heights from the top."""
WALLS = ("patches", "stripes", "bricks", "panels", "audience")
FLOORS = ("planks", "tiles", "plain")


@dataclass(frozen=True, eq=False)
class Light:
    """Moving coloured spot.

    Attributes:
        glow: (d, d, 3) uint8, added to the picture.
        path: (T, 2) x, y of its centre in pixels.
    """

    glow: Pixels
    path: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Background:
    """Background of a sequence.

    Attributes:
        wall: image of the wall, wider and higher than its part of the picture.
        floor: image of the floor, likewise.
        scroll: (T,) shift of the wall in pixels, in addition to that of the camera.
        lights: moving spots on wall and floor.
    """

    wall: Pixels
    floor: Pixels
    scroll: NDArray[np.int64]
    lights: tuple[Light, ...]

    def picture(self, frame: int, size: tuple[int, int], shift: tuple[int, int]) -> Pixels:
        """Return the background (H, W, 3) BGR of a frame.

        Args:
            frame: number of the frame, from 0.
            size: (height, width) in pixels.
            shift: camera motion to the right and down, in pixels.
        """
        height, width = size
        picture = np.empty((height, width, 3), np.uint8)
        left = (self.wall.shape[1] - width) // 2 + shift[0]
        horizon = len(self.wall) - (len(self.wall) + len(self.floor) - height) // 2 - shift[1]
        wall_left = int(np.clip(left + self.scroll[frame], 0, self.wall.shape[1] - width))
        picture[:horizon] = self.wall[len(self.wall) - horizon :, wall_left : wall_left + width]
        picture[horizon:] = self.floor[: height - horizon, left : left + width]
        for light in self.lights:
            _add(picture, light.glow, light.path[frame] - shift)
        return picture


def draw_background(rng: np.random.Generator, size: tuple[int, int], frames: int, margin: int) -> Background:
    """Draw a random wall, floor and lights.

    Args:
        rng: random generator.
        size: (height, width) of the picture in pixels.
        frames: number of frames of the sequence.
        margin: largest camera motion in pixels.
    """
    height, width = size
    moving = rng.random() < 0.4
    reach = int(rng.uniform(0.1, 0.4) * height) if moving else 0
    phase = rng.uniform(0, 2 * np.pi) + rng.uniform(0.02, 0.08) * np.arange(frames)
    scroll = np.round(reach * np.sin(phase)).astype(np.int64)
    across = width + 2 * (margin + height // 2)
    wall = _wall(rng, round(HORIZON * height) + margin, across, height)
    floor = _floor(rng, height - round(HORIZON * height) + margin, across, height)
    lights = tuple(_light(rng, size, frames) for _ in range(rng.integers(0, 3)))
    return Background(wall, floor, scroll, lights)


def draw_scenery(rng: np.random.Generator, x: int, ground: int, unit: int) -> Sprite:
    """Draw a random occluder that stands at (x, ground) in pixels; ``unit`` is the frame height."""
    kind = rng.choice(["pillar", "plant", "crates", "screen"])
    wide, tall = (rng.uniform(0.16, 0.24), rng.uniform(0.34, 0.46))
    if kind == "pillar":
        wide, tall = rng.uniform(0.12, 0.17), ground / unit
    w, h = round(wide * unit), round(tall * unit)
    image = np.zeros((h, w, 3), np.uint8)
    _PIECES[str(kind)](rng, image)
    mask = (image.max(axis=2) > 0).astype(np.uint8) * 255
    return Sprite(image, mask, x - w // 2, ground - h)


def _tone(rng: np.random.Generator, low: int, high: int, spread: int) -> tuple[int, int, int]:
    """Draw a random greyish colour."""
    a, b, c = np.clip(rng.integers(low, high) + rng.integers(-spread, spread + 1, 3), 12, 250).tolist()
    return a, b, c


def _wall(rng: np.random.Generator, height: int, width: int, unit: int) -> Pixels:
    """Draw a random wall; ``unit`` is the frame height in pixels."""
    base = np.array(_tone(rng, 60, 190, 30))
    kind = rng.choice(WALLS)
    wall = np.empty((height, width, 3), np.uint8)
    wall[:] = base
    if kind == "patches":
        coarse = np.clip(base + rng.integers(-32, 33, (height // 40 + 2, width // 40 + 2, 3)), 10, 245)
        wall = np.asarray(cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR))
    elif kind == "stripes":
        step = int(rng.uniform(0.05, 0.2) * unit)
        for left in range(0, width, 2 * step):
            wall[:, left : left + step] = np.clip(base + 25, 0, 255)
    elif kind == "bricks":
        _bricks(wall, np.clip(base - 30, 0, 255).tolist(), int(rng.uniform(0.06, 0.1) * unit))
    elif kind == "panels":
        step = int(rng.uniform(0.2, 0.45) * unit)
        for left in range(0, width, step):
            cv2.rectangle(wall, (left + 6, 10), (left + step - 6, height - 14), _tone(rng, 50, 190, 25), -1)
    else:
        _audience(rng, wall, unit)
    return wall


def _bricks(wall: Pixels, line: list[int], step: int) -> None:
    """Draw bricks of height ``step`` with joints in the colour ``line``."""
    height, width = wall.shape[:2]
    for row, top in enumerate(range(0, height, step)):
        cv2.line(wall, (0, top), (width, top), line, 2)
        for left in range(-step * (row % 2), width, 2 * step):
            cv2.line(wall, (left, top), (left, top + step), line, 2)


def _audience(rng: np.random.Generator, wall: Pixels, unit: int) -> None:
    """Draw rows of people in dim light."""
    height, width = wall.shape[:2]
    wall[:] = (wall * 0.5).astype(np.uint8)
    radius = round(0.03 * unit)
    for row, top in enumerate(range(height - 5 * radius, height + radius, 2 * radius)):
        for left in range(-(row % 2) * radius, width + radius, round(2.6 * radius)):
            color = _tone(rng, 35, 110, 22)
            centre = (left + int(rng.integers(-4, 5)), top + int(rng.integers(-4, 5)))
            cv2.circle(wall, centre, radius, color, -1)
            cv2.circle(wall, (centre[0], centre[1] + 2 * radius), round(1.3 * radius), color, -1)


def _floor(rng: np.random.Generator, height: int, width: int, unit: int) -> Pixels:
    """Draw a random floor; ``unit`` is the frame height in pixels."""
    base = np.array(_tone(rng, 70, 180, 25))
    fade = np.linspace(0.8, 1.1, height)[:, None, None]
    floor = np.repeat(np.clip(base * fade, 0, 255), width, axis=1).astype(np.uint8)
    kind = rng.choice(FLOORS)
    step = int(rng.uniform(0.1, 0.25) * unit)
    if kind == "planks":
        for k, left in enumerate(range(0, width, step)):
            floor[:, left : left + step] = np.clip(floor[:, left : left + step] + (k % 3 - 1.0) * 7, 0, 255)
    elif kind == "tiles":
        for row, top in enumerate(range(0, height, step // 2)):
            for left in range(step * (row % 2), width, 2 * step):
                tile = floor[top : top + step // 2, left : left + step]
                tile[:] = (tile * 0.86).astype(np.uint8)
    return floor


def _light(rng: np.random.Generator, size: tuple[int, int], frames: int) -> Light:
    """Draw a random spot that moves over a picture of (height, width) pixels."""
    height, width = size
    radius = int(rng.uniform(0.15, 0.3) * height)
    falloff = np.linspace(-1, 1, 2 * radius) ** 2
    strength = np.clip(1 - falloff[:, None] - falloff[None], 0, 1)
    glow = (strength[..., None] * rng.integers(15, 55, 3)).astype(np.uint8)
    t = np.arange(frames)[:, None]
    wave = np.sin(rng.uniform(0, 6.28, 2) + rng.uniform(0.02, 0.1, 2) * t)
    path = np.round((0.5 + 0.5 * wave) * (width, height)).astype(np.int64)
    return Light(glow, path)


def _add(picture: Pixels, glow: Pixels, centre: NDArray[np.int64]) -> None:
    """Add a spot to the picture, as far as it lies inside."""
    left, top = (centre - len(glow) // 2).tolist()
    y, x = slice(max(0, top), max(0, top + len(glow))), slice(max(0, left), max(0, left + len(glow)))
    part = picture[y, x]
    if part.size:
        begin = max(0, -top), max(0, -left)
        cv2.add(part, glow[begin[0] : begin[0] + part.shape[0], begin[1] : begin[1] + part.shape[1]], dst=part)


def _pillar(rng: np.random.Generator, image: Pixels) -> None:
    shade = 1 - 0.45 * np.abs(np.linspace(-0.8, 1, image.shape[1]))[:, None]
    image[:] = np.clip(np.array(_tone(rng, 110, 200, 25)) * shade, 12, 255).astype(np.uint8)


def _plant(rng: np.random.Generator, image: Pixels) -> None:
    h, w = image.shape[:2]
    for _ in range(45):
        centre = int(rng.uniform(0.18, 0.82) * w), int(rng.uniform(0.12, 0.7) * h)
        green = (30 + int(rng.integers(30)), 80 + int(rng.integers(70)), 30 + int(rng.integers(40)))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(image, centre, (max(2, w // 5), max(2, w // 10)), angle, 0, 360, green, -1)
    pot = np.array([(0.22, 0.7), (0.78, 0.7), (0.68, 1.0), (0.32, 1.0)]) * (w, h)
    cv2.fillConvexPoly(image, pot.astype(np.int32), (50, 80, 140))


def _crates(rng: np.random.Generator, image: Pixels) -> None:
    h, w = image.shape[:2]
    color = _tone(rng, 80, 150, 30)
    dark = tuple(c // 2 for c in color)
    for top in range(h % (h // 3), h, h // 3):
        cv2.rectangle(image, (0, top), (w - 1, top + h // 3 - 1), color, -1)
        cv2.rectangle(image, (2, top + 2), (w - 3, top + h // 3 - 3), dark, 3)
        cv2.line(image, (2, top + 2), (w - 3, top + h // 3 - 3), dark, 3)


def _screen(rng: np.random.Generator, image: Pixels) -> None:
    h, w = image.shape[:2]
    color = np.array(_tone(rng, 90, 200, 40))
    folds = 0.85 + 0.15 * np.sin(np.arange(w) * 2 * np.pi * 4 / w)
    image[:] = np.clip(color * folds[:, None], 12, 255).astype(np.uint8)
    cv2.rectangle(image, (0, 0), (w - 1, h - 1), (40, 40, 45), 3)


_PIECES = {"pillar": _pillar, "plant": _plant, "crates": _crates, "screen": _screen}
