"""Result of a tracker for one frame, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of one frame.

    Attributes:
        ids: (N,) int64, from 0. A track keeps its id for the whole video.
        boxes: (N, 4) float32, xyxy in pixels of the original frame, not clipped to it.
        scores: (N,) float32 in [0, 1], score of the best class.
        labels: (N,) int64, class at the birth of the track, an index into ``class_names``.
        frame: number of the frame in its source, from 0.
        class_names: names of all classes of the model.
        time: seconds since the first frame of the source; 0 for frames that are not from a source.
        image: (H, W, 3) uint8 RGB frame; None if the tracks are not from :meth:`memotr.Tracker.track`. A list of all
            tracks of a video keeps all of its frames in memory: keep ``dataclasses.replace(tracks, image=None)``.

    ``len(tracks)`` is N, ``tracks[0]``, ``tracks[:3]`` and ``tracks[tracks.scores > 0.7]`` select tracks, and iteration
    yields a dict for each (see :meth:`to_dicts`).

    Raises:
        ValueError: a field has another length than the others, or boxes are not (N, 4).
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    frame: int
    class_names: tuple[str, ...]
    time: float = 0.0
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        wanted = {"ids": (n,), "boxes": (n, 4), "scores": (n,), "labels": (n,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Tracks.{name} has shape {getattr(self, name).shape}, expected {shape}")

    @classmethod
    def empty(cls, frame: int, class_names: tuple[str, ...]) -> Tracks:
        """Return the result of a frame without tracks."""
        return cls(
            ids=np.zeros(0, np.int64),
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int64),
            frame=frame,
            class_names=class_names,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(
        self, index: int | np.integer[Any] | slice | NDArray[np.bool_] | NDArray[np.int64] | list[int]
    ) -> Tracks:
        """Return selected tracks of the same frame: one index, a slice, a boolean mask (N,) or a list of indices."""
        if isinstance(index, int | np.integer):
            index = [range(len(self))[index]]  # raises IndexError
        columns = {name: getattr(self, name)[index] for name in ("ids", "boxes", "scores", "labels")}
        return replace(self, **columns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.to_dicts())

    @property
    def names(self) -> list[str]:
        """Class name of every track."""
        return [self.class_names[label] for label in self.labels]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one JSON-compatible dict per track: id, box ([x1, y1, x2, y2] in pixels), score, label, class."""
        columns = zip(self.ids, self.boxes, self.scores, self.labels, self.names, strict=True)
        return [
            {"id": int(i), "box": b.tolist(), "score": float(s), "label": int(label), "class": name}
            for i, b, s, label, name in columns
        ]

    def to_supervision(self) -> supervision.Detections:
        """Convert to ``supervision.Detections`` with ``tracker_id`` and ``data["class_name"]`` set.

        Raises:
            UserError: the package ``supervision`` is not installed.
        """
        try:
            import supervision  # slow to import, and an optional extra
        except ModuleNotFoundError as error:
            raise UserError(f"this needs the package {error.name}: pip install 'memotr[supervision]'") from error

        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores,
            class_id=self.labels,
            tracker_id=self.ids,
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )
