"""All boxes of one sequence as read, checked and handed out to its frames. Every format goes through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.problems import Place, Problems
from memotr.data.sequences import FrameBoxes

LARGEST = 1e7  # pixels


@dataclass(frozen=True, eq=False)
class BoxTable:
    """N boxes of a sequence.

    Attributes:
        frames: (N,) int64, index of the frame in its sequence, from 0.
        ids: (N,) int64.
        labels: (N,) int64, indices into the classes.
        boxes: (N, 4) float64, xyxy in pixels.
        origin: file and place of the k-th box, for problems.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    origin: Callable[[int], tuple[Path, Place]]

    def by_frame(self, count: int, size: tuple[int, int] | None, problems: Problems) -> tuple[FrameBoxes, ...]:
        """The boxes of each of ``count`` frames, in the order of the file.

        Args:
            count: number of frames.
            size: (height, width) of the images in pixels; None: boxes outside are not looked for.
            problems: takes what is wrong. Errors: a coordinate that is no position, a negative id, an id twice in
                a frame. Notes: a box without width or height or wholly outside of the image. All these are left out.
        """
        kept = self._sound(size, problems)
        kept = kept[np.argsort(self.frames[kept], kind="stable")]
        kept = self._unique(kept, problems)
        bounds = np.searchsorted(self.frames[kept], np.arange(count + 1)).tolist()
        ids, labels, boxes = self.ids[kept], self.labels[kept], self.boxes[kept].astype(np.float32)
        empty = FrameBoxes.empty()
        return tuple(FrameBoxes(ids[a:b], labels[a:b], boxes[a:b]) if b > a else empty for a, b in pairwise(bounds))

    def _sound(self, size: tuple[int, int] | None, problems: Problems) -> NDArray[np.int64]:
        """Positions of the boxes that can be used as they are."""
        finite = np.abs(self.boxes).max(axis=1) < LARGEST  # False for NaN, too
        known = self.ids >= 0
        x1, y1, x2, y2 = np.where(finite[:, None], self.boxes, 0).T
        positive = (x2 > x1) & (y2 > y1) | ~finite
        inside = np.ones(len(self.ids), bool)
        if size is not None:
            inside = (x2 > 0) & (y2 > 0) & (x1 < size[1]) & (y1 < size[0]) | ~positive | ~finite
        self._report(problems.error, ~finite, "a coordinate is NaN, infinite or beyond all images")
        self._report(problems.error, ~known, "negative id: is this a file of detections? ids of objects count from 0")
        self._report(problems.note, ~positive, "a box has no width or no height: left out")
        if size is not None:
            outside = f"a box is wholly outside of the image ({size[1]}×{size[0]}): left out"
            self._report(problems.note, ~inside, outside)
        return np.flatnonzero(finite & known & positive & inside)

    def _unique(self, kept: NDArray[np.int64], problems: Problems) -> NDArray[np.int64]:
        """``kept`` (in order of frames) without the later ones of those that share frame and id."""
        order = kept[np.lexsort((self.ids[kept], self.frames[kept]))]
        same = (np.diff(self.frames[order]) == 0) & (np.diff(self.ids[order]) == 0)
        if not same.any():
            return kept
        again = order[1:][same]
        for k in np.sort(again).tolist():
            file, place = self.origin(k)
            problems.error(file, f"id {self.ids[k]} is in the same frame twice", place)
        return kept[~np.isin(kept, again)]

    def _report(self, tell: Callable[[Path, str, Place], None], where: NDArray[np.bool_], message: str) -> None:
        for k in np.flatnonzero(where).tolist():
            file, place = self.origin(k)
            tell(file, message, place)
