"""From padded images to the feature levels that the transformer attends to: maps, masks and positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memotr.models.layers import sine_embedding
from memotr.models.resnet import ResNet
from memotr.structures import ImageBatch


@dataclass(frozen=True, eq=False)
class FeatureLevels:
    """L feature maps, each flattened row by row, one after the other: S positions in all.

    Attributes:
        features: (B, S, C).
        positions: (B, S, C) sine position embedding plus level embedding.
        mask: (B, S) bool, True on padding.
        shapes: (H_l, W_l) of every level.
        valid_ratios: (B, L, 2) share of every level's width and height that is not padding.
    """

    features: Tensor
    positions: Tensor
    mask: Tensor
    shapes: list[tuple[int, int]]
    valid_ratios: Tensor


def sine_positions(mask: Tensor, dim: int, temperature: float) -> Tensor:
    """Sine embedding of every valid pixel's place in its own image: mask (B, H, W) to (B, H, W, dim), y before x."""
    valid = ~mask
    y = valid.cumsum(1, dtype=torch.float32)  # (B, H, W) counts from 1
    x = valid.cumsum(2, dtype=torch.float32)
    y = (y - 0.5) / (y[:, -1:, :] + 1e-6) * (2 * math.pi)
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    return torch.cat([sine_embedding(axis, dim // 2, temperature) for axis in (y, x)], dim=-1)  # (B, H, W, dim)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour resize of a boolean mask (B, H, W) to (B, height, width)."""
    return F.interpolate(mask[None].float(), size=(height, width))[0].bool()


def valid_ratio(mask: Tensor) -> Tensor:
    """(B, 2) share of width and height that is not padding, read off the first row and the first column."""
    _, height, width = mask.shape
    return torch.stack(((~mask[:, 0, :]).sum(1) / width, (~mask[:, :, 0]).sum(1) / height), dim=-1)


class Backbone(nn.Module):
    """ResNet features with their masks. The nesting exists for the published names: backbone.backbone.backbone.*"""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"backbone": resnet})

    @property
    def resnet(self) -> ResNet:
        resnet = self.backbone["backbone"]
        assert isinstance(resnet, ResNet)
        return resnet

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the maps of strides 8, 16 and 32."""
        features: list[Tensor] = self.resnet(pixels)
        return features


def make_feature_projections(channels: Sequence[int], dim: int, num_levels: int) -> nn.ModuleList:
    """One projection a level: 1x1 for the backbone's maps, 3x3 with stride 2 for each level beyond them."""
    channels = channels[-num_levels:]

    extra = [channels[-1], *[dim] * num_levels][: num_levels - len(channels)]
    convolutions = [nn.Conv2d(c, dim, 1) for c in channels] + [nn.Conv2d(c, dim, 3, stride=2, padding=1) for c in extra]
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    return nn.ModuleList(nn.Sequential(convolution, nn.GroupNorm(32, dim)) for convolution in convolutions)


def project_features(projections: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    """Backbone maps to L maps (B, C, H_l, W_l). The first extra level is made of the last raw map, the next of it."""
    features = features[-len(projections) :]
    maps: list[Tensor] = [project(feature) for project, feature in zip(projections, features, strict=False)]
    for i in range(len(features), len(projections)):
        maps.append(projections[i](features[-1] if i == len(features) else maps[-1]))
    return maps


def flatten_levels(maps: list[Tensor], images: ImageBatch, level_embed: Tensor, temperature: float) -> FeatureLevels:
    """Line up L maps (B, C, H_l, W_l) with their masks and positions. ``level_embed`` is (L, C)."""
    dim = level_embed.shape[1]
    masks = [resize_mask(images.mask, *m.shape[-2:]) for m in maps]
    positions = [
        sine_positions(mask, dim, temperature).flatten(1, 2) + embed
        for mask, embed in zip(masks, level_embed, strict=True)
    ]
    return FeatureLevels(
        features=torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1),  # (B, S, C)
        positions=torch.cat(positions, dim=1),  # (B, S, C)
        mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),  # (B, S)
        shapes=[(m.shape[2], m.shape[3]) for m in maps],
        valid_ratios=torch.stack([valid_ratio(mask) for mask in masks], dim=1),  # (B, L, 2)
    )
