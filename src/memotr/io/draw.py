"""Drawing of tracks on frames: boxes, labels and fading trails, with a stable colour for each identity.

The annotators of supervision are not used: they draw no fading trails, and their anti-aliased labels take 18 ms for 30
objects; everything here takes about 5 ms on a 1080p frame.
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

from memotr.errors import wrong_type
from memotr.io.arrays import check_frame
from memotr.tracks import Tracks

Color = tuple[int, int, int]  # RGB
Pixels = NDArray[np.uint8]
Area = tuple[int, int, int, int]  # left, top, width, height in pixels

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
SHIFT = 3  # OpenCV's fixed-point coordinates: lines move by eighths of a pixel
FAR = 1e6  # pixels; beyond this OpenCV's fixed-point numbers would overflow
TRAIL_OPACITY = 0.9  # at the newest end
QUARTER = np.linspace(0, np.pi / 2, 5)
ROUND_CORNERS = np.stack(  # (4, 5, 2) points of a unit circle, clockwise from its leftmost, a quarter for each corner
    [np.stack([-np.cos(QUARTER + k * np.pi / 2), -np.sin(QUARTER + k * np.pi / 2)], axis=1) for k in range(4)]
)
CORNER_CENTRES = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])  # columns of x and y of each corner in xyxy
INWARD = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])


@lru_cache(maxsize=256)
def track_color(track_id: int) -> Color:
    """Return the RGB colour of a track id, the same in every video.

    Hues step by the golden ratio, which spreads any run of consecutive ids evenly over the colour circle; odd ids are
    darker, because 13 and 21 steps lead back to almost the same hue. Hue and lightness are those of OKLCh, where equal
    steps look equal; in HSV a third of the circle looks like the same green.
    """
    hue = 2 * math.pi * ((track_id * GOLDEN_RATIO + 0.08) % 1.0)
    lightness = 0.64 if track_id % 2 else 0.78
    chroma = 0.20
    channels = _oklch_to_linear_rgb(lightness, chroma, hue)
    while min(channels) < 0 or max(channels) > 1:  # until the colour is in the gamut of sRGB
        chroma -= 0.005
        channels = _oklch_to_linear_rgb(lightness, chroma, hue)
    red, green, blue = (round(255 * _gamma(channel)) for channel in channels)
    return red, green, blue


def _oklch_to_linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Convert polar OKLab (Ottosson, 2020) to linear sRGB; a channel outside [0, 1] cannot be displayed."""
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
    """Line width, corner radius, trail width and font size in pixels."""

    line: int
    corner: int
    trail: int
    font: int

    @classmethod
    def of(cls, image: Pixels) -> Style:
        """Return sizes as fractions of the frame's shorter side, so that they look alike from 240p to 4K."""
        side = min(image.shape[:2])
        return cls(
            line=math.ceil(side / 430),
            corner=max(2, round(side / 150)),
            trail=max(2, round(side / 220)),
            font=max(10, round(side / 50)),
        )


@dataclass(frozen=True)
class _Fading:
    """Opacity and thickness of a trail by age in frames; older parts are thinner and more transparent."""

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
    """Drawing state of one track."""

    points: deque[tuple[int, float, float]]  # (number of the drawn frame, x, y) of the foot point, in pixels
    names_class: bool = field(default=False)  # the label shows the class, too


@dataclass(frozen=True)
class _Label:
    """Rendered label, which is blended into a frame as ``frame * keep + ink``."""

    ink: NDArray[np.floating]  # (h, w, 3)
    keep: NDArray[np.floating]  # (h, w, 1) in [0, 1]


