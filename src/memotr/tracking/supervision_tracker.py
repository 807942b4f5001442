"""Tracker for code that is written with the package ``supervision``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memotr.models.memotr import MeMOTR
from memotr.tracking.tracker import Tracker
from memotr.tracking.video_tracker import VideoTracker
from memotr.tracks import import_supervision
from memotr.vocabulary import Channels

if TYPE_CHECKING:
    import supervision


class SupervisionTracker:
    """Tracker of the objects of one video that returns ``supervision.Detections``. Needs the extra ``supervision``.

    Args:
        tracker: a tracker; or what :class:`memotr.Tracker` takes: a model, a name of weights or a file.
        channels: order of the colours of frames; OpenCV and supervision have "bgr".
        settings: all other arguments of :class:`memotr.Tracker`; none if a tracker is given.

    Raises:
        memotr.errors.UserError: as :class:`memotr.Tracker`, or supervision is not installed.
        TypeError: settings are given with a tracker, which has its own.
    """

    def __init__(
        self, tracker: VideoTracker | MeMOTR | str | Path, *, channels: Channels = "bgr", **settings: Any
    ) -> None:
        import_supervision()  # fails here, not at the first frame
        if isinstance(tracker, VideoTracker) and settings:
            raise TypeError(f"the tracker has settings of its own: leave out {', '.join(settings)}")
        self.tracker = tracker if isinstance(tracker, VideoTracker) else Tracker(tracker, **settings)
        self.channels = channels

    def update(self, frame: NDArray[np.uint8]) -> supervision.Detections:
        """Track the next frame, as :meth:`memotr.Tracker.update`.

        Args:
            frame: (H, W, 3) uint8, in the order of ``channels``.

        Returns:
            Detections with ``tracker_id`` and ``data["class_name"]`` set.
        """
        return self.tracker.update(frame, self.channels).to_supervision()

    def reset(self) -> None:
        """Reset the memory: the next frame starts a new video, with ids from 0."""
        self.tracker.reset()
