"""Description of an exported tracker inside its file: name → text, for programs in any language."""

from __future__ import annotations

import json
from collections.abc import Mapping

import memotr
from memotr.config import Config, make_config
from memotr.data.preprocess import MEAN, STD
from memotr.documents import parse_json, parse_yaml
from memotr.errors import UserError
from memotr.export.frame_step import MIN_SIDE, STRIDE, empty_state

FORMAT = "1"
"""Version of the names, shapes and meanings of inputs and outputs."""


def describe(config: Config) -> dict[str, str]:
    """Return name → text for the file's metadata. Texts are JSON, except ``config`` (YAML) and the two versions."""
    tracking = config.tracking
    values = {
        "classes": config.classes,
        "input": {
            "short_side": config.input.short_side,
            "longest_side": config.input.longest_side,
            "multiple_of": STRIDE,
            "at_least": MIN_SIDE,
            "mean": MEAN,
            "std": STD,
        },
        "thresholds": {
            "det_thresh": tracking.det_thresh,
            "track_thresh": tracking.track_thresh,
            "miss_tolerance": tracking.miss_tolerance,
            "result_thresh": tracking.result_thresh,
            "min_area": tracking.min_area,
        },
        "state": {
            name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": value.shape}
            for name, value in empty_state(config).items()
        },
    }
    return {
        "memotr_format": FORMAT,
        "memotr_version": memotr.__version__,
        **{name: json.dumps(value, allow_nan=False) for name, value in values.items()},
        "config": config.to_yaml(),
    }


def read_texts(document: bytes, origin: str) -> dict[str, str]:
    """Parse the JSON document with the texts of :func:`describe`. Raises UserError for anything else."""
    texts = parse_json(document, origin)
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(f"{origin}: its description is damaged; export the checkpoint again")
    return texts


def read_config(texts: Mapping[str, str], origin: str) -> Config:
    """Return the configuration of the exported model.

    Raises:
        UserError: the texts are not those of :func:`describe`, or have an unknown format.
    """
    if "memotr_format" not in texts:
        raise UserError(f"{origin}: was not made by `memotr export`")
    if texts["memotr_format"] != FORMAT:
        raise UserError(
            f"{origin}: has format {texts['memotr_format']} of memotr {texts.get('memotr_version', '?')}, but this "
            f"version reads format {FORMAT}: export the checkpoint again"
        )
    settings = parse_yaml(texts.get("config", ""), origin)
    if not isinstance(settings, dict):
        raise UserError(f"{origin}: its configuration is damaged; export the checkpoint again")
    return make_config(settings, origin)