class Annotator:
    """Annotator that draws the tracks in successive frames of one video.

    Memory does not grow with the length of the video: only the trails of the last ``trail_length`` frames and the
    labels of the last frame are kept.

    Args:
        trail_length: number of frames over which a trail fades; 0 draws no trails.

    Raises:
        ValueError: the number is negative.
    """

    def __init__(self, *, trail_length: int = 30) -> None:
        if trail_length < 0:
            raise ValueError(f"trail_length is {trail_length}; 0 draws no trails")
        self.trail_length = trail_length
        self._drawn = 0
        self._size: tuple[int, int] | None = None  # (width, height) of the last frame
        self._identities: dict[int, _Identity] = {}
        self._labels: dict[tuple[str, int, int], _Label] = {}  # of the last frame, by text, identity and font size

    def annotate(self, image: Pixels, tracks: Tracks) -> Pixels:
        """Return a copy of a frame ((H, W, 3) uint8 RGB) with its tracks, nearer objects over farther ones.

        Raises:
            ValueError: the frame has another shape or type.
            TypeError: the tracks are no :class:`memotr.Tracks`.
        """
        canvas = np.array(check_frame(image), order="C")
        if not isinstance(tracks, Tracks):
            raise wrong_type("Tracks", tracks)
        height, width = canvas.shape[:2]
        style = Style.of(canvas)
        self._scale_trails(width, height)
        self._remember(tracks)
        fading = _Fading.over(self.trail_length, style.trail)
        for track_id, identity in self._identities.items():
            self._draw_trail(canvas, identity, track_color(track_id), fading)

        x1, y1, x2, y2 = tracks.boxes.T
        tracks = tracks[(x2 > 0) & (y2 > 0) & (x1 < width) & (y1 < height)]  # NaN is outside, too
        tracks = tracks[np.argsort(tracks.boxes[:, 3], kind="stable")]  # objects with a lower bottom edge are nearer
        margin = style.corner + style.line  # lines this far outside the frame are not visible
        boxes = np.clip(tracks.boxes, -margin, np.array([width, height] * 2) + margin)
        for box, track_id in zip(boxes, tracks.ids.tolist(), strict=True):
            _draw_box(canvas, box, track_color(track_id), style)
        self._draw_labels(canvas, boxes, tracks, style)
        return canvas

    def _scale_trails(self, width: int, height: int) -> None:
        """Scale the foot points of earlier frames if this one has another size, as in joined segments."""
        before, self._size = self._size or (width, height), (width, height)
        if before == self._size:
            return
        x_scale, y_scale = width / before[0], height / before[1]
        for identity in self._identities.values():
            scaled = [(drawn, x * x_scale, y * y_scale) for drawn, x, y in identity.points]
            identity.points = deque(scaled, identity.points.maxlen)

    def _remember(self, tracks: Tracks) -> None:
        """Add the foot points of this frame and forget identities whose trails have faded."""
        self._drawn += 1
        for track_id, (x1, _, x2, y2) in zip(tracks.ids.tolist(), tracks.boxes.tolist(), strict=True):
            if track_id not in self._identities:
                self._identities[track_id] = _Identity(deque(maxlen=self.trail_length + 1))
            self._identities[track_id].points.append((self._drawn, (x1 + x2) / 2, y2))
        oldest = self._drawn - self.trail_length
        self._identities = {i: identity for i, identity in self._identities.items() if identity.points[-1][0] >= oldest}

    def _draw_trail(self, canvas: Pixels, identity: _Identity, color: Color, fading: _Fading) -> None:
        """Draw the trail of a foot point."""
        recent = [point for point in identity.points if self._drawn - point[0] <= self.trail_length]
        points = np.clip([(x, y) for _, x, y in recent], -FAR, FAR)  # (P, 2) pixels, oldest first
        if len(points) < 2 or np.isnan(points).any():
            return
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4  # smooths jumps from frame to frame
        (left, top), (right, bottom) = _window(points, fading.thickness[0], canvas)
        if right <= left or bottom <= top:
            return
        corners = np.round((points - (left, top)) * (1 << SHIFT)).astype(int).tolist()
        # One mask for the whole trail, because overlapping transparent segments would show their joints.
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for k in range(1, len(corners)):
            age = self._drawn - recent[k][0]
            opacity, thickness = fading.opacity[age], fading.thickness[age]
            cv2.line(mask, corners[k - 1], corners[k], opacity, thickness, cv2.LINE_AA, SHIFT)
        # By flat index: np.nonzero is several times slower on two axes.
        where = np.divmod(np.flatnonzero(mask), right - left)
        alpha = mask[where][:, None].astype(np.uint16)  # (pixels of the trail, 1)
        window = canvas[top:bottom, left:right]
        window[where] = (window[where] * (255 - alpha) + np.array(color, np.uint16) * alpha + 127) // 255

    def _draw_labels(self, canvas: Pixels, boxes: NDArray[np.float32], tracks: Tracks, style: Style) -> None:
        """Draw the labels over the boxes; those of the nearest objects are placed first and drawn last."""
        before, self._labels = self._labels, {}
        labels = [
            self._label(before, track_id, name, box, style)
            for track_id, name, box in zip(tracks.ids.tolist(), tracks.names, boxes, strict=True)
        ]
        heads, taken = [_head(box) for box in boxes], list[Area]()
        for box, label in zip(reversed(boxes), reversed(labels), strict=True):
            taken.append(_place(label.keep.shape[:2], box, canvas.shape[:2], taken, heads))
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
        """Return a label with identity and class if the box is wide enough, otherwise with the identity only.

        Args:
            before: labels of the previous frame, most of which are reused.
            track_id: number of the identity.
            name: name of its class.
            box: (4,) xyxy in pixels.
            style: style of the frame.
        """

        def rendered(words: str) -> _Label:
            key = words, track_id, style.font
            self._labels[key] = before.get(key) or _render_label(words, track_color(track_id), style.font)
            return self._labels[key]

        identity = self._identities[track_id]
        full = rendered(f"{track_id} {name}")
        room = float(box[2] - box[0]) * (
            1.5 if identity.names_class else 1.2
        )  # two limits prevent flicker while a person walks
        identity.names_class = full.keep.shape[1] <= room
        return full if identity.names_class else rendered(str(track_id))


