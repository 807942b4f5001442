"""Resizing and normalisation of RGB frames for the network, the same for inference and training."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def target_size(height: int, width: int, short_side: int, longest_side: int) -> tuple[int, int]:
    """Return height and width with the short side at ``short_side``, unless the long one exceeds ``longest_side``."""
    scale = short_side / min(height, width)
    if max(height, width) * scale > longest_side:
        scale = longest_side / max(height, width)
    return max(1, int(height * scale)), max(1, int(width * scale))


def normalize(image: NDArray[np.uint8]) -> Tensor:
    """Normalise RGB (h, w, 3) uint8 to (3, h, w) float32 with ImageNet's mean and standard deviation."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # (3, h, w)
    return pixels.float().div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])


def preprocess(image: NDArray[np.uint8], short_side: int = 800, longest_side: int = 1536) -> Tensor:
    """Resize (bilinear) and normalise an RGB frame (H, W, 3) uint8: (3, h, w) float32."""
    h, w = image.shape[:2]
    height, width = target_size(h, w, short_side, longest_side)
    resized: NDArray[Any] = image if (h, w) == (height, width) else cv2.resize(image, (width, height))
    return normalize(resized)


def preprocess_on(
    device: torch.device, image: NDArray[np.uint8], short_side: int = 800, longest_side: int = 1536
) -> Tensor:
    """Preprocess a frame on the device, without waiting for its copy to arrive there.

    Pixels differ from :func:`preprocess` by less than one step of 8 bits, because the resize rounds differently.
    """
    h, w = image.shape[:2]
    frame = torch.from_numpy(np.ascontiguousarray(image))
    if device.type == "cuda":
        frame = frame.pin_memory()
    pixels = frame.to(device, non_blocking=True).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    size = target_size(h, w, short_side, longest_side)
    if (h, w) != size:
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False).round_()
    mean, std = (_on(device, values) for values in (MEAN, STD))
    return pixels[0].div_(255).sub_(mean).div_(std)


@functools.cache
def _on(device: torch.device, values: tuple[float, ...]) -> Tensor:
    """Return values (3, 1, 1), copied to the device once."""
    return torch.tensor(values, device=device)[:, None, None]
