"""Interface of backbones, and projection of their feature maps to the width of the transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn


class Backbone(Protocol):
    """Interface of a backbone: any ``nn.Module`` with these attributes and methods.

    Attributes:
        recompute: True recomputes activations in the backward pass, which saves memory (see
            :func:`memotr.models.layers.call`).
    """

    recompute: bool

    @property
    def channels(self) -> Sequence[int]:
        """Number of channels of each feature map, finest map first."""

    @property
    def strides(self) -> Sequence[int]:
        """Stride of each feature map in pixels. Each divides 32, of which the sides of padded images are multiples."""

    def __call__(self, pixels: Tensor, /) -> list[Tensor]:
        """Return the feature maps (B, C_l, H / stride_l, W / stride_l) of padded images (B, 3, H, W)."""

    def prepare(self) -> Backbone:
        """Return the module that inference runs, for example with batch normalisation folded into convolutions.

        It is called on a copy in evaluation mode that shares its tensors with the trained model: tensors may be
        replaced, but not changed in place. Afterwards :func:`memotr.models.inference.for_inference` casts convolutions
        and linear layers and sets their memory format.
        """

    def load(self, state: Mapping[str, Tensor]) -> Sequence[str]:
        """Load pretrained weights (setting ``model.backbone.weights``).

        Args:
            state: tensors by name, named as in the files of the backbone's own library.

        Returns:
            Names of the tensors that are not in ``state`` and therefore keep their initial values.

        Raises:
            ValueError: names or shapes do not fit; the message names the first of them.
        """


def make_feature_projections(channels: Sequence[int], dim: int, num_levels: int) -> nn.ModuleList:
    """Return one projection per level: 1x1 for maps of the backbone, 3x3 with stride 2 for extra levels.

    Args:
        channels: numbers of channels of the backbone's maps. The last ``num_levels`` are used.
        dim: C, number of output channels.
        num_levels: L.
    """
    channels = channels[-num_levels:]
    extra = [channels[-1], *[dim] * num_levels][: num_levels - len(channels)]
    convolutions = [nn.Conv2d(c, dim, 1) for c in channels] + [nn.Conv2d(c, dim, 3, stride=2, padding=1) for c in extra]
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    return nn.ModuleList(nn.Sequential(convolution, nn.GroupNorm(32, dim)) for convolution in convolutions)


def project_features(projections: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    """Project backbone maps to L maps (B, C, H_l, W_l).

    The first extra level is computed from the last map of the backbone, each further one from the level before it.
    """
    features = features[-len(projections) :]
    maps: list[Tensor] = [project(feature) for project, feature in zip(projections, features, strict=False)]
    for i in range(len(features), len(projections)):
        maps.append(projections[i](features[-1] if i == len(features) else maps[-1]))
    return maps
