"""Crops of the frames in which an error begins and ends, and the boxes that the page draws over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from memotr.data.truth import VideoBoxes
from memotr.inspection.box_errors import MatchedBoxes
from memotr.inspection.events import Box, Event, FalseRun, Switch
from memotr.inspection.frame_images import FrameImages
from memotr.io.image_files import ImageError, read_image

SIDE = 420
"""Width and height of a picture in its units, and largest width and height of its image in pixels."""
CROP_SCALE = 2.3
"""Side of the crop divided by the longer side of the box."""
MIN_SIDE = 128
"""Smallest side of a crop, in pixels of the frame."""
SCALES = (1.0, 0.75, 0.5, 0.33)
"""Scales of the image, in the order in which they are tried."""
QUALITIES = (84, 70, 55)
"""JPEG qualities, in the order in which they are tried."""
LABEL_SIZE, SMALL_LABEL, LABEL_PADDING = 16, 11, 5  # units of the picture


class Role(StrEnum):
    """Role of a box in a picture: annotated object or predicted track."""

    OBJECT = "object"
    TRACK = "track"


@dataclass(frozen=True)
class Mark:
    """Box in a picture.

    Attributes:
        role: annotated or predicted.
        id: id of the object or the track.
        box: xyxy in units of the picture, whose sides are ``SIDE``; may extend beyond it.
        focus: True if the event concerns this box.
    """

    role: Role
    id: int
    box: Box
    focus: bool


@dataclass(frozen=True)
class LabelPlate:
    """Coloured rectangle with the id of a box.

    Attributes:
        x: left edge in units of the picture.
        y: top edge in units of the picture.
        width: width in units of the picture.
        height: height in units of the picture.
        font_size: height of the text in units of the picture.
        text: the id.
        track: id of the track that determines the colour; None: white.
    """

    x: float
    y: float
    width: float
    height: int
    font_size: int
    text: str
    track: int | None


@dataclass(frozen=True)
class Picture:
    """Square crop of a frame.

    Attributes:
        frame: number of the frame, counted from 0 in the scored frames.
        jpeg: image without boxes, JPEG.
        marks: boxes, in the order of drawing.
    """

    frame: int
    jpeg: bytes
    marks: tuple[Mark, ...]


def take_pictures(event: Event, matched: MatchedBoxes, images: FrameImages, limit: int) -> tuple[Picture, ...]:
    """Crop the first and the last frame of an event, or its only frame. Frames without a readable image are skipped.

    Args:
        event: event of the sequence.
        matched: boxes of the sequence.
        images: images of the sequence.
        limit: largest size of a picture in bytes; a picture in the smallest size and quality may exceed it.
    """
    side = CROP_SCALE * max(max(right - left, bottom - top) for left, top, right, bottom in event.boxes)
    ends = dict(zip((event.first, event.last), event.boxes, strict=True))
    pictures = (_crop(event, matched, frame, box, side, images.get(frame), limit) for frame, box in ends.items())
    return tuple(picture for picture in pictures if picture is not None)


def label_plates(marks: Sequence[Mark]) -> tuple[LabelPlate, ...]:
    """Place the id of each track above its box, and the ids of objects in focus below theirs."""
    plates = []
    for mark in marks:
        left, top, _, bottom = mark.box
        size = LABEL_SIZE if mark.focus else SMALL_LABEL
        if mark.role == Role.TRACK:
            plates.append(_plate(left, top - size - LABEL_PADDING, size, str(mark.id), mark.id))
        elif mark.focus:
            plates.append(_plate(left, bottom, size, f"object {mark.id}", None))
    return tuple(plates)


def _plate(left: float, top: float, size: int, text: str, track: int | None) -> LabelPlate:
    """Return a plate at a position, moved so that it lies inside the picture."""
    width, height = size * 0.6 * len(text) + 7, size + LABEL_PADDING
    x, y = min(max(left, 0), SIDE - width), min(max(top, 0), SIDE - height)
    return LabelPlate(x, y, width, height, size, text, track)


def _crop(
    event: Event, matched: MatchedBoxes, frame: int, box: Box, side: float, file: Path | None, limit: int
) -> Picture | None:
    try:
        image = None if file is None else read_image(file)
    except ImageError:
        image = None
    if image is None:
        return None
    left, top, size = _window(box, side, image)
    crop = image[top : top + size, left : left + size]
    marks = _marks(event, matched, frame)
    inside = (_moved(mark, left, top, SIDE / size) for mark in marks)
    shown = [mark for mark in inside if max(mark.box[:2]) < SIDE and min(mark.box[2:]) > 0]
    return Picture(frame, _encode(crop, limit), tuple(sorted(shown, key=lambda mark: (mark.focus, mark.role))))


def _window(box: Box, side: float, image: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return left, top and side in pixels of a square inside the image, centred on a box as far as possible."""
    height, width = image.shape[:2]
    size = min(round(max(side, MIN_SIDE)), height, width)
    left, top = (round((low + high - size) / 2) for low, high in (box[::2], box[1::2]))
    return min(max(left, 0), width - size), min(max(top, 0), height - size), size


def _marks(event: Event, matched: MatchedBoxes, frame: int) -> Iterator[Mark]:
    """Yield all boxes of a frame, in pixels of the frame."""
    tracks = {event.old, event.new} if isinstance(event, Switch) else {event.id} if isinstance(event, FalseRun) else ()
    objects: set[int] = set() if isinstance(event, FalseRun) else {event.id}
    for role, boxes, focus in ((Role.OBJECT, matched.objects, objects), (Role.TRACK, matched.predictions, tracks)):
        for number, label, box in _in_frame(boxes, frame):
            yield Mark(role, number, box, label == event.label and number in focus)


def _in_frame(boxes: VideoBoxes, frame: int) -> Iterator[tuple[int, int, Box]]:
    """Yield id, class label and corners (xyxy) of each box of a frame."""
    here = slice(*np.searchsorted(boxes.frames, (frame, frame + 1)).tolist())
    ids, labels, corners = boxes.ids[here].tolist(), boxes.labels[here].tolist(), boxes.boxes[here].tolist()
    yield from zip(ids, labels, map(tuple, corners), strict=True)


def _moved(mark: Mark, left: int, top: int, scale: float) -> Mark:
    x1, y1, x2, y2 = mark.box
    box = (x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale
    return Mark(mark.role, mark.id, box, mark.focus)


def _encode(crop: NDArray[np.uint8], limit: int) -> bytes:
    """Encode a crop as JPEG in the largest size and best quality within a limit in bytes."""
    data = b""
    for scale in SCALES:
        side = max(1, round(min(SIDE, len(crop)) * scale))
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
            data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), settings)[1].tobytes()
            if len(data) <= limit:
                return data
    return data
