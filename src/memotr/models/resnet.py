"""ResNet with bottleneck blocks (He et al., CVPR 2016), names as in torchvision so that its weights fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from memotr.models.layers import call
from memotr.vocabulary import Norm

FOLDED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))
"""Names of a convolution and the normalisation behind it, in the modules of a ResNet."""


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine map are constants: (B, C, H, W) to the same."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, training=False, eps=self.eps)


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Frozen for pretrained weights; group or batch where the backbone is trained from scratch."""
    if kind == "frozen":
        return FrozenBatchNorm2d(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(min(32, channels // 4), channels)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1 convolutions with a residual; four times as many channels out as inside."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = make_norm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = make_norm(norm, channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = make_norm(norm, out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), make_norm(norm, out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


def make_stage(in_channels: int, channels: int, depth: int, stride: int, norm: Norm) -> nn.Sequential:
    """``depth`` blocks, the first of which changes stride and number of channels."""
    first = Bottleneck(in_channels, channels, stride, norm)
    rest = [Bottleneck(channels * Bottleneck.expansion, channels, 1, norm) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """Images (B, 3, H, W) to the outputs of layer2, layer3 and layer4 (strides 8, 16, 32).

    Args:
        depths: blocks of the four stages; (3, 4, 6, 3) is ResNet-50.
        width: channels of the stem; stage i works with ``width * 2**i`` and puts out four times as many.
        norm: normalisation of every convolution.
        frozen_stages: how many of stem, layer1, layer2, ... do not train.
    """

    def __init__(self, depths: Sequence[int], width: int, norm: Norm, frozen_stages: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm, width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [width * 2**i for i in range(4)]
        outs = [w * Bottleneck.expansion for w in widths]
        self.layer1 = make_stage(width, widths[0], depths[0], 1, norm)
        self.layer2 = make_stage(outs[0], widths[1], depths[1], 2, norm)
        self.layer3 = make_stage(outs[1], widths[2], depths[2], 2, norm)
        self.layer4 = make_stage(outs[2], widths[3], depths[3], 2, norm)
        self.out_channels = tuple(outs[1:])
        self._init_weights()
        self._freeze(frozen_stages)

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _freeze(self, stages: int) -> None:
        stem = nn.ModuleList((self.conv1, self.bn1))
        for part in (stem, self.layer1, self.layer2, self.layer3, self.layer4)[:stages]:
            part.requires_grad_(False)

    def forward(self, x: Tensor, recompute: bool = False) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, width, H/2, W/2)
        x = self.maxpool(x)  # (B, width, H/4, W/4)
        x = call(self.layer1, x, recompute=recompute)
        features = []
        for stage in (self.layer2, self.layer3, self.layer4):
            x = call(stage, x, recompute=recompute)
            features.append(x)
        return features


class ResNetBackbone(nn.Module):
    """A :class:`memotr.models.backbone.Backbone` of three levels: the outputs of a ResNet's last three stages.

    The nesting gives the published names, ``backbone.backbone.backbone.*``. Arguments are those of :class:`ResNet`.
    """

    strides = (8, 16, 32)
    recompute = False

    def __init__(self, depths: Sequence[int], width: int, norm: Norm, frozen_stages: int) -> None:
        super().__init__()
        resnet = ResNet(depths, width, norm, frozen_stages)
        self.backbone = nn.ModuleDict({"backbone": resnet})
        self.channels = resnet.out_channels

    @property
    def resnet(self) -> ResNet:
        resnet = self.backbone["backbone"]
        assert isinstance(resnet, ResNet)
        return resnet

    def forward(self, pixels: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.resnet(pixels, self.recompute)
        return features

    def prepare(self) -> ResNetBackbone:
        """Fold batch normalisation, whose statistics no longer change, into the convolution before it."""
        for module in self.resnet.modules():
            _fold(module)
        return self

    def load(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take the weights of a classifier of torchvision or timm."""
        own = self.resnet.state_dict()
        wanted = {k: t for k, t in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
        apart = sorted(wanted.keys() ^ {name for name in own if not name.endswith("num_batches_tracked")})
        if apart or (apart := [name for name, tensor in wanted.items() if own[name].shape != tensor.shape]):
            raise ValueError(f"{len(apart)} tensors missing, unknown or of another shape ({apart[0]}, ...)")
        self.resnet.load_state_dict(wanted, strict=False)
        return []


def _fold(module: nn.Module) -> None:
    for conv_name, norm_name in FOLDED:
        conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
            setattr(module, norm_name, nn.Identity())
