"""Crops around an error, before and after, with the boxes that a page draws over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.evaluation.inspection.boxes import VerdictBoxes
from memotr.evaluation.inspection.events import Box, Event, FalseRun, Switch
from memotr.evaluation.inspection.images import FrameImages
from memotr.evaluation.teta_boxes import VideoBoxes
from memotr.io.image_files import ImageError, read_image

SIDE = 420  # units of a picture's boxes, and pixels of its image at most
AROUND = 2.3  # sides of the box in a side of the picture
LEAST = 128  # pixels of the frame in a side of a picture
SIZES = (1.0, 0.75, 0.5, 0.33)
QUALITIES = (84, 70, 55)


class Role(StrEnum):
    """Of a box in a picture."""

    OBJECT = "object"
    TRACK = "track"


@dataclass(frozen=True)
class Mark:
    """A box in a picture.

    Attributes:
        role: annotated, or predicted.
        id: of the object or the track.
        box: xyxy, in units of which a picture has ``SIDE`` in width and height; may reach out of it.
        focus: it is what the picture is about.
    """

    role: Role
    id: int
    box: Box
    focus: bool


@dataclass(frozen=True)
class Picture:
    """A square part of a frame.

    Attributes:
        frame: counted from 0 in what is scored.
        jpeg: the image, without boxes.
        marks: boxes, those to be drawn last at the end.
    """

    frame: int
    jpeg: bytes
    marks: tuple[Mark, ...]


def take_pictures(event: Event, verdict: VerdictBoxes, images: FrameImages, limit: int) -> tuple[Picture, ...]:
    """The first and the last frame of an event, or one where these are the same; none without readable images.

    Args:
        event: of the sequence.
        verdict: on its boxes.
        images: of the sequence.
        limit: bytes of a picture, at most (unless less would show nothing).
    """
    side = AROUND * max(max(right - left, bottom - top) for left, top, right, bottom in event.boxes)
    ends = dict(zip((event.first, event.last), event.boxes, strict=True))
    taken = (_take(event, verdict, frame, box, side, images.get(frame), limit) for frame, box in ends.items())
    return tuple(picture for picture in taken if picture is not None)


def _take(
    event: Event, verdict: VerdictBoxes, frame: int, box: Box, side: float, file: Path | None, limit: int
) -> Picture | None:
    try:
        image = None if file is None else read_image(file)
    except ImageError:
        image = None
    if image is None:
        return None
    left, top, size = _window(box, side, image)
    crop = image[top : top + size, left : left + size]
    marks = _marks(event, verdict, frame)
    inside = (_moved(mark, left, top, SIDE / size) for mark in marks)
    shown = [mark for mark in inside if max(mark.box[:2]) < SIDE and min(mark.box[2:]) > 0]
    return Picture(frame, _encode(crop, limit), tuple(sorted(shown, key=lambda mark: (mark.focus, mark.role))))


def _window(box: Box, side: float, image: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Left, top and side in pixels of a square in the image, round a box as far as the image goes."""
    height, width = image.shape[:2]
    size = min(round(max(side, LEAST)), height, width)
    left, top = (round((low + high - size) / 2) for low, high in (box[::2], box[1::2]))
    return min(max(left, 0), width - size), min(max(top, 0), height - size), size


def _marks(event: Event, verdict: VerdictBoxes, frame: int) -> Iterator[Mark]:
    """All boxes of a frame."""
    tracks = {event.old, event.new} if isinstance(event, Switch) else {event.id} if isinstance(event, FalseRun) else ()
    mine: set[int] = set() if isinstance(event, FalseRun) else {event.id}
    for role, boxes, focus in ((Role.OBJECT, verdict.objects, mine), (Role.TRACK, verdict.predictions, tracks)):
        for number, label, box in _in_frame(boxes, frame):
            yield Mark(role, number, box, label == event.label and number in focus)


def _in_frame(boxes: VideoBoxes, frame: int) -> Iterator[tuple[int, int, Box]]:
    """Id, label and corners."""
    here = slice(*np.searchsorted(boxes.frames, (frame, frame + 1)).tolist())
    ids, labels, corners = boxes.ids[here].tolist(), boxes.labels[here].tolist(), boxes.boxes[here].tolist()
    yield from zip(ids, labels, map(tuple, corners), strict=True)


def _moved(mark: Mark, left: int, top: int, scale: float) -> Mark:
    x1, y1, x2, y2 = mark.box
    box = (x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale
    return Mark(mark.role, mark.id, box, mark.focus)


def _encode(crop: NDArray[np.uint8], limit: int) -> bytes:
    """JPEG: as good as the limit allows."""
    data = b""
    for share in SIZES:
        side = max(1, round(min(SIDE, len(crop)) * share))
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
            data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), settings)[1].tobytes()
            if len(data) <= limit:
                return data
    return data
