"""Drawing of a figure: a person in the troupe's costume, or a robot, with individual colours and proportions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.data.synth.skeleton import JOINT

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]

# BGR colours of hats, sashes and shoes, as different as possible.
ACCENTS: tuple[Color, ...] = (
    (40, 40, 230), (30, 140, 250), (40, 225, 250), (60, 190, 60), (200, 200, 30), (230, 110, 30),
    (220, 60, 150), (190, 80, 250), (245, 245, 245), (35, 35, 40), (40, 75, 120), (150, 230, 160),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (120, 120, 125), (150, 160, 175), (95, 75, 70), (80, 105, 85), (85, 85, 130), (130, 105, 85), (165, 140, 140),
    (70, 70, 80), (110, 135, 150),
)  # fmt: skip
SKINS: tuple[Color, ...] = ((160, 190, 235), (130, 165, 215), (85, 120, 175), (60, 85, 130))
OUTLINE: Color = (32, 28, 30)
SHIFT = 4
"""Number of fractional bits of OpenCV's drawing coordinates."""

HATS = ("cap", "top", "cone", "pompom")


@dataclass(frozen=True)
class Look:
    """Appearance of a figure. Colours are BGR. The figures of a troupe differ in hat, sash and shoes.

    Attributes:
        robot: True for a robot, False for a person.
        height: height relative to the troupe's average.
        girth: relative thickness of trunk and limbs, 1 on average.
        shirt: colour of the shirt, equal within a troupe except for its shade.
        trousers: colour of the trousers, equal within a troupe except for its shade.
        skin: colour of the skin, equal within a troupe.
        hair: colour of the hair, equal within a troupe.
        hat: individual colour of the hat.
        sash: individual colour of the sash.
        shoes: individual colour of the shoes.
        hat_kind: shape of the hat, one of ``HATS``.
        striped: True if the shirt has two stripes in the colour of the sash.
    """

    robot: bool
    height: float
    girth: float
    shirt: Color
    trousers: Color
    skin: Color
    hair: Color
    hat: Color
    sash: Color
    shoes: Color
    hat_kind: str
    striped: bool


@dataclass(frozen=True, eq=False)
class Sprite:
    """Image with a mask that is drawn over a picture.

    Attributes:
        image: (h, w, 3) uint8 BGR, 0 outside the mask.
        mask: (h, w) uint8, 255 where the image is drawn.
        left: x of its left edge in the picture, may lie outside.
        top: y of its top edge in the picture, may lie outside.
    """

    image: Pixels
    mask: Pixels
    left: int
    top: int


def draw_looks(rng: np.random.Generator, num: int, robots: int, likeness: float) -> list[Look]:
    """Draw random looks of a troupe: one costume, and no two hats of the same colour.

    Args:
        rng: random generator.
        num: number of figures.
        robots: number of robots, which come last.
        likeness: 0 (individual colours) to 1 (no individual colours).
    """
    shirt, trousers = (CLOTHES[k] for k in rng.choice(len(CLOTHES), 2, replace=False))
    skin, hair = SKINS[rng.integers(len(SKINS))], (40, 45, 60)
    hats = rng.permutation(len(ACCENTS))[:num]
    sashes = (hats + rng.integers(1, len(ACCENTS))) % len(ACCENTS)
    looks = []
    for k in range(num):
        hat, sash = (_mixed(ACCENTS[which], shirt, likeness) for which in (hats[k], sashes[k]))
        shades = rng.integers(-8, 9, (2, 3))
        looks.append(
            Look(
                k >= num - robots,
                rng.uniform(0.92, 1.08),
                rng.uniform(0.88, 1.14),
                _shaded(shirt, shades[0]),
                _shaded(trousers, shades[1]),
                skin,
                hair,
                hat,
                sash,
                hat,
                HATS[rng.integers(len(HATS))],
                bool(rng.random() < 0.35),
            )
        )
    return looks


