"""Layout of the feature levels: positions, masks and pixel centres of all levels, flattened and concatenated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from memotr.models.layers import sine_embedding
from memotr.structures import ImageBatch

Shapes = tuple[tuple[int, int], ...]
"""(H_l, W_l) of every level."""


@dataclass(frozen=True, eq=False)
class Levels:
    """Layout of L feature maps, each flattened row by row and concatenated to S positions.

    It depends on the sizes of the images, not on their content.

    Attributes:
        positions: (B, S, C) sine position embedding plus level embedding.
        mask: (B, S) bool, True on padding; None without padding.
        shapes: (H_l, W_l) of every level.
        valid_ratios: (B, L, 2) share of every level's width and height that is not padding.
        centres: (B, S, L, 2) centre of every position, xy in [0, 1] of each padded level.
        pixel: (L, 2) width and height of one pixel of every level, in [0, 1] of the padded level.
    """

    positions: Tensor
    mask: Tensor | None
    shapes: Shapes
    valid_ratios: Tensor
    centres: Tensor
    pixel: Tensor

    def repeat(self, times: int) -> Levels:
        """Return the layout of ``times`` batches of these images, one after the other."""
        return replace(
            self,
            positions=repeat_batch(self.positions, times),
            mask=None if self.mask is None else repeat_batch(self.mask, times),
            valid_ratios=repeat_batch(self.valid_ratios, times),
            centres=repeat_batch(self.centres, times),
        )

    def split(self, times: int) -> list[Levels]:
        """Return the layouts of ``times`` equal parts of the batch."""
        masks = [None] * times if self.mask is None else self.mask.chunk(times)
        parts = (x.chunk(times) for x in (self.positions, self.valid_ratios, self.centres))
        return [Levels(p, m, self.shapes, r, c, self.pixel) for m, p, r, c in zip(masks, *parts, strict=True)]


def repeat_batch(x: Tensor, times: int) -> Tensor:
    """Repeat a batch (B, ...) to (times * B, ...), without a copy if B = 1."""
    if times == 1:
        return x
    return x.expand(times, *x.shape[1:]) if len(x) == 1 else x.repeat(times, *(1 for _ in x.shape[1:]))


def level_shapes(height: int, width: int, strides: Sequence[int], num_levels: int) -> Shapes:
    """Return (H_l, W_l) of every level of a padded image.

    Args:
        height: height of the padded image in pixels.
        width: width of the padded image in pixels.
        strides: strides of the backbone's feature maps. The last ``num_levels`` are used.
        num_levels: L. Levels beyond the backbone's feature maps halve the size of the level before.
    """
    shapes = [(height // stride, width // stride) for stride in strides[-num_levels:]]
    while len(shapes) < num_levels:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    return tuple(shapes)


def lay_out(images: ImageBatch, shapes: Shapes, level_embed: Tensor, temperature: float) -> Levels:
    """Return the layout of levels for B images.

    Args:
        images: B images.
        shapes: (H_l, W_l) of every level.
        level_embed: (L, C) learned level embeddings.
        temperature: temperature of the sine embedding.
    """
    masks = [resize_mask(images.mask, *shape) for shape in shapes]
    positions = [
        sine_positions(mask, level_embed.shape[1], temperature).flatten(1, 2) + embed
        for mask, embed in zip(masks, level_embed, strict=True)
    ]
    ratios = torch.stack([valid_ratio(mask) for mask in masks], dim=1)  # (B, L, 2)
    return Levels(
        positions=torch.cat(positions, dim=1),  # (B, S, C)
        mask=torch.cat([mask.flatten(1) for mask in masks], dim=1) if images.padded else None,  # (B, S)
        shapes=shapes,
        valid_ratios=ratios,
        centres=pixel_centres(shapes, ratios),
        pixel=1 / _sizes(shapes, ratios),
    )


def flatten_maps(maps: Sequence[Tensor]) -> Tensor:
    """Flatten and concatenate L maps (B, C, H_l, W_l) to (B, S, C)."""
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)


def sine_positions(mask: Tensor, dim: int, temperature: float) -> Tensor:
    """Return the sine embedding (B, H, W, dim) of the pixels' positions in their unpadded images.

    Args:
        mask: (B, H, W) bool, True on padding.
        dim: number of features: dim/2 for y, then dim/2 for x.
        temperature: temperature of the sine embedding.
    """
    valid = ~mask
    y = valid.cumsum(1, dtype=torch.float32)  # (B, H, W), from 1
    x = valid.cumsum(2, dtype=torch.float32)
    y = (y - 0.5) / (y[:, -1:, :] + 1e-6) * (2 * math.pi)
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    return torch.cat([sine_embedding(axis, dim // 2, temperature) for axis in (y, x)], dim=-1)  # (B, H, W, dim)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resize a boolean mask (B, H, W) to (B, height, width) by nearest neighbours."""
    return F.interpolate(mask[None].float(), size=(height, width))[0].bool()


def valid_ratio(mask: Tensor) -> Tensor:
    """Return the share (B, 2) of width and height that is not padding.

    Args:
        mask: (B, H, W) bool, True on padding. Only its first row and its first column are read.
    """
    _, height, width = mask.shape
    return torch.stack(((~mask[:, 0, :]).sum(1) / width, (~mask[:, :, 0]).sum(1) / height), dim=-1)


def pixel_centres(shapes: Shapes, ratios: Tensor) -> Tensor:
    """Return the centres (B, S, L, 2) of all pixels, xy in [0, 1] of each padded level.

    Args:
        shapes: (H_l, W_l) of every level.
        ratios: (B, L, 2) share of every level's width and height that is not padding.
    """
    centres = []
    sizes = _sizes(shapes, ratios)
    for level, (height, width) in enumerate(shapes):
        y = torch.arange(height, dtype=ratios.dtype, device=ratios.device) + 0.5  # (H,)
        x = torch.arange(width, dtype=ratios.dtype, device=ratios.device) + 0.5  # (W,)
        grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1).flatten(0, 1)  # (HW, 2)
        centres.append(grid / (ratios[:, level, None, :] * sizes[level]))  # (B, HW, 2), in [0, 1] of the unpadded image
    return torch.cat(centres, dim=1)[:, :, None, :] * ratios[:, None, :, :]  # (B, S, L, 2)


def _sizes(shapes: Shapes, like: Tensor) -> Tensor:
    """Return width and height (L, 2) of every level as a tensor like ``like``.

    The tensor is filled on the device, because a copy from the host would make it wait.
    """
    return torch.stack([torch.stack([like.new_full((), side) for side in (w, h)]) for h, w in shapes])
