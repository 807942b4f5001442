"""Weights files: recognition, loading and saving of trackers, and detectors to start training from."""

from memotr.weights.checkpoint import Checkpoint, Kind, read_checkpoint
from memotr.weights.convert import convert
from memotr.weights.describe import describe
from memotr.weights.model_files import choose_device, load_model, save_model
from memotr.weights.pretrained import LoadReport, load_detector

__all__ = [
    "Checkpoint",
    "Kind",
    "LoadReport",
    "choose_device",
    "convert",
    "describe",
    "load_detector",
    "load_model",
    "read_checkpoint",
    "save_model",
]