def draw_figure(look: Look, joints: Floats, turn: float, x: float, y: float, height: float) -> Sprite:
    """Draw a figure with the middle of its feet at (x, y).

    Args:
        look: appearance of the figure.
        joints: (J, 3) joints of its skeleton, relative to its height.
        turn: rotation in radians; 0 faces the viewer.
        x: x of the feet in pixels of the picture.
        y: y of the feet in pixels of the picture.
        height: height of the figure in pixels.
    """
    margin = (0.28 if look.robot else 0.22) * height  # for the thickness of limbs, hat, trunk and outline
    flat = np.stack([joints[:, 0], -joints[:, 1]], axis=1) * height + (x, y)
    low = np.floor(flat.min(axis=0) - margin).astype(int)
    high = np.ceil(flat.max(axis=0) + margin).astype(int)
    wide, tall = (high - low).tolist()
    image = np.zeros((tall, wide, 3), np.uint8)
    pen = _Pen(image, flat - low, height, look, turn)
    (_robot if look.robot else _person)(pen, joints[:, 2])
    mask = cv2.threshold(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 0, 255, cv2.THRESH_BINARY)[1]
    return Sprite(image, np.asarray(mask, np.uint8), int(low[0]), int(low[1]))


class _Pen:
    """Pen for outlined parts of a figure. Positions are in pixels of its image, sizes relative to its height."""

    def __init__(self, image: Pixels, at: Floats, height: float, look: Look, turn: float) -> None:
        self.image, self.at, self.height, self.look = image, at, height, look
        self.facing, self.side = float(np.cos(turn)), float(np.sin(turn))
        self.edge = max(2, round(0.016 * height))

    def joint(self, name: str) -> Floats:
        """Return the position (2,) of a joint in pixels."""
        return np.asarray(self.at[JOINT[name]])

    def limb(self, points: list[Floats], color: Color, size: float) -> None:
        """Draw a thick line with round ends through the points."""
        thick = max(1, round(size * self.look.girth * self.height))
        line = _fixed(np.stack(points))
        cv2.polylines(self.image, [line], False, OUTLINE, thick + self.edge, cv2.LINE_8, SHIFT)
        cv2.polylines(self.image, [line], False, color, thick, cv2.LINE_8, SHIFT)

    def shape(self, points: Floats, color: Color, outline: bool = True) -> None:
        """Draw a filled convex polygon (n, 2)."""
        polygon = _fixed(points)
        if outline:
            cv2.polylines(self.image, [polygon], True, OUTLINE, self.edge, cv2.LINE_8, SHIFT)
        cv2.fillConvexPoly(self.image, polygon, color, cv2.LINE_8, SHIFT)

    def disc(self, centre: Floats, radius: float, color: Color, outline: bool = True) -> None:
        """Draw a filled circle."""
        x, y = _fixed(centre).tolist()
        reach = round(radius * self.height * (1 << SHIFT))
        if outline:
            cv2.circle(self.image, (x, y), reach + (self.edge << SHIFT) // 2, OUTLINE, -1, cv2.LINE_8, SHIFT)
        cv2.circle(self.image, (x, y), reach, color, -1, cv2.LINE_8, SHIFT)

    def box(self, centre: Floats, half_width: float, up: float, down: float) -> Floats:
        """Return the corners (4, 2) of an upright rectangle around a point."""
        h = self.height
        return centre + np.array([(-half_width, -up), (half_width, -up), (half_width, down), (-half_width, down)]) * h


def _person(pen: _Pen, depth: Floats) -> None:
    look = pen.look
    for side in sorted("lr", key=lambda s: depth[JOINT[f"foot_{s}"]]):
        hip, knee, foot = (pen.joint(f"{part}_{side}") for part in ("hip", "knee", "foot"))
        pen.limb([hip, knee, foot], look.trousers, 0.085)
        toe = np.array([0.05 * pen.side * pen.height, 0.0])
        pen.limb([foot - toe * 0.4, foot + toe], look.shoes, 0.065)
    order = sorted("lr", key=lambda s: depth[JOINT[f"hand_{s}"]])
    behind = [side for side in order if depth[JOINT[f"hand_{side}"]] < -0.02]
    for side in behind:
        _sleeve(pen, side)
    _trunk(pen)
    _head(pen)
    for side in order:
        if side not in behind:
            _sleeve(pen, side)


def _sleeve(pen: _Pen, side: str) -> None:
    shoulder, elbow, hand = (pen.joint(f"{part}_{side}") for part in ("shoulder", "elbow", "hand"))
    pen.limb([shoulder, elbow, hand], pen.look.shirt, 0.062)
    pen.disc(hand, 0.034, pen.look.skin)


def _trunk(pen: _Pen) -> None:
    look, h = pen.look, pen.height
    top, bottom = pen.joint("shoulder"), pen.joint("hip")
    wide = look.girth * (0.075 + 0.06 * abs(pen.facing))
    slim = wide * 0.82
    corners = np.array([(-wide, -0.03), (wide, -0.03)]) * h + top
    foot = np.array([(slim, 0.05), (-slim, 0.05)]) * h + bottom
    pen.shape(np.concatenate([corners, foot]), look.shirt)
    if look.striped:
        for share in (0.3, 0.55):
            pen.shape(pen.box(top + (bottom - top) * share, wide * 0.93, 0.018, 0.018), look.sash, outline=False)
    pen.shape(pen.box(bottom, slim * 1.08, 0.055, 0.04), look.sash)


def _head(pen: _Pen) -> None:
    look, h, radius = pen.look, pen.height, 0.088
    head = pen.joint("head")
    pen.disc(head, radius, look.hair)
    if pen.facing > -0.35:
        face = head + np.array([0.3 * radius * pen.side, 0.12 * radius]) * h
        pen.disc(face, radius * 0.82, look.skin, outline=False)
        for eye in (-0.35, 0.35):
            offset = np.array([(eye * pen.facing + 0.35 * pen.side) * radius, 0.05 * radius]) * h
            pen.disc(face + offset, radius * 0.14, OUTLINE, outline=False)
    _hat(pen, head - np.array([0.0, 0.35 * radius * h]), radius)


def _hat(pen: _Pen, at: Floats, radius: float) -> None:
    """Draw a hat on a head with its brow at ``at``."""
    color, h = pen.look.hat, pen.height
    if pen.look.hat_kind == "cap":
        pen.shape(at + np.array([(-1.05, 0), (-0.85, -0.75), (0, -1.05), (0.85, -0.75), (1.05, 0)]) * radius * h, color)
        peak = at + np.array([0.9 * pen.side * radius * h, 0.0])
        pen.shape(pen.box(peak, radius * 0.95, 0.01, 0.016), color)
    elif pen.look.hat_kind == "top":
        pen.shape(pen.box(at, radius * 0.85, radius * 1.35, 0), color)
        pen.shape(pen.box(at, radius * 1.4, 0.012, 0.014), color)
    elif pen.look.hat_kind == "cone":
        pen.shape(at + np.array([(-1.1, 0.1), (0, -1.75), (1.1, 0.1)]) * radius * h, color)
    else:
        pen.shape(at + np.array([(-1.1, 0.1), (-0.9, -0.7), (0, -1.0), (0.9, -0.7), (1.1, 0.1)]) * radius * h, color)
        pen.disc(at - np.array([0, 1.15 * radius * h]), radius * 0.38, color)


def _robot(pen: _Pen, depth: Floats) -> None:
    """Draw a box on wheels with a lamp on its square head."""
    look, h = pen.look, pen.height
    ground = (pen.joint("foot_l") + pen.joint("foot_r")) / 2
    ground[1] = pen.joint("hip")[1] + 0.40 * h
    top = pen.joint("shoulder")
    for side in "lr":
        shoulder, elbow, hand = (pen.joint(f"{part}_{side}") for part in ("shoulder", "elbow", "hand"))
        pen.limb([shoulder, elbow, hand], look.trousers, 0.04)
        pen.disc(hand, 0.04, look.shoes)
    for wheel in (-0.17, 0.0, 0.17):
        pen.disc(ground + np.array([wheel, 0.0]) * h, 0.055, look.trousers)
    middle = np.array([ground[0], (ground[1] + top[1]) / 2])
    half = (ground[1] - top[1]) / 2 / h
    pen.shape(pen.box(middle, 0.2 * look.girth, half, half - 0.03), look.shirt)
    pen.shape(pen.box(middle, 0.14 * look.girth, half * 0.45, half * 0.2), look.sash)
    head = pen.joint("head")
    pen.shape(pen.box(head, 0.11, 0.07, 0.075), look.shirt)
    if pen.facing > -0.35:
        pen.shape(pen.box(head + np.array([0.04 * pen.side * h, 0]), 0.07, 0.03, 0.03), OUTLINE, outline=False)
    pen.disc(head - np.array([0, 0.09 * h]), 0.045, look.hat)


def _fixed(points: Floats) -> NDArray[np.int32]:
    """Convert pixel coordinates to integers with ``SHIFT`` fractional bits."""
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def _mixed(color: Color, other: Color, share: float) -> Color:
    a, b, c = (round(x + (y - x) * share) for x, y in zip(color, other, strict=True))
    return a, b, c


def _shaded(color: Color, shade: NDArray[np.int64]) -> Color:
    a, b, c = np.clip(np.array(color) + shade, 25, 250).tolist()
    return a, b, c
