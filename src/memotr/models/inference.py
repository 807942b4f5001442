"""Optimised copy of a network for inference. Its results differ from those of the original only by rounding.

- The backbone optimises itself (:meth:`memotr.models.backbone.Backbone.prepare`): a ResNet folds batch normalisation
  into the convolution before it, and on a CPU oneDNN computes its convolutions with ReLU and residual in one pass.
- Convolutions use the memory format channels_last, in which oneDNN and cuDNN compute.
- On a CPU, oneDNN computes linear layers with bias and ReLU in one pass. PyTorch's default path (MKL) writes the bias
  first and adds to it; on processors of other makers than Intel it uses only half of the vector width.
- On CUDA, cuBLAS computes linear layer and ReLU in one pass.
- Positions, masks and reference points are cached: they depend on the sizes of image and levels only.
- With reduced precision, weights are cast once and not in every frame.
"""

from __future__ import annotations

import copy
from collections.abc import Set

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memotr.errors import UserError
from memotr.models.layers import Attention, Linear, onednn_supports
from memotr.models.memotr import MeMOTR


def for_inference(model: MeMOTR, dtype: torch.dtype | None = None, decoder_layers: int | None = None) -> MeMOTR:
    """Return a copy of ``model`` for inference. It shares all weights that it does not change; ``model`` is unchanged.

    Args:
        model: network on its device. Later changes of its weights may or may not affect the copy.
        dtype: dtype of the weights of convolutions and linear layers, for use under autocast; None: not changed. The
            weights of the memory are never changed, because it is always computed in full precision.
        decoder_layers: number of first decoder layers that are used; None: all. Predictions and the output for the
            memory are those of the last one used, and differ from those of all layers by more than rounding.

    Raises:
        UserError: a weight exceeds the range of ``dtype``, the decoder has fewer layers, or tracks would enter none of
            them.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    network = copy.deepcopy(model, shared | {id(buffer): buffer for buffer in model.buffers()}).eval()
    network.layouts = {}
    if decoder_layers is not None:
        _keep_decoder_layers(network, decoder_layers)
    network.backbone = network.backbone.prepare()
    exact = {*network.query_updater.modules(), *network.queries.memory.modules()}
    for part in ("backbone", "feature_projs", "transformer", "class_embed", "queries"):
        _prepare(network.get_submodule(part), dtype, exact)
    _prepare(network.query_updater, dtype, exact)
    if dtype is not None:
        _check_range(network, dtype)
    return network


def _check_range(network: nn.Module, dtype: torch.dtype) -> None:
    """Raise UserError if a weight became infinite in ``dtype``: the network would find nothing."""
    beyond = [name for name, p in network.named_parameters() if p.dtype is dtype and not p.isfinite().all()]
    if beyond:
        raise UserError(f"{beyond[0]} has values beyond the range of {dtype}; choose the precision bf16 or 32")


def _keep_decoder_layers(network: MeMOTR, count: int) -> None:
    decoder = network.transformer.decoder
    least, most = min(decoder.merge_layer + 1, len(decoder.layers)), len(decoder.layers)
    if not least <= count <= most:
        raise UserError(f"decoder_layers {count}: this model's decoder runs with {least} to {most} layers")
    decoder.layers, network.class_embed = decoder.layers[:count], network.class_embed[:count]
    decoder.bbox_embed = network.bbox_embed = decoder.bbox_embed[:count]


class FusedLinear(Linear):
    """Base class of linear layers for inference, made from existing parameters."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = weight, bias


class OneDnnLinear(FusedLinear):
    """Linear layer for CPUs: oneDNN computes product, bias and ReLU in one pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return self._multiply(x, "none")

    def relu(self, x: Tensor) -> Tensor:
        """Return the ReLU of :meth:`forward`."""
        return self._multiply(x, "relu")

    def _multiply(self, x: Tensor, activation: str) -> Tensor:
        if torch.compiler.is_compiling():  # the compiler fuses these operations itself
            y = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
            return y.relu() if activation == "relu" else y
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.weight.dtype), self.weight, self.bias, activation, [], ""
        )
        return fused


class CublasLinear(FusedLinear):
    """Linear layer for CUDA: cuBLAS computes product, bias and ReLU in one pass."""

    def relu(self, x: Tensor) -> Tensor:
        """Return the ReLU (..., out_features) of the layer's output for x (..., in_features)."""
        rows = x.flatten(0, -2).to(self.weight.dtype)
        y: Tensor = torch._addmm_activation(self.bias, rows, self.weight.t())
        return y.view(*x.shape[:-1], self.out_features)


def _prepare(part: nn.Module, reduced: torch.dtype | None, exact: Set[nn.Module]) -> None:
    """Optimise the convolutions, attentions and linear layers of a part; modules in ``exact`` keep their dtype."""
    for name, module in list(part.named_modules()):
        dtype = None if module in exact else reduced
        if isinstance(module, nn.Conv2d):
            module.weight = _cast(module.weight, dtype, memory_format=torch.channels_last)
            module.bias = None if module.bias is None else _cast(module.bias, dtype)
        elif isinstance(module, Attention):
            module.in_proj_weight = _cast(module.in_proj_weight, dtype)
            module.in_proj_bias = _cast(module.in_proj_bias, dtype)
        elif type(module) in (nn.Linear, Linear):
            _replace(part, name, _linear(module, dtype))


def _linear(linear: nn.Linear, dtype: torch.dtype | None) -> nn.Linear:
    weight = _cast(linear.weight, dtype)
    if linear._parameters["bias"] is None:  # in backbones of other libraries
        linear.weight = weight
        return linear
    bias = _cast(linear.bias, dtype)
    if weight.device.type == "cpu" and onednn_supports(weight.dtype):
        return OneDnnLinear(weight, bias)
    if weight.device.type == "cuda":
        return CublasLinear(weight, bias)
    linear.weight, linear.bias = weight, bias
    return linear


def _cast(
    tensor: Tensor, dtype: torch.dtype | None, memory_format: torch.memory_format = torch.preserve_format
) -> nn.Parameter:
    """Return a new parameter, because the given one may be shared with the original model."""
    cast = tensor.detach().to(dtype=dtype or tensor.dtype, memory_format=memory_format)
    return nn.Parameter(cast, requires_grad=False)


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
