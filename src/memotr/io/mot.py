"""Writer of MOTChallenge text: ``frame,id,left,top,width,height,score,-1,-1,-1``, frames from 1, boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memotr.io.frames import Frame
from memotr.io.sinks import TextSink
from memotr.tracks import Tracks


class MotSink(TextSink):
    """Sink for MOTChallenge results: one line per object, with score 1 as the published tracker writes it.

    Frame numbers are those of the source plus 1, so that lines match their images also with a start or a stride.
    Numbers have enough digits to read back the same box: left, top and their sums with width and height are exactly the
    float32 corners.

    Args:
        path: file to write.
        class_numbers: value of the class column for each label; None: -1 if there is only one class, otherwise the
            label + 1, as in ground truth of several classes.
    """

    def __init__(self, path: str | Path, class_numbers: Sequence[int] | None = None) -> None:
        super().__init__(path)
        self.class_numbers = class_numbers

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        count = len(tracks.class_names)
        numbers = self.class_numbers or ([-1] if count == 1 else range(1, count + 1))
        classes = [numbers[label] for label in tracks.labels]
        for i, (x1, y1, x2, y2), c in zip(tracks.ids.tolist(), tracks.boxes.tolist(), classes, strict=True):
            self.file.write(f"{tracks.frame + 1},{i},{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},1,{c},-1,-1\n")
