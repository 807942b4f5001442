"""Comparison of the tracker with ByteTrack on the same boxes: scores, and pictures next to the ground truth."""

from __future__ import annotations

from collections.abc import Iterable
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

OURS, BYTETRACK = "MeMOTR", "ByteTrack on its boxes"
ROWS = 4
"""Number of frames in the picture."""
METRICS = ("HOTA", "DetA", "AssA", "IDF1")
"""Metrics of the table, in percent."""


class MotionTracker:
    """ByteTrack (Zhang et al., ECCV 2022) of the package ``trackers``, with its default settings.

    Args:
        fps: frames per second of the video.
    """

    def __init__(self, fps: float) -> None:
        self._tracker = ByteTrackTracker(frame_rate=fps)

    def update(self, tracks: Tracks) -> Tracks:
        """Return the boxes of the next frame that ByteTrack tracks, with its ids; the given ids are not used."""
        detections = replace(tracks.to_supervision(), tracker_id=None, data={"position": np.arange(len(tracks))})
        result: Any = self._tracker.update(detections)  # the library's type annotation is too general
        tracked = result[result.tracker_id >= 0]
        if not len(tracked):
            return tracks[:0]
        return replace(tracks[tracked.data["position"].astype(np.int64)], ids=tracked.tracker_id.astype(np.int64))


class Comparison:
    """Callback of a tracking run that runs ByteTrack on the same boxes and collects results for picture and table.

    Args:
        clip: clip that is tracked, with its ground truth.
        file: file for ByteTrack's results, MOT text.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, clip: Sequence, file: Path) -> None:
        self.clip = clip
        self.bytetrack = MotionTracker(clip.fps or 1)
        self.sink = MotSink(file)
        self.images: dict[int, NDArray[np.uint8]] = {}
        self.tracks: dict[str, list[Tracks]] = {OURS: [], BYTETRACK: []}

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Process the tracks of the next frame."""
        byte_tracks = self.bytetrack.update(tracks)
        self.sink.write(frame, byte_tracks)
        self.tracks[OURS].append(tracks)
        self.tracks[BYTETRACK].append(byte_tracks)
        self.images[frame.index] = frame.image

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sink.close()

    def picture(self, frames: Iterable[int] | None = None) -> NDArray[np.uint8]:
        """Return a picture (H, W, 3) uint8 RGB of some frames with the ground truth, our tracks and ByteTrack's.

        Args:
            frames: numbers of the frames, from 0; None: four frames of the whole clip.
        """
        if frames is None:  # without the first frame: ByteTrack reports an object from its second detection on
            frames = np.linspace(0, len(self.clip) - 1, ROWS + 1)[1:].round().astype(int).tolist()
        boxes = self.clip.boxes or ()
        truth = [_as_tracks(frame, k, self.clip.classes) for k, frame in enumerate(boxes)]
        return side_by_side({k: self.images[k] for k in frames}, truth, self.tracks)

    def table(self, truth: Path, results: dict[str, Path]) -> Table:
        """Score both trackers and return a table.

        Args:
            truth: folder of the clip.
            results: title → folder with MOT text.
        """
        table = Table("tracker", *METRICS, "id switches", title=f"{self.clip.name}, {len(self.clip)} frames")
        ground_truth = load_ground_truth(truth)
        for title, folder in results.items():
            scores = evaluate(ground_truth, folder, workers=1).combined
            table.add_row(title, *(f"{100 * scores[name]:.1f}" for name in METRICS), f"{scores['IDSW']:.0f}")
        return table


def _as_tracks(boxes: FrameBoxes, frame: int, classes: tuple[str, ...]) -> Tracks:
    return Tracks(boxes.ids, boxes.boxes, np.ones(len(boxes), np.float32), boxes.labels, frame, classes)
