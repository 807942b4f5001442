"""Translation of the authors' configuration files (upper-case keys) to settings of this package."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from memotr.documents import brief
from memotr.errors import UserError, warn
from memotr.vocabulary import ModelPart

BDD100K_CLASSES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")

BDD100K_RENAMED = {"bike": "bicycle", "caravan": "car", "motor": "motorcycle", "person": "pedestrian", "van": "car"}
"""Class name in older label files → current name."""

CLASSES = {
    "DanceTrack": ("person",),
    "SportsMOT": ("person",),
    "MOT17": ("person",),
    "MOT17_SPLIT": ("person",),
    "BDD100K": BDD100K_CLASSES,
}
"""Data set → classes of the authors' models."""

_CROWDHUMAN = {"path": "CrowdHuman", "split": "val", "format": "crowdhuman"}

_TRAINED_ON: dict[str, list[dict[str, Any]]] = {
    "DanceTrack": [{"path": "DanceTrack", "split": "train", "format": "mot"}],
    "SportsMOT": [{"path": "SportsMOT", "split": "train", "format": "mot"}],
    "MOT17": [{"path": "MOT17", "split": "train", "format": "mot17"}, _CROWDHUMAN],
    "MOT17_SPLIT": [{"path": "MOT17", "split": "train_half", "format": "mot17"}, _CROWDHUMAN],
    "BDD100K": [{"path": "BDD100K", "split": "train", "format": "bdd100k"}],
}

COCO_CROP = {"crop_short_sides": [400, 500, 600], "crop_min_size": 384, "crop_max_size": 600}

_KEYS = {
    "HIDDEN_DIM": "model.hidden_dim",
    "FFN_DIM": "model.ffn_dim",
    "NUM_FEATURE_LEVELS": "model.num_levels",
    "NUM_HEADS": "model.num_heads",
    "NUM_ENC_POINTS": "model.num_encoder_points",
    "NUM_DEC_POINTS": "model.num_decoder_points",
    "NUM_ENC_LAYERS": "model.num_encoder_layers",
    "NUM_DEC_LAYERS": "model.num_decoder_layers",
    "NUM_DET_QUERIES": "model.num_queries",
    "MERGE_DET_TRACK_LAYER": "model.merge_layer",
    "UPDATE_THRESH": "model.update_threshold",
    "LONG_MEMORY_LAMBDA": "model.long_memory_lambda",
    "DROPOUT": "model.dropout",
    "DET_SCORE_THRESH": "tracking.det_thresh",
    "TRACK_SCORE_THRESH": "tracking.track_thresh",
    "RESULT_SCORE_THRESH": "tracking.result_thresh",
    "MISS_TOLERANCE": "tracking.miss_tolerance",
    "USE_MOTION": "tracking.motion.enabled",
    "MOTION_MIN_LENGTH": "tracking.motion.min_length",
    "MOTION_MAX_LENGTH": "tracking.motion.max_length",
    "MOTION_LAMBDA": "tracking.motion.weight",
    "NUM_WORKERS": "data.workers",
    "REVERSE_CLIP": "data.augmentation.reverse",
    "OVERFLOW_BBOX": "data.augmentation.overflow_boxes",
    "SAMPLE_STEPS": "data.sampling.steps",
    "EPOCHS": "training.epochs",
    "BATCH_SIZE": "training.batch_size",
    "ACCUMULATION_STEPS": "training.accumulation",
    "SEED": "training.seed",
    "LR": "training.optimizer.lr",
    "LR_BACKBONE": "training.optimizer.lr_backbone",
    "LR_POINTS": "training.optimizer.lr_points",
    "WEIGHT_DECAY": "training.optimizer.weight_decay",
    "CLIP_MAX_NORM": "training.optimizer.clip_norm",
    "LR_DROP_MILESTONES": "training.optimizer.milestones",
    "LR_DROP_RATE": "training.optimizer.drop_rate",
    "ONLY_TRAIN_QUERY_UPDATER_AFTER": "training.optimizer.only_query_updater_from",
    "TP_DROP_RATE": "training.drop_rate",
    "FP_INSERT_RATE": "training.insert_rate",
    "NO_GRAD_FRAMES": "training.no_grad_frames",
    "NO_GRAD_STEPS": "training.no_grad_steps",
    "MATCH_COST_CLASS": "training.loss.match_label",
    "MATCH_COST_BBOX": "training.loss.match_l1",
    "MATCH_COST_GIOU": "training.loss.match_giou",
    "LOSS_WEIGHT_FOCAL": "training.loss.label",
    "LOSS_WEIGHT_L1": "training.loss.l1",
    "LOSS_WEIGHT_GIOU": "training.loss.giou",
    "AUX_LOSS_WEIGHT": "training.loss.aux",
}

_FIXED = {"BACKBONE": "resnet50", "ACTIVATION": "ReLU", "EXTRA_TRACK_ATTN": False}
"""Settings that are equal in all published models and not supported with other values."""

_FIXED_IN_TRAINING = {"LR_SCHEDULER": "MultiStep", "SAMPLE_MODES": ["random_interval"]}
"""Training settings that are not supported with other values. Checkpoints trained with others can be used to track."""

