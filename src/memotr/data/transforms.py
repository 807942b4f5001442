"""Clip augmentation: random transforms, drawn once per clip and applied to every frame.

Images are RGB (H, W, 3) uint8; boxes are xyxy in pixels of their image, which covers 0…W and 0…H. Every transform has a
method ``apply(image, truth)``, which transforms both and keeps ids and labels with their boxes. Resizing is bilinear
without antialiasing, as at inference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from memotr.config import AugmentationConfig
from memotr.data.sequences import FrameBoxes
from memotr.structures import FrameTargets

Image: TypeAlias = NDArray[Any]  # uint8; the type stubs of OpenCV are not more precise

HUES = 180  # OpenCV keeps the hue of a uint8 image in half degrees


@dataclass(frozen=True)
class Flip:
    """Horizontal flip."""

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Flip an image and its boxes."""
        boxes = truth.boxes[:, [2, 1, 0, 3]]  # (G, 4)
        boxes[:, [0, 2]] = image.shape[1] - boxes[:, [0, 2]]
        return cv2.flip(image, 1), replace(truth, boxes=boxes)


@dataclass(frozen=True)
class Resize:
    """Resize to a height and a width in pixels."""

    height: int
    width: int

    @classmethod
    def to_short_side(cls, size: tuple[int, int], short_side: int, longest_side: int | None = None) -> Resize:
        """Return the resize of a (height, width) image to ``short_side``, or to ``longest_side`` if that is smaller.

        As in DETR, both sides are truncated to whole pixels, not rounded.
        """
        short, long = min(size), max(size)
        if longest_side is not None and long * short_side > longest_side * short:
            short_side = longest_side * short // long
            if short_side == 0:  # a very narrow image: DETR's rule gives an empty one
                return cls(*(min(side, longest_side) for side in size))
        height, width = (side * short_side // short for side in size)
        return cls(height, width)

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Resize an image and its boxes."""
        height, width = image.shape[:2]
        if (height, width) == (self.height, self.width):
            return image, truth
        scale = np.array([self.width / width, self.height / height] * 2)
        boxes = (truth.boxes * scale).astype(np.float32)  # (G, 4)
        return cv2.resize(image, (self.width, self.height)), replace(truth, boxes=boxes)


@dataclass(frozen=True)
class Crop:
    """Crop to a region of the image; boxes entirely outside it are dropped.

    Attributes:
        left, top, width, height: region in pixels, within the image.
        overflow: keep boxes that extend beyond the region as they are; otherwise clip them to it.
    """

    left: int
    top: int
    width: int
    height: int
    overflow: bool = False

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Crop an image, and keep the boxes that overlap the region."""
        region = image[self.top : self.top + self.height, self.left : self.left + self.width]
        moved = truth.boxes - np.array([self.left, self.top] * 2, np.float32)  # (G, 4)
        inside = np.clip(moved, 0, np.array([self.width, self.height] * 2, np.float32))  # (G, 4)
        keep = (inside[:, 2:] > inside[:, :2]).all(axis=1)  # (G,)
        boxes = moved if self.overflow else inside
        return region, FrameBoxes(truth.ids[keep], truth.labels[keep], boxes[keep])


@dataclass(frozen=True)
class Recolor:
    """Shift of hue (half degrees, wrapping around), saturation and value (clipped to 0 … 255)."""

    hue: int
    saturation: int
    value: int

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Change the colours of an image."""
        if (self.hue, self.saturation, self.value) == (0, 0, 0):
            return image, truth  # converting to HSV and back would change pixels slightly
        levels = np.arange(256)
        tables = (
            (levels + self.hue) % HUES,
            np.clip(levels + self.saturation, 0, 255),
            np.clip(levels + self.value, 0, 255),
        )
        planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
        shifted = [cv2.LUT(plane, table.astype(np.uint8)) for plane, table in zip(planes, tables, strict=True)]
        return cv2.cvtColor(cv2.merge(shifted), cv2.COLOR_HSV2RGB), truth


@dataclass(frozen=True)
class Shift:
    """Shift between consecutive frames of a clip made from a still image: crop, then resize to the full size.

    Attributes:
        x, y: number of pixels cropped at the right (bottom) if positive, at the left (top) if negative; less than the
            width (height) of the image.
    """

    x: int
    y: int

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Shift an image and its boxes."""
        height, width = image.shape[:2]
        region = Crop(max(0, -self.x), max(0, -self.y), width - abs(self.x), height - abs(self.y))
        return Resize(height, width).apply(*region.apply(image, truth))

    def clip(self, image: Image, truth: FrameBoxes, length: int) -> list[tuple[Image, FrameBoxes]]:
        """Return a clip of ``length`` frames: the still image, then each frame shifted from the previous one."""
        frames = [(image, truth)]
        while len(frames) < length:
            frames.append(self.apply(*frames[-1]))
        return frames


@dataclass(frozen=True)
class ClipDraw:
    """Augmentation of one clip, drawn at random.

    Attributes:
        steps: transforms of every frame, in order.
        reverse: True if the caller must reverse the order of the frames.
    """

    steps: tuple[Flip | Resize | Crop | Recolor, ...]
    reverse: bool = False

    def apply(self, image: Image, truth: FrameBoxes) -> tuple[Image, FrameBoxes]:
        """Apply all steps to an image and its boxes."""
        for step in self.steps:
            image, truth = step.apply(image, truth)
        return image, truth


class ClipAugmentation:
    """Random generator of clip augmentations."""

    def __init__(self, settings: AugmentationConfig) -> None:
        self.settings = settings

    def draw(self, rng: np.random.Generator, size: tuple[int, int], still: bool = False) -> ClipDraw:
        """Draw the augmentation of a clip.

        Args:
            rng: random generator.
            size: (height, width) of the frames in pixels.
            still: the clip is made from a still image.
        """
        settings = self.settings
        steps: list[Flip | Resize | Crop | Recolor] = []
        if rng.random() < settings.flip:
            steps.append(Flip())
        cropped = size
        if rng.random() < settings.crop:
            larger = Resize.to_short_side(size, int(rng.choice(settings.crop_short_sides)))
            crop = self._draw_crop(rng, larger)
            steps += [larger, crop]
            cropped = crop.height, crop.width
        steps.append(Resize.to_short_side(cropped, int(rng.choice(settings.short_sides)), settings.longest_side))
        steps.append(self._draw_color(rng))
        reverse = rng.random() < (settings.still_reverse if still else settings.reverse)
        return ClipDraw(tuple(steps), reverse)

    def draw_shift(self, rng: np.random.Generator, size: tuple[int, int]) -> Shift:
        """Draw the shift between frames of a clip made from a still image of (height, width) pixels."""
        y, x = (
            int(rng.integers(1, limit + 1) * rng.choice((-1, 1))) if limit else 0
            for limit in (min(self.settings.still_shift, side - 1) for side in size)
        )
        return Shift(x, y)

    def _draw_crop(self, rng: np.random.Generator, image: Resize) -> Crop:
        """Draw a crop of random size and position; a side shorter than the smallest crop is not cropped."""
        low, high = self.settings.crop_min_size, self.settings.crop_max_size
        width, height = (
            int(rng.integers(low, min(side, high) + 1)) if side > low else side for side in (image.width, image.height)
        )
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        return Crop(left, top, width, height, self.settings.overflow_boxes)

    def _draw_color(self, rng: np.random.Generator) -> Recolor:
        limits = np.array(self.settings.hsv)
        shifts = rng.uniform(-limits, limits) * rng.integers(0, 2, 3)  # (3,)
        hue, saturation, value = shifts.astype(int).tolist()
        return Recolor(hue, saturation, value)


def make_targets(truth: FrameBoxes, size: tuple[int, int]) -> FrameTargets:
    """Convert ground truth to training targets: cxcywh relative to an image of (height, width) pixels.

    Boxes entirely outside the image or without area are dropped, because no prediction can match them.
    """
    height, width = size
    unit = np.array([width, height] * 2)
    boxes = truth.boxes / unit  # (G, 4) xyxy
    inside = np.clip(boxes, 0, 1)
    keep = (inside[:, 2:] > inside[:, :2]).all(axis=1)  # (G,)
    low, high = boxes[keep, :2], boxes[keep, 2:]
    centred = np.concatenate([(low + high) / 2, high - low], axis=1)  # (G, 4) cxcywh
    return FrameTargets(
        torch.from_numpy(truth.ids[keep]), torch.from_numpy(truth.labels[keep]), torch.from_numpy(centred).float()
    )
