"""Resizing and normalisation of RGB frames for the network, the same for inference and training."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def target_size(height: int, width: int, short_side: int, longest_side: int) -> tuple[int, int]:
    """Return (height, width) in pixels, scaled so that the short side is ``short_side``.

    If the long side would exceed ``longest_side``, it becomes ``longest_side``. Both sides are truncated to integers.
    """
    scale = short_side / min(height, width)
    if max(height, width) * scale > longest_side:
        scale = longest_side / max(height, width)
    return max(1, int(height * scale)), max(1, int(width * scale))


def normalize(image: NDArray[np.uint8]) -> Tensor:
    """Normalise RGB (h, w, 3) uint8 to (3, h, w) float32 with the mean and standard deviation of ImageNet."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)  # (3, h, w)
    return pixels.float().div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])


def preprocess(image: NDArray[np.uint8], short_side: int = 800, longest_side: int = 1536) -> Tensor:
    """Resize (bilinear) and normalise an RGB frame (H, W, 3) uint8; return (3, h, w) float32."""
    h, w = image.shape[:2]
    height, width = target_size(h, w, short_side, longest_side)
    resized: NDArray[Any] = image if (h, w) == (height, width) else cv2.resize(image, (width, height))
    return normalize(resized)


def preprocess_on(
    device: torch.device, image: NDArray[np.uint8], short_side: int = 800, longest_side: int = 1536
) -> Tensor:
    """Preprocess a frame like :func:`preprocess`, but on the device and without waiting for the copy to finish.

    Pixels are those of :func:`preprocess` in every bit: the resize is OpenCV's, in integers, and each of the 256 values
    of a channel is normalised on the host.
    """
    h, w = image.shape[:2]
    frame = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if device.type == "cuda":
        frame = frame.pin_memory()
    levels = frame.to(device, non_blocking=True)  # (H, W, 3)
    size = target_size(h, w, short_side, longest_side)
    if (h, w) != size:
        levels = _resize(levels, size)
    offsets, normalized = _normalized_levels(device)
    return normalized[levels.permute(2, 0, 1) + offsets]


def _resize(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (H, W, 3) uint8 to (h, w, 3) int32 as cv2.resize does bilinearly: in fixed point."""
    left, right, *across = _taps(levels.device, levels.shape[1], size[1])
    top, bottom, *down = _taps(levels.device, levels.shape[0], size[0])
    rows = (levels.index_select(1, left) * across[0] + levels.index_select(1, right) * across[1]) >> 4
    upper = rows.index_select(0, top) * down[0][:, None]
    lower = rows.index_select(0, bottom) * down[1][:, None]
    return ((upper >> 16) + (lower >> 16) + 2) >> 2


@functools.lru_cache(maxsize=32)
def _taps(device: torch.device, before: int, after: int) -> tuple[Tensor, ...]:
    """Return the two old pixels (n,) that each new one mixes, and their weights (n, 1) int32, which sum to 2048."""
    centres = ((np.arange(after) + 0.5) * (1 / (after / before)) - 0.5).astype(np.float32)  # with OpenCV's rounding
    first = np.floor(centres)
    second_part = centres - first
    pixels = [np.clip(first + step, 0, before - 1).astype(np.int64) for step in (0, 1)]
    weights = [np.rint(part * np.float32(2048)).astype(np.int32)[:, None] for part in (1 - second_part, second_part)]
    return tuple(torch.from_numpy(array).to(device) for array in (*pixels, *weights))


@functools.cache
def _normalized_levels(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the place (3, 1, 1) of each channel in a table, and the table (768,) of its normalised levels."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    offsets = torch.arange(3, dtype=torch.int32, device=device)[:, None, None] * 256
    return offsets, normalize(levels).flatten().to(device)
