"""The same boxes given to ByteTrack, and both trackers' identities scored and shown beside the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from trackers import ByteTrackTracker

from memotr.data.sequences import FrameBoxes, Sequence
from memotr.demo.picture import side_by_side
from memotr.evaluation.ground_truth import load_ground_truth
from memotr.evaluation.scoring import evaluate
from memotr.io.frames import Frame
from memotr.io.mot import MotSink
from memotr.tracks import Tracks

OURS, MOTION = "MeMOTR", "ByteTrack on its boxes"
ROWS = 4  # frames in the picture
METRICS = ("HOTA", "DetA", "AssA", "IDF1")  # in percent


class MotionTracker:
    """ByteTrack (Zhang et al., ECCV 2022) of the package ``trackers``, with its own settings."""

    def __init__(self, fps: float) -> None:
        """Args: fps: frames per second of the video."""
        self._tracker = ByteTrackTracker(frame_rate=fps)

    def update(self, tracks: Tracks) -> Tracks:
        """The boxes of the next frame that it follows, with its ids; those given are not looked at."""
        given = replace(tracks.to_supervision(), tracker_id=None, data={"position": np.arange(len(tracks))})
        found: Any = self._tracker.update(given)  # its annotation allows anything
        kept = found[found.tracker_id >= 0]
        if not len(kept):
            return tracks[:0]
        return replace(tracks[kept.data["position"].astype(np.int64)], ids=kept.tracker_id.astype(np.int64))


class Comparison:
    """Is told of every frame and its tracks; at the end there are ByteTrack's results, a picture and a table.

    Args:
        clip: what is tracked, with its ground truth.
        file: for ByteTrack's results, MOT text.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, clip: Sequence, file: Path) -> None:
        self.clip = clip
        self.motion = MotionTracker(clip.fps or 1)
        self.sink = MotSink(file)
        self.images: dict[int, NDArray[np.uint8]] = {}
        self.tracks: dict[str, list[Tracks]] = {OURS: [], MOTION: []}
        # Not the first frame: ByteTrack reports nobody before it has seen him twice.
        self._shown = set(np.linspace(0, len(clip) - 1, ROWS + 1)[1:].round().astype(int).tolist())

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """One more frame."""
        followed = self.motion.update(tracks)
        self.sink.write(frame, followed)
        self.tracks[OURS].append(tracks)
        self.tracks[MOTION].append(followed)
        if frame.index in self._shown:
            self.images[frame.index] = frame.image

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sink.close()

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: a few frames with the truth, our tracks and ByteTrack's."""
        boxes = self.clip.boxes or ()
        truth = [_as_tracks(frame, k, self.clip.classes) for k, frame in enumerate(boxes)]
        return side_by_side(self.images, truth, self.tracks)

    def table(self, truth: Path, results: dict[str, Path]) -> Table:
        """Scores.

        Args:
            truth: the clip's folder.
            results: title → folder of MOT text.
        """
        table = Table("tracker", *METRICS, "id switches", title=f"{self.clip.name}, {len(self.clip)} frames")
        ground_truth = load_ground_truth(truth)
        for title, folder in results.items():
            scores = evaluate(ground_truth, folder, workers=1).combined
            table.add_row(title, *(f"{100 * scores[name]:.1f}" for name in METRICS), f"{scores['IDSW']:.0f}")
        return table


def _as_tracks(boxes: FrameBoxes, frame: int, classes: tuple[str, ...]) -> Tracks:
    return Tracks(boxes.ids, boxes.boxes, np.ones(len(boxes), np.float32), boxes.labels, frame, classes)
