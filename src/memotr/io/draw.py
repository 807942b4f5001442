"""Tracks drawn on a frame: boxes, labels and fading trails, one stable colour an identity.

supervision, whose annotators ``Tracks.to_supervision()`` feeds, has no trails that fade, and its anti-aliased labels
cost 18 ms for 30 objects; everything here together costs about 5 ms on a 1080p frame.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from memotr.tracks import Tracks

Color = tuple[int, int, int]  # RGB
Pixels = NDArray[np.uint8]
Area = tuple[int, int, int, int]  # left, top, width, height in pixels

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
SHIFT = 3  # OpenCV's fixed-point coordinates: lines move by eighths of a pixel
FAR = 1e6  # pixels; beyond this OpenCV's fixed-point numbers would overflow
TRAIL_OPACITY = 0.9  # of the newest end
QUARTER = np.linspace(0, np.pi / 2, 5)
ROUND_CORNERS = np.stack(  # (4, 5, 2) points of a unit circle, clockwise from its leftmost, a quarter for each corner
    [np.stack([-np.cos(QUARTER + k * np.pi / 2), -np.sin(QUARTER + k * np.pi / 2)], axis=1) for k in range(4)]
)
CORNER_CENTRES = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])  # where x and y of each corner stand in xyxy
INWARD = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])


@lru_cache(maxsize=256)
def track_color(track_id: int) -> Color:
    """RGB colour of an identity, the same in every video.

    Hues step by the golden ratio, which spreads any run of consecutive ids evenly over the colour circle; odd ids are
    darker, because 13 and 21 steps come almost back to the same hue. Hue and lightness are OKLCh's, where equal steps
    look equal: in HSV a third of the circle is much the same green.
    """
    hue = 2 * math.pi * ((track_id * GOLDEN_RATIO + 0.08) % 1.0)
    lightness = 0.64 if track_id % 2 else 0.78
    chroma = 0.20
    channels = _oklch_to_linear_rgb(lightness, chroma, hue)
    while min(channels) < 0 or max(channels) > 1:  # down to the most vivid colour of this hue that a screen can show
        chroma -= 0.005
        channels = _oklch_to_linear_rgb(lightness, chroma, hue)
    red, green, blue = (round(255 * _gamma(channel)) for channel in channels)
    return red, green, blue


def _oklch_to_linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """OKLab (Ottosson, 2020) in its polar form to linear sRGB; a channel outside [0, 1] cannot be shown."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(channel: float) -> float:
    return float(12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Style:
    """Sizes in pixels."""

    line: int
    corner: int
    trail: int
    font: int

    @classmethod
    def of(cls, image: Pixels) -> Style:
        """Sizes that look alike on a 240p gif and a 4K video: fractions of the frame's shorter side."""
        side = min(image.shape[:2])
        return cls(
            line=math.ceil(side / 430),
            corner=max(2, round(side / 150)),
            trail=max(2, round(side / 220)),
            font=max(10, round(side / 50)),
        )


@dataclass(frozen=True)
class _Fading:
    """How a trail looks by age in frames: thinner and more transparent the longer ago."""

    opacity: list[int]  # of 255
    thickness: list[int]  # pixels

    @classmethod
    def over(cls, length: int, thickness: int) -> _Fading:
        strength = np.linspace(1, 0, length + 1)
        return cls(
            opacity=np.round(255 * TRAIL_OPACITY * strength).astype(int).tolist(),
            thickness=np.maximum(1, np.round(thickness * (0.3 + 0.7 * strength))).astype(int).tolist(),
        )


@dataclass
class _Identity:
    """What drawing remembers of one track."""

    points: deque[tuple[int, float, float]]  # (frames drawn so far, x, y) of its foot, in pixels
    names_class: bool = field(default=False)  # its label names the class as well


@dataclass(frozen=True)
class _Label:
    """A rendered label, ready to be laid over a frame as ``frame * keep + ink``."""

    ink: NDArray[np.floating]  # (h, w, 3)
    keep: NDArray[np.floating]  # (h, w, 1) in [0, 1]


class Annotator:
    """Draws the tracks of successive frames of one video.

    However long the video, it keeps the trails of the last ``trail_length`` frames' identities, the labels of the last
    frame's, and nothing else.
    """

    def __init__(self, *, trail_length: int = 30) -> None:
        """Args: trail_length: frames over which a trail fades away; 0 draws none."""
        self.trail_length = trail_length
        self._drawn = 0
        self._identities: dict[int, _Identity] = {}
        self._labels: dict[tuple[str, int, int], _Label] = {}  # the last frame's, by words, identity and font size

    def annotate(self, image: Pixels, tracks: Tracks) -> Pixels:
        """A copy of the frame ((H, W, 3) uint8 RGB) with its tracks drawn on it, nearer objects over farther ones."""
        canvas = np.array(image, order="C")
        height, width = canvas.shape[:2]
        style = Style.of(canvas)
        self._remember(tracks)
        fading = _Fading.over(self.trail_length, style.trail)
        for track_id, identity in self._identities.items():
            self._draw_trail(canvas, identity, track_color(track_id), fading)

        x1, y1, x2, y2 = tracks.boxes.T
        tracks = tracks[(x2 > 0) & (y2 > 0) & (x1 < width) & (y1 < height)]  # NaN is outside, too
        tracks = tracks[np.argsort(tracks.boxes[:, 3], kind="stable")]  # the lower its foot, the nearer an object
        margin = style.corner + style.line  # so far outside the frame nothing shows of a box
        boxes = np.clip(tracks.boxes, -margin, np.array([width, height] * 2) + margin)
        for box, track_id in zip(boxes, tracks.ids.tolist(), strict=True):
            _draw_box(canvas, box, track_color(track_id), style)
        self._draw_labels(canvas, boxes, tracks, style)
        return canvas

    def _remember(self, tracks: Tracks) -> None:
        """Adds this frame's foot points and forgets the identities whose trails have faded away."""
        self._drawn += 1
        for track_id, (x1, _, x2, y2) in zip(tracks.ids.tolist(), tracks.boxes.tolist(), strict=True):
            if track_id not in self._identities:
                self._identities[track_id] = _Identity(deque(maxlen=self.trail_length + 1))
            self._identities[track_id].points.append((self._drawn, (x1 + x2) / 2, y2))
        oldest = self._drawn - self.trail_length
        self._identities = {i: known for i, known in self._identities.items() if known.points[-1][0] >= oldest}

    def _draw_trail(self, canvas: Pixels, identity: _Identity, color: Color, fading: _Fading) -> None:
        """The way of the foot point."""
        recent = [point for point in identity.points if self._drawn - point[0] <= self.trail_length]
        points = np.clip([(x, y) for _, x, y in recent], -FAR, FAR)  # (P, 2) pixels, oldest first
        if len(points) < 2 or np.isnan(points).any():
            return
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4  # a foot jumps at every step
        (left, top), (right, bottom) = _window(points, fading.thickness[0], canvas)
        if right <= left or bottom <= top:
            return
        corners = np.round((points - (left, top)) * (1 << SHIFT)).astype(int).tolist()
        # One mask for the whole trail: drawn one over the other, transparent segments would show their joints.
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for k in range(1, len(corners)):
            age = self._drawn - recent[k][0]
            opacity, thickness = fading.opacity[age], fading.thickness[age]
            cv2.line(mask, corners[k - 1], corners[k], opacity, thickness, cv2.LINE_AA, SHIFT)
        # By flat index: np.nonzero is several times as slow on two axes.
        where = np.divmod(np.flatnonzero(mask), right - left)
        alpha = mask[where][:, None].astype(np.uint16)  # (pixels of the trail, 1)
        window = canvas[top:bottom, left:right]
        window[where] = (window[where] * (255 - alpha) + np.array(color, np.uint16) * alpha + 127) // 255

    def _draw_labels(self, canvas: Pixels, boxes: NDArray[np.float32], tracks: Tracks, style: Style) -> None:
        """Labels over everything else, the nearest objects' with the first choice of place and on top."""
        before, self._labels = self._labels, {}
        labels = [
            self._label(before, track_id, name, box, style)
            for track_id, name, box in zip(tracks.ids.tolist(), tracks.names, boxes, strict=True)
        ]
        taken: list[Area] = []
        for box, label in zip(reversed(boxes), reversed(labels), strict=True):
            taken.append(_place(label.keep.shape[:2], box, canvas.shape[:2], taken))
        for (left, top, width, height), label in zip(reversed(taken), labels, strict=True):
            window = canvas[top : top + height, left : left + width]
            visible = slice(0, window.shape[0]), slice(0, window.shape[1])  # a tiny frame cuts its labels
            window[:] = window * label.keep[visible] + label.ink[visible]

    def _label(
        self,
        before: Mapping[tuple[str, int, int], _Label],
        track_id: int,
        name: str,
        box: NDArray[np.float32],
        style: Style,
    ) -> _Label:
        """Return identity and class where the box is wide enough for both, else the identity alone.

        Args:
            before: the labels of the frame before, most of which are drawn again.
            track_id: number of the identity.
            name: of its class.
            box: (4,) xyxy in pixels.
            style: of the frame.
        """

        def rendered(words: str) -> _Label:
            key = words, track_id, style.font
            self._labels[key] = before.get(key) or _render_label(words, track_color(track_id), style.font)
            return self._labels[key]

        identity = self._identities[track_id]
        full = rendered(f"{track_id} {name}")
        room = float(box[2] - box[0]) * (1.5 if identity.names_class else 1.2)  # two limits, or walking would flicker
        identity.names_class = full.keep.shape[1] <= room
        return full if identity.names_class else rendered(str(track_id))


def _window(points: NDArray[np.float64], margin: int, canvas: Pixels) -> tuple[tuple[int, int], tuple[int, int]]:
    """((left, top), (right, bottom)) of the part of the canvas that the points and a margin round them cover."""
    size = np.array(canvas.shape[1::-1])
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, size).astype(int).tolist()
    high = np.clip(np.ceil(points.max(axis=0)) + margin + 1, 0, size).astype(int).tolist()
    return (low[0], low[1]), (high[0], high[1])


