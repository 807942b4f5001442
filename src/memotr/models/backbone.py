"""From padded images to the feature maps that the transformer attends to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from memotr.models.resnet import ResNet


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
