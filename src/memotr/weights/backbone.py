"""Start of a tracker from pretrained weights of its backbone alone."""

from __future__ import annotations

from pathlib import Path

from memotr.errors import UserError
from memotr.models.memotr import MeMOTR
from memotr.weights.checkpoint import read_tensors


def load_backbone(model: MeMOTR, path: Path) -> str:
    """Fill the backbone of a tracker that is to be trained; return a sentence that says what was loaded.

    Args:
        model: changed in place, on any device.
        path: file of the backbone's own library (torchvision or timm for a ResNet), or a Hugging Face model folder.

    Raises:
        UserError: the file cannot be read or does not fit.
    """
    state = read_tensors(path)
    name = model.config.model.backbone.name
    try:
        fresh = model.backbone.load(state)
    except ValueError as error:
        raise UserError(f"{path}: does not fit model.backbone ({name}): {error}") from None
    rest = f", except {len(fresh)} fresh tensors ({fresh[0]}, ...)" if fresh else ""
    return f"starting from random weights, the backbone ({name}) from {path}{rest}"
