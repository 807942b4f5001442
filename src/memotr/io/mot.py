"""MOTChallenge text: ``frame,id,left,top,width,height,score,-1,-1,-1``, frames from 1, boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memotr.io.frames import Frame
from memotr.io.sinks import TextSink
from memotr.tracks import Tracks


class MotSink(TextSink):
    """One line an object, the score always 1, as the published tracker writes it.

    The number of a frame is its number in the source plus 1, so that with a start or a stride the lines still belong to
    the right images. Numbers have as many digits as it takes to read back the same box: left, top and their sums with
    width and height are the float32 corners exactly.

    Args:
        path: of the file.
        class_numbers: what the column of the class says, for each label; None: -1 where there is but one class, else
            the label + 1, as ground truth of several classes counts them.
    """

    def __init__(self, path: Path, class_numbers: Sequence[int] | None = None) -> None:
        super().__init__(path)
        self.class_numbers = class_numbers

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        count = len(tracks.class_names)
        numbers = self.class_numbers or ([-1] if count == 1 else range(1, count + 1))
        classes = [numbers[label] for label in tracks.labels]
        for i, (x1, y1, x2, y2), c in zip(tracks.ids.tolist(), tracks.boxes.tolist(), classes, strict=True):
            self.file.write(f"{tracks.frame + 1},{i},{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},1,{c},-1,-1\n")