_READ_ELSEWHERE = {
    "DATASET",
    "USE_DAB",
    "USE_CHECKPOINT",
    "COCO_SIZE",
    "USE_MOTSYNTH",
    "MOTSYNTH_RATE",
    "DATA_ROOT",
} | {
    *("SAMPLE_LENGTHS", "SAMPLE_INTERVALS", "SAMPLE_MOT17_JOIN", "USE_CROWDHUMAN"),
}
_IGNORED = {
    *("AUX_LOSS", "AVAILABLE_GPUS", "CHECKPOINT_LEVEL", "CONFIG_PATH", "DATA_PATH", "DEVICE", "EVAL_DATA_SPLIT"),
    *("EVAL_DIR", "EVAL_MODE", "EVAL_MODEL", "EVAL_PORT", "EVAL_THREADS", "GIT_VERSION", "MODE", "MULTI_CHECKPOINT"),
    *("OUTPUTS_DIR", "PRETRAINED_MODEL", "RESUME", "RESUME_SCHEDULER", "RETURN_INTER_DEC", "SUBMIT_DATA_SPLIT"),
    *("SUBMIT_DIR", "SUBMIT_MODEL", "USE_DISTRIBUTED", "VISUALIZE"),
}
"""Keys that are ignored, because they are command-line options here or equal in all published models."""


def read_published_config(raw: dict[str, Any], origin: str) -> dict[str, Any]:
    """Translate the authors' settings to nested settings of this package.

    Args:
        raw: settings with upper-case keys.
        origin: name of their source for messages.

    Raises:
        UserError: a data set or an architecture that the authors have not published, or a misspelt key.
    """
    _refuse_misspelt(raw, origin)
    for key, value in _FIXED.items():
        if raw.get(key, value) != value:
            raise UserError(f"{origin}: {key} is {brief(raw[key])}; only {value!r} is supported")
    for key, value in _FIXED_IN_TRAINING.items():
        if raw.get(key, value) != value:
            warn(f"{origin}: {key} is {brief(raw[key])}; training would use {value!r}")
    dataset = raw.get("DATASET", "DanceTrack")
    if not isinstance(dataset, str) or dataset not in CLASSES:
        known = ", ".join(CLASSES)
        raise UserError(
            f"{origin}: DATASET {brief(dataset)} is not one of {known}; write a memotr configuration instead"
        )
    settings: dict[str, Any] = {"name": dataset, "classes": list(CLASSES[dataset])}
    _set(settings, "model.variant", "dab" if raw.get("USE_DAB", False) else "deformable-detr")
    settings["data"] = _data(raw, dataset, origin)
    for key, path in _KEYS.items():
        if raw.get(key) is not None:
            _set(settings, path, raw[key])
    if raw.get("LR") is not None:
        _set(settings, "training.optimizer.lr_query_updater", raw["LR"])
    if raw.get("USE_CHECKPOINT"):
        _set(settings, "training.checkpoint_activations", list(get_args(ModelPart)))
    return settings


def _refuse_misspelt(raw: dict[str, Any], origin: str) -> None:
    """Raise UserError for a key that is nearly a known one; other unknown keys are ignored."""
    known = sorted({*_KEYS, *_FIXED, *_FIXED_IN_TRAINING, *_READ_ELSEWHERE, *_IGNORED})
    for key in raw:
        near = difflib.get_close_matches(str(key).upper(), known, n=1, cutoff=0.8)
        if key not in known and near:
            raise UserError(f"{origin}: unknown key {brief(key)}; did you mean {near[0]!r}?")


def _data(raw: dict[str, Any], dataset: str, origin: str) -> dict[str, Any]:
    """Return the data settings; the published code derives some of them from the name of the data set."""
    data: dict[str, Any] = {"train": [dict(split) for split in _TRAINED_ON[dataset]], "augmentation": {}}
    data["train"][0]["join_epoch"] = raw.get("SAMPLE_MOT17_JOIN") or 0
    if raw.get("USE_MOTSYNTH") and raw.get("MOTSYNTH_RATE"):
        data["train"].append({"path": "MOTSynth", "format": "motsynth", "weight": raw["MOTSYNTH_RATE"]})
    if raw.get("DATA_ROOT"):
        data["root"] = raw["DATA_ROOT"]
    if raw.get("COCO_SIZE"):
        data["augmentation"] |= COCO_CROP
    if dataset == "BDD100K":  # sizes and crop are constants in the authors' code
        sizes = {"short_sides": list(range(480, 801, 32)), "longest_side": 1333, "overflow_boxes": True}
        data["augmentation"] |= COCO_CROP | sizes
    if raw.get("USE_CROWDHUMAN") is False:
        data["train"] = [split for split in data["train"] if split["format"] != "crowdhuman"]
    if sampling := _sampling(raw, origin):
        data["sampling"] = sampling
    return data


def _sampling(raw: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return the sampling settings; drop lengths beyond the last step, and repeat the last interval as needed."""
    lengths, steps, intervals = (_numbers(raw, f"SAMPLE_{key}", origin) for key in ("LENGTHS", "STEPS", "INTERVALS"))
    if not lengths or raw.get("SAMPLE_STEPS") is None:
        if len(set(intervals)) > 1:
            raise UserError(f"{origin}: SAMPLE_INTERVALS is {intervals}, but SAMPLE_LENGTHS or SAMPLE_STEPS is missing")
        return {"interval": intervals[0]} if intervals else {}
    lengths = lengths[: len(steps) + 1]
    intervals = [intervals[min(i, len(intervals) - 1)] for i in range(len(lengths))] if intervals else []
    if len(set(intervals)) > 1:
        return {"lengths": lengths, "intervals": intervals}
    return {"lengths": lengths} | ({"interval": intervals[0]} if intervals else {})


def _numbers(raw: dict[str, Any], key: str, origin: str) -> list[int]:
    """Return a list of whole numbers, empty if it is missing. Raises UserError for other values."""
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
        raise UserError(f"{origin}: {key} is {brief(value)}; expected a list of whole numbers, such as [2, 3, 4]")
    return value


def _set(settings: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
    settings[leaf] = value
