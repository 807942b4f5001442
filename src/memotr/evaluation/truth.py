"""What is judged, and by what: ground truth and a tracker's results as evaluation needs them.

Training keeps the objects to learn from. Here distractors, zero marks and ignore regions stay, with boxes in float64 as
written: official numbers depend on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from memotr.data.sequences import first_half_length
from memotr.evaluation.scalabel import ScalabelVideo
from memotr.evaluation.teta_boxes import Bools, VideoBoxes

OBJECTS = ("object",)  # the one class of data that names none


def second_half(length: int) -> range:
    """Return the numbers, from 1, of the frames that half splits validate on."""
    return range(first_half_length(length) + 1, length + 1)


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """Ground truth of one sequence.

    Attributes:
        name: of the sequence.
        frames: numbers of the T frames to score, ascending, as files count them. A range where there are no gaps: it
            costs nothing, whatever length a file announces.
        objects: boxes; ``frames`` in it are indices 0 … T − 1, labels are classes. Ignored ones are not scored (mark
            0, or a class that is not), but a prediction may match them instead of a scored one.
        distractors: (N,) which of ``objects`` take the predictions that match them out of the game.
        regions: ignore regions: predictions in them that match nothing are no errors.
        length: number of frames of the sequence, whether all are scored or not.
        folder: of the sequence on disk, where its images may be; None where there is none.
        images: names of the image files of all ``length`` frames where the ground truth has them; else empty.
    """

    name: str
    frames: Sequence[int]
    objects: VideoBoxes
    distractors: Bools
    regions: VideoBoxes
    length: int
    folder: Path | None = None
    images: tuple[str, ...] = ()

    def blind(self) -> SequenceTruth:
        """With all classes as one."""
        boxes = self.objects
        one = VideoBoxes(boxes.frames, boxes.ids, np.zeros(len(boxes), np.int64), boxes.boxes, boxes.ignore)
        return replace(self, objects=one)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The sequences of a split.

    Attributes:
        path: where it was read.
        sequences: in order.
        classes: names of the classes that are scored.
        numbers: number of a class in MOTChallenge results → its label; None: there is one class, whatever results say.
        only_class: results that name a greater class than this are refused, as TrackEval does; None: any may be named.
        videos: BDD100K only: the labels as read.
    """

    path: Path
    sequences: tuple[SequenceTruth, ...]
    classes: tuple[str, ...]
    numbers: Mapping[int, int] | None = None
    only_class: int | None = None
    videos: Mapping[str, ScalabelVideo] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sequence.name for sequence in self.sequences)

    def select(self, names: Sequence[str]) -> GroundTruth:
        """With these sequences only."""
        return replace(self, sequences=tuple(s for s in self.sequences if s.name in names))

    def blind(self) -> GroundTruth:
        """With all classes as one."""
        return replace(self, sequences=tuple(s.blind() for s in self.sequences), classes=OBJECTS, numbers=None)


@dataclass(frozen=True, eq=False)
class Results:
    """What a tracker found, beside the ground truth it is to be judged by.

    Attributes:
        truth: of the sequences to score.
        boxes: a sequence's name → predictions, frames counted as in its truth.
        notes: what the user should know about how the files were taken.
    """

    truth: GroundTruth
    boxes: Mapping[str, VideoBoxes]
    notes: tuple[str, ...]
