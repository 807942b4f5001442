"""MeMOTR: end-to-end multi-object tracking with long-term memory (Gao & Wang, ICCV 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memotr.api import evaluate, track, train
    from memotr.build import build_model
    from memotr.config import load_config
    from memotr.errors import MemotrWarning, UserError
    from memotr.io.draw import Annotator
    from memotr.io.jsonl import JsonLinesSink
    from memotr.io.mot import MotSink
    from memotr.io.mp4 import VideoSink
    from memotr.io.sources import open_source
    from memotr.tracking.supervision_tracker import SupervisionTracker
    from memotr.tracking.tracker import Tracker
    from memotr.tracks import Tracks
    from memotr.weights.model_files import load_model
    from memotr.weights.publish import from_pretrained, push_to_hub

__version__ = "0.1.0"

__all__ = [
    "Annotator",
    "JsonLinesSink",
    "MemotrWarning",
    "MotSink",
    "SupervisionTracker",
    "Tracker",
    "Tracks",
    "UserError",
    "VideoSink",
    "build_model",
    "evaluate",
    "from_pretrained",
    "load_config",
    "load_model",
    "open_source",
    "push_to_hub",
    "track",
    "train",
]

_HOMES = {
    "Annotator": "memotr.io.draw",
    "JsonLinesSink": "memotr.io.jsonl",
    "MemotrWarning": "memotr.errors",
    "MotSink": "memotr.io.mot",
    "SupervisionTracker": "memotr.tracking.supervision_tracker",
    "Tracker": "memotr.tracking.tracker",
    "Tracks": "memotr.tracks",
    "UserError": "memotr.errors",
    "VideoSink": "memotr.io.mp4",
    "build_model": "memotr.build",
    "evaluate": "memotr.api",
    "from_pretrained": "memotr.weights.publish",
    "load_config": "memotr.config",
    "load_model": "memotr.weights.model_files",
    "open_source": "memotr.io.sources",
    "push_to_hub": "memotr.weights.publish",
    "track": "memotr.api",
    "train": "memotr.api",
}


def __getattr__(name: str) -> Any:
    """Import public names at their first use, so that ``import memotr`` loads neither PyTorch nor OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
