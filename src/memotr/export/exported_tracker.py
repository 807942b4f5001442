"""Tracker that runs an exported frame step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memotr.export.engines import Engine
from memotr.export.frame_step import MIN_SIDE, STATE, empty_state, thresholds
from memotr.tracking.step import as_table
from memotr.tracking.video_tracker import PreparedFrame, VideoTracker
from memotr.tracks import Tracks
from memotr.vocabulary import Channels


class ExportedTracker(VideoTracker):
    """Tracker of the objects of one video that runs an exported frame step.

    Args:
        engine: engine from :func:`memotr.export.engines.open_engine`; several trackers may share it.
        det_thresh: see :class:`memotr.Tracker`.
        track_thresh: see :class:`memotr.Tracker`.
        result_thresh: see :class:`memotr.Tracker`.
        miss_tolerance: see :class:`memotr.Tracker`.
        min_area: see :class:`memotr.Tracker`.

    Raises:
        memotr.errors.UserError: a threshold is out of range.
    """

    smallest = MIN_SIDE

    def __init__(
        self,
        engine: Engine,
        *,
        det_thresh: float | None = None,
        track_thresh: float | None = None,
        result_thresh: float | None = None,
        miss_tolerance: int | None = None,
        min_area: float | None = None,
    ) -> None:
        super().__init__(engine.config, det_thresh, track_thresh, result_thresh, miss_tolerance, min_area)
        self.engine = engine
        s = self.settings
        self.thresholds = thresholds(s.det_thresh, s.track_thresh, s.miss_tolerance)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, to start a new video."""
        self.state: dict[str, Tensor] = empty_state(self.config)
        self.frame = 0
        self.full = False

    @torch.inference_mode()
    def update(self, frame: NDArray[np.uint8] | Tensor | PreparedFrame, channels: Channels = "rgb") -> Tracks:
        """Track the next frame, as :meth:`memotr.Tracker.update`."""
        prepared = self._prepared(frame, channels)
        images = prepared.images
        inputs = {"pixels": images.pixels, "mask": images.mask, **self.state, **self.thresholds}
        output = self._within_limit(self.engine.run(inputs))
        self.state = {name: output[f"new_{name}"] for name in (*STATE, "next_id")}
        self.frame += 1
        table = as_table(output["boxes"], output["scores"], self.state["ids"], self.state["labels"])
        return self._report(table.numpy(), prepared)

    def _within_limit(self, output: dict[str, Tensor]) -> dict[str, Tensor]:
        """Drop the births with the lowest scores if there are too many tracks. The exported step has no such limit."""
        ids, scores, limit = output["new_ids"], output["scores"], self.settings.max_tracks
        if len(ids) <= limit:
            return output
        born = ids >= self.state["next_id"]
        kept = torch.where(born, scores, torch.inf).argsort(descending=True, stable=True)[:limit].sort().values
        return {name: value[kept] if value.ndim else value for name, value in output.items()}
