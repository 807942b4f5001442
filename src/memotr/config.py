"""Validated, immutable settings, read from and written to YAML."""

from __future__ import annotations

import difflib
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import resources
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, get_args
from unicodedata import category

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from memotr.documents import DocumentError, brief, check_values, parse_yaml, read_text
from memotr.errors import UserError, wrong_type
from memotr.published import read_published_config
from memotr.vocabulary import ModelPart, Norm, TrainingPrecision, Variant

# Upper bounds are far above any use. They keep a mistaken number from filling the memory or from taking forever.
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Few = Annotated[int, Field(ge=1, le=100)]
"""Number of layers, levels, heads or points."""
Width = Annotated[int, Field(ge=1, le=10_000)]
"""Number of channels, queries, or pixels of a short side."""
Pixels = Annotated[int, Field(ge=1, le=100_000)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Level = Annotated[int, Field(ge=0, le=255)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Stages = Annotated[tuple[Positive, ...], Field(max_length=1000)]
Counts = Annotated[tuple[Count, ...], Field(max_length=1000)]
Sides = Annotated[tuple[Width, ...], Field(min_length=1, max_length=1000)]
ClipLength = Annotated[int, Field(ge=1, le=1000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
MAX_CLASSES = 10_000
PathText = Annotated[str, Field(max_length=4096)]
MAX_KEYS = 1000
MAX_PARAMETERS = 300_000_000  # the published networks have 40 million

RESNETS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
"""Depths of ResNets by name."""


DataFormat = Annotated[str, Field(max_length=50)]
"""Name of one of ``memotr.data.formats.FORMATS``, or ``auto`` to recognise the format. Data readers validate it."""


class Settings(BaseModel):
    """Base class of all settings: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BackboneConfig(Settings):
    """Settings of the backbone: a ResNet with bottleneck blocks, or one of the library ``transformers``.

    The defaults are a ResNet-50 for pretrained weights.
    """

    name: Annotated[str, Field(max_length=100)] = "resnet"
    """``resnet`` (``resnet50``, ``resnet101`` and ``resnet152`` set the depths as well), or ``transformers:`` and the
    type of an ``AutoBackbone``, such as ``transformers:convnext``, which needs the extra ``backbones``."""
    config: dict[str, Any] = {}
    """Settings of the backbone's own configuration class in ``transformers``; the others keep its defaults."""
    weights: PathText | None = None
    """File or folder with pretrained weights of the backbone alone, which a new training starts from."""
    depths: tuple[Few, Few, Few, Few] = (3, 4, 6, 3)
    """Numbers of blocks of the ResNet's four stages. Depths, width, norm and frozen stages are for a ResNet only."""
    width: Width = 64
    norm: Norm = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2
    """Number of first stages (stem, layer1, ..., layer4) that are not trained."""

    @property
    def transformers_type(self) -> str | None:
        """Type of the ``AutoBackbone``; None for a ResNet."""
        library, _, kind = self.name.partition(":")
        return kind if library == "transformers" else None

    @model_validator(mode="before")
    @classmethod
    def _depths_by_name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("name") not in tuple(RESNETS):  # a tuple, for unhashable values
            return values
        depths = RESNETS[values["name"]]
        if values.get("depths", depths) not in (depths, list(depths)):
            raise ValueError(f"{values['name']} has depths {list(depths)}, found {values['depths']}; name it resnet")
        return {**values, "name": "resnet", "depths": depths}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if not re.fullmatch(r"resnet|transformers:[a-z][a-z0-9_-]*", name):
            raise ValueError(f"expected resnet, {', '.join(RESNETS)} or transformers:TYPE, found {brief(name)}")
        return name

    @field_validator("config")
    @classmethod
    def _bounded(cls, config: dict[str, Any]) -> dict[str, Any]:
        if len(config) > MAX_KEYS:
            raise ValueError(f"{len(config):,} keys are not settings of a backbone")
        for key, value in config.items():
            largest = 100 if "depth" in key or "layers" in key else 10_000  # number of layers, number of channels
            if not _is_bounded(value, largest):
                raise ValueError(
                    f"{brief(key)} is {brief(value)}; expected a number of at most {largest:,}, true, false, null, "
                    "a name, or a list of at most 100 of these"
                )
        return config

    @model_validator(mode="after")
    def _of_one_library(self) -> BackboneConfig:
        if self.transformers_type is None and self.config:
            raise ValueError("config is for backbones of transformers; a resnet takes depths, width and norm")
        if self.transformers_type is not None:
            for key in ("depths", "width", "norm", "frozen_stages"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"{key} is a setting of the resnet, not of {self.name}; give the backbone as a whole: "
                        f"model.backbone={{name: {self.name}, config: {{...}}}}"
                    )
        return self


def _is_bounded(value: Any, largest: int, nested: bool = False) -> bool:
    """Return whether a setting of another library is small and plain."""
    if isinstance(value, list) and not nested:
        return len(value) <= 100 and all(_is_bounded(item, largest, nested=True) for item in value)
    if isinstance(value, int | float):
        return -largest <= value <= largest  # False for NaN
    return value is None or (isinstance(value, str) and len(value) <= 100)


class ModelConfig(Settings):
    """Settings of the network. The defaults are the published DAB model."""

    variant: Variant = "dab"
    backbone: BackboneConfig = BackboneConfig()
    hidden_dim: Width = 256
    ffn_dim: Annotated[int, Field(ge=1, le=100_000)] = 2048
    num_levels: Annotated[int, Field(ge=2, le=20)] = 4
    num_heads: Few = 8
    num_encoder_points: Few = 4
    num_decoder_points: Few = 4
    num_encoder_layers: Annotated[int, Field(ge=0, le=100)] = 6
    num_decoder_layers: Few = 6
    num_queries: Width = 300
    merge_layer: Annotated[int, Field(ge=0, le=100)] = 1
    """Number of first decoder layers that only detection queries enter (MERGE_DET_TRACK_LAYER)."""
    update_threshold: Probability = 0.5
    """Score above which a frame updates a track's query and memories."""
    long_memory_lambda: Probability = 0.01
    """Weight of the newest output in the long-term memory (λ)."""
    use_long_memory: bool = True
    """False replaces the long-term memory with the last confident output (an ablation)."""
    memory_heads: Few = 8
    """Number of heads of the attention among tracks."""
    position_temperature: Annotated[float, Field(gt=0, le=1e6)] = 20.0
    """Temperature of the sine embedding of image positions."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> ModelConfig:
        for heads in ("num_heads", "memory_heads"):
            if self.hidden_dim % getattr(self, heads):
                raise ValueError(f"hidden_dim {self.hidden_dim} is not divisible by {heads} {getattr(self, heads)}")
        if self.hidden_dim % 32:
            raise ValueError(f"hidden_dim {self.hidden_dim} is not a multiple of 32 (group normalisation)")
        if self.merge_layer > self.num_decoder_layers:
            raise ValueError(f"merge_layer {self.merge_layer} exceeds num_decoder_layers {self.num_decoder_layers}")
        return self

    def count_parameters(self, classes: int) -> int:
        """Return the approximate number of parameters, without building the network.

        A backbone of ``transformers`` is not counted: only the library knows its size.
        """
        dim, ffn, levels = self.hidden_dim, 2 * self.hidden_dim * self.ffn_dim, self.num_levels
        encoder, decoder = (
            2 * dim**2 + 3 * dim * self.num_heads * levels * points
            for points in (self.num_encoder_points, self.num_decoder_points)
        )
        width = self.backbone.width
        blocks = width**2 * sum((17 * depth + 8) << 2 * stage for stage, depth in enumerate(self.backbone.depths))
        projections = dim * width * (56 + 288 * (levels - 3))
        layers = self.num_encoder_layers * (encoder + ffn)
        layers += self.num_decoder_layers * (decoder + ffn + 6 * dim**2 + dim * classes)
        if self.backbone.transformers_type is not None:
            blocks = projections = 0
        return blocks + projections + layers + 20 * dim**2 + ffn + 2 * dim * self.num_queries


class InputConfig(Settings):
    """Size in pixels to which a frame is resized for the network."""

    short_side: Width = 800
    longest_side: Pixels = 1536


class MotionConfig(Settings):
    """Settings of the linear motion model for unseen tracks; off in every published result."""

    enabled: bool = False
    min_length: Annotated[int, Field(ge=2, le=1000)] = 3
    """Number of consecutive frames in which a track must have been seen to be moved."""
    max_length: Annotated[int, Field(ge=2, le=1000)] = 5
    """Number of last seen boxes whose mean step is used."""
    weight: Weight = 0.5
    """Factor of the mean step."""

    @model_validator(mode="after")
    def _ordered(self) -> MotionConfig:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} exceeds max_length {self.max_length}")
        return self


class TrackingConfig(Settings):
    """Settings of births, deaths and reported tracks; the defaults are those of DanceTrack."""

    det_thresh: Probability = 0.5
    """Lowest score of a detection that starts a track."""
    track_thresh: Probability = 0.5
    """Score below which a track counts as unseen."""
    result_thresh: Probability = 0.5
    """Score above which a track is reported."""
    miss_tolerance: Positive = 30
    """Number of consecutive unseen frames after which a track ends."""
    min_area: Annotated[float, Field(ge=0, le=1e12)] = 100.0
    """Box area in square pixels of the original frame above which a track is reported."""
    max_tracks: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Maximum number of tracks at a time. If births exceed it, those with the highest scores are kept."""
    motion: MotionConfig = MotionConfig()

    def override(self, values: dict[str, Any]) -> TrackingConfig:
        """Return the settings with some values replaced. Raises UserError if one is invalid."""
        try:
            return TrackingConfig.model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            raise UserError(_explain(error)) from None


class SamplingConfig(Settings):
    """Settings of clip lengths and frame distances (paper, section 4.2). Epochs count from 0."""

    lengths: Annotated[tuple[ClipLength, ...], Field(min_length=1, max_length=1000)] = (2, 3, 4, 5)
    steps: Stages = (6, 10, 14)
    """Epochs in which the next length begins; one fewer than ``lengths``."""
    interval: Positive = 10
    """Largest distance between neighbouring frames of a clip. The distance is drawn once per clip."""
    intervals: Stages = ()
    """Largest distance for each of ``lengths``, in place of ``interval``. Large ones help to learn appearance."""

    @model_validator(mode="after")
    def _stages(self) -> SamplingConfig:
        if len(self.steps) != len(self.lengths) - 1:
            raise ValueError(f"{len(self.lengths)} lengths need {len(self.lengths) - 1} steps, found {self.steps}")
        if any(b <= a for a, b in pairwise(self.steps)):
            raise ValueError(f"steps must ascend, found {self.steps}")
        if self.intervals and len(self.intervals) != len(self.lengths):
            raise ValueError(f"{len(self.lengths)} lengths need as many intervals, or none, found {self.intervals}")
        return self

    def largest_interval(self, epoch: int) -> int:
        """Return the largest distance between neighbouring frames of a clip in an epoch."""
        return self.intervals[self.stage(epoch)] if self.intervals else self.interval

    def length(self, epoch: int) -> int:
        """Return the number of frames of a clip in an epoch."""
        return self.lengths[self.stage(epoch)]

    def stage(self, epoch: int) -> int:
        """Return the index in ``lengths`` that holds in an epoch."""
        return bisect_right(self.steps, epoch)


class AugmentationConfig(Settings):
    """Settings of data augmentation, sizes in pixels; the defaults are those of DanceTrack."""

    flip: Probability = 0.5
    short_sides: Sides = tuple(range(608, 993, 32))
    """Sizes from which the short side of the network's input is drawn."""
    longest_side: Pixels = 1536
    crop: Probability = 0.5
    """Probability of a random crop before that resize."""
    crop_short_sides: Sides = (800, 1000, 1200)
    """Sizes from which the image's short side is drawn before it is cropped (COCO_SIZE: 400, 500, 600)."""
    crop_min_size: Width = 800
    """Smallest width and height of the crop (COCO_SIZE: 384)."""
    crop_max_size: Width = 1200
    """Largest width and height of the crop (COCO_SIZE: 600)."""
    overflow_boxes: bool = False
    """Let boxes extend beyond the crop (OVERFLOW_BBOX); otherwise they are clipped to it."""
    hsv: tuple[Level, Level, Level] = (5, 30, 30)
    """Largest shifts of hue (of 180), saturation and value (of 255), each applied to half of the clips."""
    reverse: Probability = 0.0
    """Probability that a clip of a video runs backwards (REVERSE_CLIP)."""
    still_shift: Width = 50
    """Largest shift per frame in a clip made from a still image."""
    still_reverse: Probability = 0.5
    """Probability that a clip made from a still image runs backwards."""

    @model_validator(mode="after")
    def _ordered(self) -> AugmentationConfig:
        if self.crop_min_size > self.crop_max_size:
            raise ValueError(f"crop_min_size {self.crop_min_size} exceeds crop_max_size {self.crop_max_size}")
        return self


class SplitConfig(Settings):
    """Split of a data set on disk; ``memotr data check`` reports its content."""

    path: PathText = "."
    """Folder of the data set, relative to the data root."""
    split: Annotated[str, Field(max_length=200)] | None = None
    """``train``, ``val``, ...; ``train_half`` and ``val_half`` halve every sequence of ``train``. By default ``train``
    (``data.val``: ``val``), or all there is."""
    format: DataFormat = "auto"


class SourceConfig(SplitConfig):
    """Split of a data set, and its part in the training."""

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Number of times that each start frame is used in an epoch; a fraction is drawn anew every epoch."""
    join_epoch: Count = 0
    """First epoch that uses the split."""


class DataConfig(Settings):
    """Settings of training and validation data, and of the clips made from them."""

    root: PathText = "."
    """Data root: folder that contains the data sets."""
    train: Annotated[tuple[SourceConfig, ...], Field(min_length=1, max_length=1000)] = (SourceConfig(),)
    val: SplitConfig | None = None
    """Split for validation and the figure of predictions; without it the figure shows training data."""
    workers: Annotated[int, Field(ge=0, le=1000)] = 4
    """Number of worker processes per device that prepare clips; 0 prepares them between the steps."""
    sampling: SamplingConfig = SamplingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()


class OptimizerConfig(Settings):
    """Settings of AdamW, with learning rates for four parameter groups, and its schedule. Epochs count from 0."""

    lr: Weight = 2e-4
    lr_backbone: Weight = 2e-5
    lr_points: Weight = 1e-5
    """Learning rate of reference points and sampling offsets."""
    lr_query_updater: Weight = 2e-4
    """Learning rate of the memory."""
    weight_decay: Weight = 5e-4
    clip_norm: Weight = 0.1
    """Largest norm of the gradient; 0 disables clipping."""
    milestones: Stages = (12,)
    """Epochs at which all learning rates are multiplied by ``drop_rate``."""
    drop_rate: Probability = 0.1
    only_query_updater_from: Count | None = None
    """Epoch from which the learning rates of all other groups are 0."""


class LossConfig(Settings):
    """Weights of the terms of the loss and of the matching costs."""

    label: Weight = 2.0
    l1: Weight = 5.0
    giou: Weight = 2.0
    identity: Weight = 0.0
    """Weight of the contrastive identity loss over a clip (not in the paper; see docs/training.md)."""
    aux: Annotated[tuple[Weight, ...], Field(max_length=100)] | None = None
    """Factor of the loss of each decoder layer before the last; None: 1 each."""
    match_label: Weight = 2.0
    match_l1: Weight = 5.0
    match_giou: Weight = 2.0


class OutputConfig(Settings):
    """Settings of the output of a training run."""

    log_every: Positive = 50
    """Number of steps between two lines of metrics."""
    save_every: Count = 500
    """Number of steps between two checkpoints within an epoch; 0 saves at the end of each epoch only."""
    keep_last: Positive = 3
    """Number of last epochs whose checkpoints are kept."""
    keep_every: Count = 0
    """Number of epochs between two checkpoints that are never deleted; 0 disables them."""
    val_every: Count = 0
    """Number of epochs between two validations; 0 disables them."""


class TrainingConfig(Settings):
    """Settings of the training; the defaults are the published DAB model on DanceTrack. Epochs count from 0."""

    epochs: Positive = 20
    batch_size: Width = 1
    """Number of clips per device."""
    batch_sizes: Annotated[tuple[Width, ...], Field(max_length=1000)] = ()
    """Number of clips per device for each of ``data.sampling.lengths``, in place of ``batch_size``."""
    accumulation: Positive = 1
    """Number of batches per step of the optimiser."""
    seed: Seed = 42
    precision: TrainingPrecision = "32"
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    drop_rate: Probability = 0.0
    """Share of the tracks that are dropped after a frame (TP_DROP_RATE)."""
    insert_rate: Probability = 0.0
    """Share of the tracks that add a false positive to the next frame (FP_INSERT_RATE)."""
    keep_strays: bool = False
    """Continue tracks that have lost their object as negatives if either of these rates is above 0, so that the model
    learns to end them. The published code drops them."""
    no_grad_frames: Counts = ()
    """Number of first frames of a clip without gradient, in each of the stages that ``no_grad_steps`` begin."""
    no_grad_steps: Counts = ()
    """First epochs of these stages."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the moving average of the weights that is validated and exported; 0 disables it."""
    frames_at_once: Positive = 1
    """Largest number of frames of a clip that pass backbone, encoder and detection decoder as one batch. ``memotr
    train`` works out a number for a new run that does not set it."""
    checkpoint_activations: Annotated[tuple[ModelPart, ...], Field(max_length=3)] = ()
    """Parts whose activations are recomputed in the backward pass to save memory."""
    compile: bool = False
    """Compile the layers of encoder and decoder with ``torch.compile``. The first steps of each run take minutes."""
    output: OutputConfig = OutputConfig()

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if value == 32 else value  # YAML reads 32 as a number

    @model_validator(mode="after")
    def _stages(self) -> TrainingConfig:
        if len(self.no_grad_frames) != len(self.no_grad_steps):
            raise ValueError(f"{len(self.no_grad_frames)} no_grad_frames for {len(self.no_grad_steps)} no_grad_steps")
        return self


class Config(Settings):
    """Complete configuration of a tracker and its training."""

    name: Annotated[str, Field(max_length=200)] = "memotr"
    """Name of the default output folder of a training in ``runs/``."""
    classes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CLASSES)] = ("person",)
    model: ModelConfig = ModelConfig()
    input: InputConfig = InputConfig()
    tracking: TrackingConfig = TrackingConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    @field_validator("name")
    @classmethod
    def _within(cls, name: str) -> str:
        _refuse_control_characters(name)
        place = PureWindowsPath(name)  # knows both slashes
        if place.anchor or ".." in place.parts or not place.name:
            raise ValueError(f"{name!r} would be a folder outside of runs/; use a plain name such as 'memotr'")
        return name

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        for name, count in Counter(classes).items():
            _refuse_control_characters(name)
            if count > 1:
                raise ValueError(f"every class has a name of its own, found {name!r} {count} times")
        return classes

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        parameters = self.model.count_parameters(len(self.classes))
        if parameters > MAX_PARAMETERS:
            raise ValueError(
                f"model has about {parameters:,} parameters, more than the {MAX_PARAMETERS:,} that can be built; use "
                "fewer or narrower layers"
            )
        if "backbone" in self.training.checkpoint_activations and self.model.backbone.norm == "batch":
            raise ValueError(
                "training.checkpoint_activations: a backbone with norm 'batch' would update its statistics twice "
                "per batch; leave 'backbone' out or use norm 'group'"
            )
        if self.training.batch_sizes and len(self.training.batch_sizes) != len(self.data.sampling.lengths):
            raise ValueError(
                f"training.batch_sizes has {len(self.training.batch_sizes)} numbers, data.sampling.lengths "
                f"{len(self.data.sampling.lengths)}: expected one for each"
            )
        if self.training.loss.aux is not None and len(self.training.loss.aux) != self.model.num_decoder_layers - 1:
            raise ValueError(
                f"training.loss.aux has {len(self.training.loss.aux)} weights, but there are "
                f"{self.model.num_decoder_layers - 1} decoder layers before the last"
            )
        return self

    def batch_size(self, epoch: int) -> int:
        """Return the number of clips per device in an epoch."""
        sizes = self.training.batch_sizes
        return sizes[self.data.sampling.stage(epoch)] if sizes else self.training.batch_size

    def to_yaml(self) -> str:
        """Return all settings, with defaults, as YAML for :func:`load_config`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _refuse_control_characters(name: str) -> None:
    if any(category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise ValueError(f"{name!r} has a control character or a line break in it")


def preset_names() -> list[str]:
    """Return the names of the configurations that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _presets().iterdir() if p.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """Return the YAML text of a preset."""
    return str((_presets() / f"{name}.yaml").read_text(encoding="utf-8"))


def load_config(source: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a preset, one of our YAML files or a published one (upper-case keys).

    Args:
        source: name of a preset or path of a YAML file.
        overrides: ``key=value`` with dotted keys (``tracking.det_thresh=0.4``), values as in YAML.

    Raises:
        UserError: no such preset or file, broken YAML, unknown key, value out of range.
    """
    if not isinstance(source, str | os.PathLike):
        raise wrong_type("a preset or a YAML file", source)
    text, origin = _read(source)
    raw = parse_yaml(text, origin) or {}
    if not isinstance(raw, dict):
        raise UserError(f"{origin}: expected settings as 'key: value' lines, found {type(raw).__name__}")
    if len(raw) > MAX_KEYS:
        raise UserError(f"{origin}: {len(raw):,} keys are not settings of a tracker")
    if any(str(key).isupper() for key in raw):
        raw = read_published_config(raw, origin)
    return make_config(raw, origin, overrides)


def make_config(raw: dict[str, Any], origin: str, overrides: list[str] | None = None) -> Config:
    """Validate settings with overrides; errors name ``origin``. Raises UserError."""
    check_values(raw, origin)
    try:
        return Config.model_validate(_override(deepcopy(raw), as_settings(overrides or [])))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) + "."
        given = (item for item in overrides or () if place.startswith(item.partition("=")[0] + "."))
        culprit = next(map(brief, given), origin)
        raise UserError(f"{culprit}: {_explain(error)}") from None


def _presets() -> Any:
    return resources.files("memotr") / "presets"


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{path}: no such configuration file")
        return read_text(path), str(path)
    if str(source) not in preset_names():
        raise UserError(f"{source}: neither a YAML file nor a preset; presets are {', '.join(preset_names())}")
    return preset_text(str(source)), f"preset {source}"


def as_settings(overrides: Sequence[str]) -> list[str]:
    """Return settings ``key=value`` as a list. Raises TypeError for one text, a sequence of letters, or a dict."""
    if isinstance(overrides, str | Mapping):
        raise wrong_type("settings as a list of texts, such as ['tracking.det_thresh=0.4']", overrides)
    return list(overrides)


def _override(raw: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals:
            raise UserError(f"{brief(item)}: expected key=value, for example tracking.det_thresh=0.4")
        node = raw
        *parents, leaf = key.split(".")
        for depth, parent in enumerate(parents, start=1):
            node = node.setdefault(parent, {})
            place, rest = ".".join(parents[:depth]), [*parents, leaf][depth]
            if isinstance(node, list):
                raise UserError(f"{brief(item)}: {place} is a list, which is given as a whole: {place}=[...]")
            if not isinstance(node, dict):
                raise UserError(f"{brief(item)}: {place} is a single value and has no key {rest}")
        try:
            node[leaf] = parse_yaml(text, item)
        except DocumentError as error:
            raise UserError(f"{brief(item)}: {error.reason}; put the value in quotes if it is text") from None
    return raw


def _explain(error: ValidationError) -> str:
    """Return the first problem in one line, with the nearest known key for an unknown one."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "tuple_type":
            message = "expected a list, given as a whole as [...]"
        found = "" if problem["type"] == "value_error" else f", found {brief(problem['input'])}"
        return f"{' '.join(place.split()) or 'settings':.200}: {message}{found}"
    *parents, key = (str(part) for part in problem["loc"])
    known = list(_fields_at(parents))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
    return f"unknown key {brief(place)}; {hint}"


def _fields_at(parents: list[str]) -> dict[str, Any]:
    """Return the fields of the settings at a path such as ("data", "train", "0")."""
    settings: type[BaseModel] = Config
    for parent in parents:
        if parent.isdigit():
            continue  # an element of a list: its settings were found with the list
        annotation = settings.model_fields[parent].annotation
        inner = next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), annotation)
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        settings = inner
    return dict(settings.model_fields)