def _window(points: NDArray[np.float64], margin: int, canvas: Pixels) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ((left, top), (right, bottom)) of the part of the canvas around the points, with a margin."""
    size = np.array(canvas.shape[1::-1])
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, size).astype(int).tolist()
    high = np.clip(np.ceil(points.max(axis=0)) + margin + 1, 0, size).astype(int).tolist()
    return (low[0], low[1]), (high[0], high[1])


def _draw_box(canvas: Pixels, box: NDArray[np.float32], color: Color, style: Style) -> None:
    """Draw the outline of a box with rounded corners."""
    radius = max(0.0, min(style.corner, float(box[2] - box[0]) / 3, float(box[3] - box[1]) / 3))
    centres = np.round(box)[CORNER_CENTRES] + INWARD * radius  # (4, 2)
    outline = centres[:, None] + ROUND_CORNERS * radius  # (4, 5, 2)
    fixed = np.round(outline.reshape(-1, 2) * (1 << SHIFT)).astype(np.int32)
    cv2.polylines(canvas, [fixed], True, color, style.line, cv2.LINE_AA, SHIFT)


def _head(box: NDArray[np.float32]) -> Area:
    """Return the area of a box where a person's head usually is: the middle half of the top fifth."""
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    return (3 * x1 + x2) // 4, y1, (x2 - x1) // 2, (y2 - y1) // 5


def _place(
    size: tuple[int, int], box: NDArray[np.float32], frame: tuple[int, int], taken: list[Area], heads: list[Area]
) -> Area:
    """Return the area inside the frame for a label of (height, width) at a corner of its box.

    Prefer the first area that covers neither another label nor a head, then the first that covers no other label.
    """
    height, width = size
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    rightmost, lowest = max(0, frame[1] - width), max(0, frame[0] - height)
    corners = (x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2), (x1, y1), (x2 - width, y1)
    areas = [(min(max(left, 0), rightmost), top, width, height) for left, top in corners if 0 <= top <= lowest]
    free = [area for area in areas if not any(_overlap(area, other) for other in taken)]
    best = [area for area in free if not any(_overlap(area, head) for head in heads)]
    return next(iter(best + free + areas), (min(max(x1, 0), rightmost), min(max(y1, 0), lowest), width, height))


def _overlap(a: Area, b: Area) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _render_label(words: str, color: Color, font_size: int) -> _Label:
    """Render dark or light text, whichever is more readable, on a rounded plate in the track's colour."""
    font = ImageFont.load_default(font_size)
    padding = round(font_size * 0.32)
    size = math.ceil(font.getlength(words)) + 2 * padding, round(font_size * 1.3)
    plate = Image.new("L", (4 * size[0], 4 * size[1]))  # reduced afterwards, because Pillow does not anti-alias shapes
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, plate.width - 1, plate.height - 1), font_size * 1.1, fill=255)
    alpha = np.asarray(plate.reduce(4), np.float32)[..., None] / 255  # (h, w, 1)
    letters = Image.new("L", size)
    ImageDraw.Draw(letters).text((padding, size[1] / 2), words, fill=255, font=font, anchor="lm")
    ink = np.asarray(letters, np.float32)[..., None] / 255  # (h, w, 1)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    text = np.float32(20 if luminance > 120 else 255)
    return _Label(alpha * (np.array(color, np.float32) * (1 - ink) + text * ink), 1 - alpha)
