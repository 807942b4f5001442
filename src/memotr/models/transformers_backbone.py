"""Backbones of the library ``transformers``: its ``AutoBackbone`` types, built from settings without a download."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memotr.config import MOST_PARAMETERS
from memotr.errors import UserError
from memotr.models.layers import call

NEED_MORE = ("timm_backbone", "tipsv2")
"""Types whose settings do not describe the network: another library does, or a part of them."""

PROBED = (64, 96)
"""Height and width of the image that shows the strides. Images of all multiples of 32 are valid."""


@dataclass(frozen=True)
class Shape:
    """Description of a backbone, measured without memory for its weights.

    Attributes:
        channels: number of channels of each feature map.
        strides: stride of each feature map in pixels.
        parameters: number of parameters.
        unused: names of parameters that no feature map depends on.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    parameters: int
    unused: frozenset[str]


class TransformersBackbone(nn.Module):
    """A :class:`memotr.models.backbone.Backbone` around an ``AutoBackbone``, with random weights.

    The names of its tensors begin with its type, ``backbone.convnext.*``, so that a file of weights shows it.

    Args:
        kind: type of the backbone, for example "convnext" or "swin".
        settings: settings of that type's configuration class; the others keep its defaults. ``out_indices`` chooses
            the stages whose outputs are the feature maps, by default the last three.

    Raises:
        UserError: there is no such type or setting, or the feature maps do not fit the model.
        ImportError: transformers is not installed.
    """

    recompute = False

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        config = _make_config(kind, settings)
        shape = _measure(kind, config)
        self.kind = kind
        self.channels, self.strides = shape.channels, shape.strides
        self.add_module(kind, _build(kind, config))
        for name, parameter in self.network.named_parameters():
            # Distributed training would wait for the gradient of an unused parameter.
            parameter.requires_grad_(name not in shape.unused)

    @property
    def network(self) -> nn.Module:
        return self.get_submodule(self.kind)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return list(call(self.network, pixels, recompute=self.recompute).feature_maps)

    def prepare(self) -> TransformersBackbone:
        """Return the backbone as it is: nothing can be folded without knowing its layers."""
        return self

    def load(self, state: Mapping[str, Tensor]) -> list[str]:
        """Take the weights of any model of the library that contains the backbone, such as a classifier."""
        network: Any = self.network
        with _quiet(), _explained(self.kind):
            loaded, report = type(network).from_pretrained(
                None,
                config=network.config,
                state_dict=dict(state),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        own = network.state_dict()
        if reshaped := sorted(str(entry[0]) for entry in report["mismatched_keys"]):
            raise ValueError(f"{len(reshaped)} tensors of another shape ({reshaped[0]}, ...)")
        fresh = sorted(report["missing_keys"])
        if lacking := [name for name in fresh if own[name].dim() > 1]:  # more than a normalisation of the outputs
            raise ValueError(f"{len(lacking)} tensors missing ({lacking[0]}, ...)")
        network.load_state_dict(loaded.state_dict())
        return fresh


def count_parameters(kind: str, settings: Mapping[str, Any]) -> int:
    """Return the number of parameters of a backbone without building it. Raises as :class:`TransformersBackbone`."""
    return _measure(kind, _make_config(kind, settings)).parameters


def _make_config(kind: str, settings: Mapping[str, Any]) -> Any:
    """Return the configuration object of the library."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    kinds = sorted(set(MODEL_FOR_BACKBONE_MAPPING_NAMES) - set(NEED_MORE))
    if kind not in kinds:
        raise UserError(f"model.backbone.name: transformers has no backbone {kind!r}; {_nearest(kind, kinds)}")
    factory: Any = CONFIG_MAPPING[kind]
    inherited = inspect.signature(PreTrainedConfig.__init__).parameters
    known = [name for name in inspect.signature(factory.__init__).parameters if name not in inherited]
    known = [name for name in known if not name.startswith("_") and name != "kwargs"]
    for name in settings:
        if name not in (*known, "out_indices"):
            raise UserError(f"model.backbone.config: {kind} has no setting {name!r}; {_nearest(name, known)}")
    with _explained(kind):
        stages = len(factory(**{k: v for k, v in settings.items() if k != "out_indices"}).stage_names)
        config = factory(**{"out_indices": list(range(max(1, stages - 3), stages)), **settings})
        for name in known:  # some types add lists to these
            if isinstance(value := getattr(config, name, None), tuple):
                setattr(config, name, list(value))
        return config


def _build(kind: str, config: Any) -> nn.Module:
    from transformers import AutoBackbone

    with _explained(kind):
        network: nn.Module = AutoBackbone.from_config(config)
        return network


def _measure(kind: str, config: Any) -> Shape:
    """Build a backbone on the meta device, where tensors have a shape but no values, and look at its outputs."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        network = _build(kind, config).eval()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if parameters > MOST_PARAMETERS:
            raise UserError(
                f"model.backbone: {kind} of this config has {parameters:,} parameters, more than the "
                f"{MOST_PARAMETERS:,} that can be built"
            )
        with _explained(kind, f"; it must take images of any size that is a multiple of 32, such as {PROBED}"):
            maps = network(torch.zeros(1, 3, *PROBED)).feature_maps  # each (1, C, H, W)
            torch.stack([feature.sum() for feature in maps]).sum().backward()
    return Shape(
        channels=tuple(feature.shape[1] for feature in maps),
        strides=_strides(kind, [(feature.shape[2], feature.shape[3]) for feature in maps]),
        parameters=parameters,
        unused=frozenset(name for name, parameter in network.named_parameters() if parameter.grad is None),
    )


def _strides(kind: str, shapes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the strides of feature maps of the probed image. Raises UserError if the model cannot use them."""
    strides = tuple(PROBED[0] // height for height, _ in shapes)
    wanted = [(PROBED[0] // stride, PROBED[1] // stride) for stride in strides if 32 % stride == 0]
    if list(shapes) != wanted or list(strides) != sorted(strides):
        raise UserError(
            f"model.backbone: feature maps of {kind} are {', '.join(f'{h}x{w}' for h, w in shapes)} for an image of "
            f"{PROBED[0]}x{PROBED[1]}; their strides must divide 32 and ascend"
        )
    return strides


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


@contextmanager
def _explained(kind: str, remedy: str = "") -> Iterator[None]:
    """Raise errors of the library, which have classes of all kinds, as UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"model.backbone: transformers cannot run {kind} with this config: {reason:.200}{remedy}"
        raise UserError(message) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's progress bar and report, which is returned as well."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