def _draw_box(canvas: Pixels, box: NDArray[np.float32], color: Color, style: Style) -> None:
    """An outline with rounded corners."""
    radius = max(0.0, min(style.corner, float(box[2] - box[0]) / 3, float(box[3] - box[1]) / 3))
    centres = np.round(box)[CORNER_CENTRES] + INWARD * radius  # (4, 2)
    outline = centres[:, None] + ROUND_CORNERS * radius  # (4, 5, 2)
    fixed = np.round(outline.reshape(-1, 2) * (1 << SHIFT)).astype(np.int32)
    cv2.polylines(canvas, [fixed], True, color, style.line, cv2.LINE_AA, SHIFT)


def _place(size: tuple[int, int], box: NDArray[np.float32], frame: tuple[int, int], taken: list[Area]) -> Area:
    """Where a label of (height, width) goes: the first place at its box that is in the frame and free."""
    height, width = size
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    rightmost, lowest = max(0, frame[1] - width), max(0, frame[0] - height)
    fallback: Area | None = None
    for left, top in ((x1, y1 - height), (x2 - width, y1 - height), (x1, y1), (x2 - width, y1), (x1, y2)):
        if not 0 <= top <= lowest:
            continue
        area = (min(max(left, 0), rightmost), top, width, height)
        if not any(_overlap(area, other) for other in taken):
            return area
        fallback = fallback or area
    return fallback or (min(max(x1, 0), rightmost), min(max(y1, 0), lowest), width, height)


def _overlap(a: Area, b: Area) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _render_label(words: str, color: Color, font_size: int) -> _Label:
    """Dark or light text, whichever reads better, on a rounded plate of the track's colour."""
    font = ImageFont.load_default(font_size)
    padding = round(font_size * 0.32)
    size = math.ceil(font.getlength(words)) + 2 * padding, round(font_size * 1.3)
    plate = Image.new("L", (4 * size[0], 4 * size[1]))  # reduced afterwards: Pillow does not smooth its shapes
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, plate.width - 1, plate.height - 1), font_size * 1.1, fill=255)
    alpha = np.asarray(plate.reduce(4), np.float32)[..., None] / 255  # (h, w, 1)
    letters = Image.new("L", size)
    ImageDraw.Draw(letters).text((padding, size[1] / 2), words, fill=255, font=font, anchor="lm")
    ink = np.asarray(letters, np.float32)[..., None] / 255  # (h, w, 1)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    text = np.float32(20 if luminance > 120 else 255)
    return _Label(alpha * (np.array(color, np.float32) * (1 - ink) + text * ink), 1 - alpha)
