"""Result of a tracker for one frame, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memotr.errors import UserError, wrong_type

if TYPE_CHECKING:
    import supervision

COLUMNS = ("ids", "boxes", "scores", "labels")
"""Fields with a value for each track."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of one frame.

    Attributes:
        ids: (N,) int64, from 0. A track keeps its id for the whole video.
        boxes: (N, 4) float32, xyxy in pixels of the original frame, not clipped to it.
        scores: (N,) float32 in [0, 1], score of the best class.
        labels: (N,) int64, class at the start of the track, an index into ``class_names``.
        frame: number of the frame in its source, from 0.
        class_names: names of all classes of the model.
        time: seconds since the first frame of the source; 0 for frames that are not from a source.
        file_name: name of the image file of the frame; None for video, and if the tracks are not from
            :meth:`memotr.Tracker.track`.
        image: (H, W, 3) uint8 RGB frame; None if the tracks are not from :meth:`memotr.Tracker.track`. To keep
            the tracks of many frames without their images, store ``dataclasses.replace(tracks, image=None)``.

    ``len(tracks)`` is N, ``tracks[0]``, ``tracks[:3]`` and ``tracks[tracks.scores > 0.7]`` select tracks, and iteration
    yields a dict for each (see :meth:`to_dicts`).

    Raises:
        TypeError: ids, boxes, scores or labels are no arrays.
        ValueError: one of them has another length than the others, boxes are not (N, 4), or a label has no name.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    frame: int
    class_names: tuple[str, ...]
    time: float = 0.0
    file_name: str | None = None
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in COLUMNS:
            if not isinstance(column := getattr(self, name), np.ndarray):
                raise wrong_type(f"an array for Tracks.{name}", column)
        n = self.ids.size
        wanted = {"ids": (n,), "boxes": (n, 4), "scores": (n,), "labels": (n,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Tracks.{name} has shape {getattr(self, name).shape}, expected {shape}")
        if n and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"Tracks.labels has {self.labels.max()}, but class_names has {len(self.class_names)} names"
            )

    @classmethod
    def empty(cls, frame: int, class_names: tuple[str, ...]) -> Tracks:
        """Return the result of a frame without any track."""
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
        """Return selected tracks of the same frame: one index, a slice, a boolean mask (N,) or a list of indices.

        Raises:
            IndexError: there is no such track, or a mask has another length.
        """
        positions: NDArray[np.int64] = np.arange(len(self))[index]
        if positions.ndim > 1:  # of None and True, which add a dimension
            raise IndexError(f"expected an index, a slice, a mask (N,) or a list of indices, got {index}")
        positions = positions.reshape(-1)
        return replace(self, **{name: getattr(self, name)[positions] for name in COLUMNS})

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
        detections: supervision.Detections = import_supervision().Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores,
            class_id=self.labels,
            tracker_id=self.ids,
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )
        return detections


def import_supervision() -> Any:
    """Return the package ``supervision``, which is slow to import and an optional extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        import supervision
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is required but not installed: pip install 'memotr[supervision]'") from error
    return supervision
