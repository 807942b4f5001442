"""MeMOTR: end-to-end multi-object tracking with long-term memory (Gao & Wang, ICCV 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memotr.build import build_model
    from memotr.config import load_config
    from memotr.tracking.tracker import Tracker
    from memotr.tracks import Tracks
    from memotr.weights.model_files import load_model
    from memotr.weights.publish import from_pretrained, push_to_hub

__version__ = "0.1.0"

__all__ = ["Tracker", "Tracks", "build_model", "from_pretrained", "load_config", "load_model", "push_to_hub"]

_HOMES = {
    "Tracker": "memotr.tracking.tracker",
    "Tracks": "memotr.tracks",
    "build_model": "memotr.build",
    "from_pretrained": "memotr.weights.publish",
    "load_config": "memotr.config",
    "load_model": "memotr.weights.model_files",
    "push_to_hub": "memotr.weights.publish",
}


def __getattr__(name: str) -> Any:
    """Import public names at their first use, so that ``import memotr`` loads neither PyTorch nor OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
