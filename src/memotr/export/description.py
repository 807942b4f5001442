"""What an exported file says of itself, as texts under names, for those who drive it from any language."""

from __future__ import annotations

import json
from collections.abc import Mapping

import memotr
from memotr.config import Config, make_config
from memotr.data.preprocess import MEAN, STD
from memotr.documents import parse_json, parse_yaml
from memotr.errors import UserError
from memotr.export.frame_step import SMALLEST, STRIDE, empty_state

FORMAT = "1"
"""Of names, shapes and meaning of inputs and outputs."""


def describe(config: Config) -> dict[str, str]:
    """Texts for the file's metadata. All but ``config`` (YAML) and the two versions are JSON."""
    tracking = config.tracking
    values = {
        "classes": config.classes,
        "input": {
            "short_side": config.input.short_side,
            "longest_side": config.input.longest_side,
            "multiple_of": STRIDE,
            "at_least": SMALLEST,
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
    """Parse the texts of :func:`describe` as a program carries them. Raises UserError where they are anything else."""
    texts = parse_json(document, origin)
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(f"{origin}: its description is damaged; export the checkpoint again")
    return texts


def read_config(texts: Mapping[str, str], origin: str) -> Config:
    """The configuration of the model that was exported.

    Raises:
        UserError: the texts are not those of :func:`describe`, or of a format that is not known here.
    """
    if "memotr_format" not in texts:
        raise UserError(f"{origin}: was not made by `memotr export`")
    if texts["memotr_format"] != FORMAT:
        raise UserError(
            f"{origin}: is of format {texts['memotr_format']}, made by memotr {texts.get('memotr_version', '?')}; this "
            f"version reads format {FORMAT}: export the checkpoint again"
        )
    settings = parse_yaml(texts.get("config", ""), origin)
    if not isinstance(settings, dict):
        raise UserError(f"{origin}: its configuration is damaged; export the checkpoint again")
    return make_config(settings, origin)
