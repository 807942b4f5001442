"""Kinds of weights files."""

from enum import StrEnum


class Kind(StrEnum):
    """Kind of a weights file."""

    TRACKER = "tracker"
    TRAINING = "tracker with its training state"
    DETECTOR = "detector"
    BACKBONE = "backbone"
