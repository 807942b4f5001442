"""ByteTrack on boxes that somebody else found: what motion alone makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from trackers import ByteTrackTracker

from memotr.tracks import Tracks


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
