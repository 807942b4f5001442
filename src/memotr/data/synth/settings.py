"""Settings of a SynthDance data set, with the values of the benchmark as defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from memotr.documents import brief
from memotr.errors import UserError
from memotr.vocabulary import DifficultyName

SPLITS: Mapping[str, int] = MappingProxyType({"train": 100, "val": 10, "test": 20})
CLASSES = ("person", "robot")
MAX_FIGURES = 12
"""Maximum number of figures: there are as many individual colours."""
FPS = 20
"""Frames per second, as in DanceTrack."""
MAX_SEQUENCES, MAX_FRAMES = 100_000, 10_000
"""Maximum number of sequences of a split, and of frames of a sequence."""
MAX_NAME_LENGTH = 100
NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Difficulty:
    """Parameters that make the figures hard to track.

    Attributes:
        pace: number of deceptive moves (swaps, meetings, departures) per figure and second.
        reversals: share of meetings in which the figures turn back at the moment of contact.
        likeness: 0 (individual colours) to 1 (no individual colours).
        scenery: maximum number of occluders.
        pan: largest camera motion to either side, in frame heights.
        blur: largest standard deviation of the lens blur, in pixels.
        noise: largest standard deviation of the pixel noise, of 255.
    """

    pace: float = 0.6
    reversals: float = 0.65
    likeness: float = 0.1
    scenery: int = 2
    pan: float = 0.12
    blur: float = 0.6
    noise: float = 5.0


DIFFICULTIES: Mapping[DifficultyName, Difficulty] = MappingProxyType(
    {
        "standard": Difficulty(),
        "easy": Difficulty(pace=0.2, reversals=0.3, likeness=0.0, scenery=0, pan=0.0, blur=0.0, noise=2.0),
    }
)


@dataclass(frozen=True)
class SynthSettings:
    """Settings that determine every byte of the files.

    Attributes:
        seed: random seed; splits and sequences have independent random streams.
        splits: name → number of sequences.
        frames: number of frames of every sequence.
        size: (height, width) in pixels.
        figures: smallest and maximum number of figures in a sequence.
        classes: 1: persons only; 2: about a third are robots.
        difficulty: a name in ``DIFFICULTIES``.
    """

    seed: int = 0
    splits: Mapping[str, int] = field(default_factory=lambda: dict(SPLITS))
    frames: int = 100
    size: tuple[int, int] = (192, 320)
    figures: tuple[int, int] = (2, MAX_FIGURES)
    classes: int = 1
    difficulty: DifficultyName = "standard"

    def __post_init__(self) -> None:
        """Raise UserError for values out of range."""
        fewest, most = self.figures
        height, width = self.size
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed {self.seed}: expected a whole number from 0, below 2^63")
        if not self.splits or not 1 <= min(self.splits.values()) <= max(self.splits.values()) <= MAX_SEQUENCES:
            raise UserError(
                f"splits: name at least one, each with at least one sequence and at most {MAX_SEQUENCES:,}, such as "
                "train=100,val=10"
            )
        if bad := [name for name in self.splits if not name.replace("_", "").isalnum() or len(name) > MAX_NAME_LENGTH]:
            raise UserError(f"splits: {brief(bad[0])} is no valid folder name; use letters, digits and _")
        if not 2 <= self.frames <= MAX_FRAMES:
            raise UserError(f"frames {self.frames}: expected 2 to {MAX_FRAMES:,}")
        if not (64 <= height <= 2160 and 64 <= width <= 3840 and 1 / 2 <= width / height <= 4):
            raise UserError(
                f"size {width}×{height}: expected 64 to 3840 × 64 to 2160, from half to four times as wide as high"
            )
        if not 1 <= fewest <= most <= MAX_FIGURES:
            raise UserError(f"figures {fewest}-{most}: expected two numbers from 1 to {MAX_FIGURES}, smaller first")
        if not 1 <= self.classes <= len(CLASSES):
            raise UserError(f"classes {self.classes}: expected 1 (persons) or 2 (persons and robots)")
        if self.difficulty not in DIFFICULTIES:
            raise UserError(f"difficulty {self.difficulty!r}: choose from {', '.join(DIFFICULTIES)}")


def parse_splits(text: str) -> dict[str, int]:
    """Return the splits of a list such as ``train=100,val=10``. Raises UserError for anything else."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.partition("=")
        if not name or not NUMBER.fullmatch(count) or name in found:
            raise UserError(
                f"splits {brief(text)}: write each once with a number of sequences, such as train=100,val=10"
            )
        found[name] = int(count)
    return found


def parse_pair(option: str, text: str, separator: str) -> tuple[int, int]:
    """Return the two numbers of a text such as ``320x192`` or ``2-12``.

    Args:
        option: name of the option for messages.
        text: the text.
        separator: text between the numbers; "×" is accepted as well.

    Raises:
        UserError: the text is anything else.
    """
    first, _, second = text.lower().replace("×", separator).partition(separator)
    if not NUMBER.fullmatch(first) or not NUMBER.fullmatch(second):
        raise UserError(f"{option} {brief(text)}: write two whole numbers with {separator!r} between them")
    return int(first), int(second)
