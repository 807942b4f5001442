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

from memotr.config import MAX_PARAMETERS
from memotr.errors import UserError
from memotr.models.layers import call

UNSUPPORTED_TYPES = ("timm_backbone", "tipsv2")
"""Types whose settings do not describe the network completely: another library defines it, or part of it."""

PROBE_SIZE = (64, 96)
"""Height and width in pixels of the image that measures the strides. Multiples of 32, as all padded images."""


@dataclass(frozen=True)
class Shape:
    """Measured properties of a backbone.

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
    """``AutoBackbone`` with random weights as a :class:`memotr.models.backbone.Backbone`.

    Tensor names begin with the type (``backbone.convnext.*``), so that a weights file shows which backbone it is for.

    Args:
        kind: type of the backbone, for example "convnext" or "swin".
        settings: settings of that type's configuration class; missing ones keep their defaults. ``out_indices`` selects
            the stages whose outputs are the feature maps, by default the last three.

    Raises:
        UserError: the type or a setting does not exist, or the feature maps do not fit the model.
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
            # Distributed training waits for the gradient of every trained parameter, so unused ones are frozen.
            parameter.requires_grad_(name not in shape.unused)

    @property
    def network(self) -> nn.Module:
        """The ``AutoBackbone``."""
        return self.get_submodule(self.kind)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the feature maps (B, C_l, H / stride_l, W / stride_l) of images (B, 3, H, W)."""
        return list(call(self.network, pixels, recompute=self.recompute).feature_maps)

    def prepare(self) -> TransformersBackbone:
        """Return the backbone unchanged, because its layers are not known."""
        return self

    def load(self, state: Mapping[str, Tensor]) -> list[str]:
        """Load the weights of any model of the library that contains the backbone, such as a classifier.

        Returns:
            Names of the tensors that are not in ``state``; these may only be normalisations of the outputs.

        Raises:
            ValueError: names or shapes do not fit.
        """
        network: Any = self.network
        with _quiet(), _library_errors(self.kind):
            loaded, report = type(network).from_pretrained(
                None,
                config=network.config,
                state_dict=dict(state),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        own = network.state_dict()
        if reshaped := sorted(str(entry[0]) for entry in report["mismatched_keys"]):
            raise ValueError(f"{len(reshaped)} tensors have another shape ({reshaped[0]}, ...)")
        fresh = sorted(report["missing_keys"])
        if lacking := [name for name in fresh if own[name].dim() > 1]:  # not just normalisations of the outputs
            raise ValueError(f"{len(lacking)} tensors are missing ({lacking[0]}, ...)")
        network.load_state_dict(loaded.state_dict())
        return fresh


def count_parameters(kind: str, settings: Mapping[str, Any]) -> int:
    """Return the number of parameters of a backbone without allocating it; raises as :class:`TransformersBackbone`."""
    return _measure(kind, _make_config(kind, settings)).parameters


def _make_config(kind: str, settings: Mapping[str, Any]) -> Any:
    """Return the library's configuration object. Raises UserError for unknown types and settings."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    kinds = sorted(set(MODEL_FOR_BACKBONE_MAPPING_NAMES) - set(UNSUPPORTED_TYPES))
    if kind not in kinds:
        raise UserError(f"model.backbone.name: transformers has no backbone {kind!r}; {_nearest(kind, kinds)}")
    factory: Any = CONFIG_MAPPING[kind]
    inherited = inspect.signature(PreTrainedConfig.__init__).parameters
    known = [name for name in inspect.signature(factory.__init__).parameters if name not in inherited]
    known = [name for name in known if not name.startswith("_") and name != "kwargs"]
    for name in settings:
        if name not in (*known, "out_indices"):
            raise UserError(f"model.backbone.config: {kind} has no setting {name!r}; {_nearest(name, known)}")
    with _library_errors(kind):
        stages = len(factory(**{k: v for k, v in settings.items() if k != "out_indices"}).stage_names)
        config = factory(**{"out_indices": list(range(max(1, stages - 3), stages)), **settings})
        for name in known:  # some types concatenate these with lists
            if isinstance(value := getattr(config, name, None), tuple):
                setattr(config, name, list(value))
        return config


def _build(kind: str, config: Any) -> nn.Module:
    from transformers import AutoBackbone

    with _library_errors(kind):
        network: nn.Module = AutoBackbone.from_config(config)
        return network


def _measure(kind: str, config: Any) -> Shape:
    """Measure a backbone on the meta device, where tensors have shapes but no memory."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        network = _build(kind, config).eval()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if parameters > MAX_PARAMETERS:
            raise UserError(
                f"model.backbone: {kind} with this config has {parameters:,} parameters; at most "
                f"{MAX_PARAMETERS:,} are supported"
            )
        with _library_errors(kind, f"; it must take images of any size that is a multiple of 32, such as {PROBE_SIZE}"):
            maps = network(torch.zeros(1, 3, *PROBE_SIZE)).feature_maps  # each (1, C, H, W)
            torch.stack([feature.sum() for feature in maps]).sum().backward()
    return Shape(
        channels=tuple(feature.shape[1] for feature in maps),
        strides=_strides(kind, [(feature.shape[2], feature.shape[3]) for feature in maps]),
        parameters=parameters,
        unused=frozenset(name for name, parameter in network.named_parameters() if parameter.grad is None),
    )


def _strides(kind: str, shapes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the strides of the probe image's feature maps (H, W). Raises UserError if the model cannot use them."""
    strides = tuple(PROBE_SIZE[0] // height for height, _ in shapes)
    wanted = [(PROBE_SIZE[0] // stride, PROBE_SIZE[1] // stride) for stride in strides if 32 % stride == 0]
    if list(shapes) != wanted or list(strides) != sorted(strides):
        raise UserError(
            f"model.backbone: feature maps of {kind} are {', '.join(f'{h}x{w}' for h, w in shapes)} for an image of "
            f"{PROBE_SIZE[0]}x{PROBE_SIZE[1]}; their strides must divide 32 and ascend"
        )
    return strides


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


@contextmanager
def _library_errors(kind: str, remedy: str = "") -> Iterator[None]:
    """Convert the library's exceptions, which may have any class, to UserError."""
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
    """Suppress the library's progress bar and its printed loading report."""
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
