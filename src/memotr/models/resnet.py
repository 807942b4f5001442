"""ResNet with bottleneck blocks (He et al., CVPR 2016). Its parameters are named as in torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_weights

from memotr.models.layers import call, onednn_supports
from memotr.vocabulary import Norm

FOLDED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))
"""Attribute names, in the modules of a ResNet, of each convolution and the normalisation after it."""


class _ConstantNorm(torch.autograd.Function):
    """Batch normalisation with constants, which keeps nothing of its input: its gradient does not depend on it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(mean, variance, weight)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        mean, variance, weight = ctx.saved_tensors
        constants = weight, mean, variance, None, None, False, ctx.eps
        # The second argument is the input, which only gradients of the constants would need.
        found = torch.ops.aten.native_batch_norm_backward(gradient, gradient, *constants, [True, False, False])
        return found[0], None, None, None, None, None


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with constant statistics and affine parameters, which are buffers."""

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
        """Normalise (B, C, H, W)."""
        constants = self.running_mean, self.running_var, self.weight, self.bias
        if torch.is_grad_enabled() and x.requires_grad:
            return _ConstantNorm.apply(x, *constants, self.eps)  # type: ignore[no-any-return, no-untyped-call]
        return F.batch_norm(x, *constants, training=False, eps=self.eps)


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """Return a normalisation layer: frozen for pretrained weights, group or batch for training from scratch."""
    if kind == "frozen":
        return FrozenBatchNorm2d(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(min(32, channels // 4), channels)


class Bottleneck(nn.Module):
    """Bottleneck block: 1x1, 3x3 (strided) and 1x1 convolutions with a residual connection.

    Args:
        in_channels: number of input channels.
        channels: number of channels of the 3x3 convolution; the output has four times as many.
        stride: stride of the 3x3 convolution.
        norm: normalisation after every convolution.
    """

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
        """Map (B, in_channels, H, W) to (B, 4 channels, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class OneDnnBottleneck(Bottleneck):
    """Block for CPUs whose normalisations are folded: oneDNN applies ReLU and adds the residual in one pass.

    Its input is overwritten, unless the block has a ``downsample``: nothing else reads that one.

    Args:
        block: block that gives its layers.
    """

    def __init__(self, block: Bottleneck) -> None:
        nn.Module.__init__(self)
        for name, module in block.named_children():
            self.add_module(name, module)
        self.downsample = block.downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 channels, H / stride, W / stride)."""
        # The compiler fuses these operations itself.
        if torch.compiler.is_compiling() or not onednn_supports(self.conv1.weight.dtype):
            return super().forward(x)
        fused = torch.ops.mkldnn._convolution_pointwise
        x = x.to(self.conv1.weight.dtype)
        y = fused(x, *_arguments(self.conv1), "relu", [], "")
        y = fused(y, *_arguments(self.conv2), "relu", [], "")
        residual = x if self.downsample is None else self.downsample(x)
        add = torch.ops.mkldnn._convolution_pointwise_.binary
        output: Tensor = add(residual, y, *_arguments(self.conv3), "add", 1.0, "relu", [], "")
        return output


def _arguments(conv: nn.Conv2d) -> tuple[object, ...]:
    return conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups


def make_stage(in_channels: int, channels: int, depth: int, stride: int, norm: Norm) -> nn.Sequential:
    """Return a stage of ``depth`` blocks. The first one changes stride and number of channels."""
    first = Bottleneck(in_channels, channels, stride, norm)
    rest = [Bottleneck(channels * Bottleneck.expansion, channels, 1, norm) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """ResNet that returns three feature maps.

    Args:
        depths: numbers of blocks of the four stages; (3, 4, 6, 3) is ResNet-50.
        width: number of channels of the stem. Stage i has ``width * 2**i`` channels inside its blocks and four times as
            many at its output.
        norm: normalisation after every convolution.
        frozen_stages: number of stages, from the first (stem, layer1, layer2, ...), that are not trained.
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
        """Return the outputs of layer2, layer3 and layer4 (strides 8, 16, 32) for images (B, 3, H, W).

        Args:
            x: (B, 3, H, W) normalised images.
            recompute: recompute the activations of each stage in the backward pass.
        """
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)  # (B, width, H/2, W/2)
        x = self.maxpool(x)  # (B, width, H/4, W/4)
        x = call(self.layer1, x, recompute=recompute)
        features = []
        for stage in (self.layer2, self.layer3, self.layer4):
            x = call(stage, x, recompute=recompute)
            features.append(x)
        return features


class ResNetBackbone(nn.Module):
    """ResNet as a :class:`memotr.models.backbone.Backbone` with three feature maps.

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
        """The nested ResNet."""
        resnet = self.backbone["backbone"]
        assert isinstance(resnet, ResNet)
        return resnet

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the feature maps (B, C_l, H / stride_l, W / stride_l) of images (B, 3, H, W)."""
        features: list[Tensor] = self.resnet(pixels, self.recompute)
        return features

    def prepare(self) -> ResNetBackbone:
        """Fold each batch normalisation into the convolution before it, and return the backbone."""
        for module in self.resnet.modules():
            _fold(module)
        for stage in (self.resnet.layer1, self.resnet.layer2, self.resnet.layer3, self.resnet.layer4):
            for index, block in enumerate(stage):
                assert isinstance(block, Bottleneck)
                if _is_folded(block) and block.conv1.weight.device.type == "cpu":
                    stage[index] = OneDnnBottleneck(block)
        return self

    def load(self, state: Mapping[str, Tensor]) -> list[str]:
        """Load the weights of a torchvision or timm classifier. Raises ValueError if names or shapes do not fit."""
        own = self.resnet.state_dict()
        wanted = {k: t for k, t in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
        apart = sorted(wanted.keys() ^ {name for name in own if not name.endswith("num_batches_tracked")})
        if apart or (apart := [name for name, tensor in wanted.items() if own[name].shape != tensor.shape]):
            raise ValueError(f"{len(apart)} tensors are missing, unknown or of another shape ({apart[0]}, ...)")
        self.resnet.load_state_dict(wanted, strict=False)
        return []


def _is_folded(block: Bottleneck) -> bool:
    return all(type(norm) is nn.Identity for norm in (block.bn1, block.bn2, block.bn3))


def _fold(module: nn.Module) -> None:
    for conv_name, norm_name in FOLDED:
        conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
            setattr(module, norm_name, nn.Identity())
