"""A network made ready for inference: the same numbers but for rounding, in fewer passes over memory.

- The backbone prepares itself; a ResNet folds batch normalisation into the convolution before it.
- Convolutions keep channels innermost, the layout in which oneDNN and cuDNN compute.
- On a CPU linear layers go to oneDNN, which adds the bias while it multiplies; PyTorch's own path (MKL) writes the bias
  first and adds to it, and where it meets a processor that is not Intel's it leaves half of its vector width unused.
- On CUDA ReLU is applied by the linear layer before it.
- Positions, masks and reference points are remembered: they follow from the sizes of image and levels.
- In reduced precision weights are cast once, not in every frame.
"""

from __future__ import annotations

import copy
from collections.abc import Set

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memotr.models.layers import Linear
from memotr.models.memotr import MeMOTR


def for_inference(model: MeMOTR, dtype: torch.dtype | None = None) -> MeMOTR:
    """A network that shares the weights of ``model`` wherever they stay as they are; ``model`` is left alone.

    Args:
        model: on its device; what is trained of it afterwards may or may not reach the new network.
        dtype: of the weights of convolutions and linear layers, for use under autocast; None: as they are. Those of the
            memory stay as they are in any case: its arithmetic is always exact.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    network = copy.deepcopy(model, shared | {id(buffer): buffer for buffer in model.buffers()}).eval()
    network.layouts = {}
    network.backbone = network.backbone.prepare()
    exact = {*network.query_updater.modules(), *network.queries.memory.modules()}
    for part in ("backbone", "feature_projs", "transformer", "class_embed", "queries"):
        _prepare(network.get_submodule(part), dtype, exact)
    _prepare(network.query_updater, dtype, exact)
    return network


class FusedLinear(Linear):
    """A linear layer for inference, of weights that are there already."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = weight, bias


class OneDnnLinear(FusedLinear):
    """On a CPU: oneDNN adds the bias and applies ReLU while it multiplies."""

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x, "none")

    def relu(self, x: Tensor) -> Tensor:
        return self._multiply(x, "relu")

    def _multiply(self, x: Tensor, then: str) -> Tensor:
        if torch.compiler.is_compiling():  # the compiler makes of this what is best for the device
            y = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
            return y.relu() if then == "relu" else y
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.weight.dtype), self.weight, self.bias, then, [], ""
        )
        return fused


class CublasLinear(FusedLinear):
    """On CUDA: cuBLAS applies ReLU while it writes."""

    def relu(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).to(self.weight.dtype)
        y: Tensor = torch._addmm_activation(self.bias, rows, self.weight.t())
        return y.view(*x.shape[:-1], -1)


def _prepare(part: nn.Module, wanted: torch.dtype | None, exact: Set[nn.Module]) -> None:
    for name, module in list(part.named_modules()):
        dtype = None if module in exact else wanted
        if isinstance(module, nn.Conv2d):
            module.weight = _cast(module.weight, dtype, memory_format=torch.channels_last)
            module.bias = None if module.bias is None else _cast(module.bias, dtype)
        elif isinstance(module, nn.MultiheadAttention):  # which multiplies by the weights of its out_proj itself
            module.in_proj_weight = _cast(module.in_proj_weight, dtype)
            module.in_proj_bias = _cast(module.in_proj_bias, dtype)
            module.out_proj.weight = _cast(module.out_proj.weight, dtype)
            module.out_proj.bias = _cast(module.out_proj.bias, dtype)
        elif type(module) in (nn.Linear, Linear):
            _replace(part, name, _linear(module, dtype))


def _linear(linear: nn.Linear, dtype: torch.dtype | None) -> nn.Linear:
    weight = _cast(linear.weight, dtype)
    if linear._parameters["bias"] is None:  # as in backbones of other libraries
        linear.weight = weight
        return linear
    bias = _cast(linear.bias, dtype)
    if weight.device.type == "cpu" and _onednn_takes(weight.dtype):
        return OneDnnLinear(weight, bias)
    if weight.device.type == "cuda":
        return CublasLinear(weight, bias)
    linear.weight, linear.bias = weight, bias
    return linear


def _onednn_takes(dtype: torch.dtype) -> bool:
    """Whether the operator that torch.compile's code for CPUs calls is there: it has no public name."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


def _cast(
    tensor: Tensor, dtype: torch.dtype | None, memory_format: torch.memory_format = torch.preserve_format
) -> nn.Parameter:
    """Another parameter: casting the one that is there would change the model that it is shared with."""
    cast = tensor.detach().to(dtype=dtype or tensor.dtype, memory_format=memory_format)
    return nn.Parameter(cast, requires_grad=False)


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
