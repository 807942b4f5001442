"""Picture of several trackers side by side, in which wrong identities are visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from memotr.boxes import box_iou
from memotr.io.draw import Annotator
from memotr.tracks import Tracks

Pixels = NDArray[np.uint8]

TRUTH = "ground truth"
MATCH = 0.5
"""Minimum IoU of a track's box with a person that it overlaps."""
SCALE = 2
"""Enlargement of the frames."""
CAPTION_HEIGHT, GAP = 34, 6  # pixels
BACKGROUND, TEXT, WRONG = (24, 24, 27), (228, 228, 231), (239, 68, 68)  # RGB


def side_by_side(
    images: Mapping[int, Pixels], truth: Sequence[Tracks], others: Mapping[str, Sequence[Tracks]]
) -> Pixels:
    """Return a picture with one row per image, and one column for the ground truth and for each tracker.

    The first tracker keeps its ids, and each person has the id of its first track there. A track of the others has the
    id and colour of the first person that it overlaps, so that an id switch shows as a colour on another person. Boxes
    that overlap another person or none are crossed out.

    Args:
        images: frame number, from 0 → image (H, W, 3) uint8 RGB.
        truth: ground truth of every frame of the clip.
        others: title → tracks of every frame of the clip.

    Returns:
        Picture (H', W', 3) uint8 RGB.
    """
    first, *rest = others
    truth = with_person_ids(others[first], truth, unique=True)
    shown = {TRUTH: truth, first: others[first]} | {title: with_person_ids(truth, others[title]) for title in rest}
    rows = [
        np.concatenate([_panel(title, k, image, frames[k], truth[k]) for title, frames in shown.items()], axis=1)
        for k, image in images.items()
    ]
    return np.concatenate(rows)


def with_person_ids(truth: Sequence[Tracks], frames: Sequence[Tracks], *, unique: bool = False) -> list[Tracks]:
    """Give each track the id of the first person that it overlaps, and tracks that overlap none an id beyond these.

    Args:
        truth: ground truth of every frame.
        frames: tracks of every frame.
        unique: give a person's id to no more than one track.
    """
    person_of: dict[int, int] = {}
    first_unused = 1 + max((int(frame.ids.max()) for frame in truth if len(frame)), default=0)
    renamed = []
    for persons, tracks in zip(truth, frames, strict=True):
        for track, person in zip(tracks.ids.tolist(), overlapped_persons(tracks, persons).tolist(), strict=True):
            if person >= 0 and not (unique and person in person_of.values()):
                person_of.setdefault(track, person)
        ids = [person_of.get(track, first_unused + track) for track in tracks.ids.tolist()]
        renamed.append(replace(tracks, ids=np.array(ids, np.int64)))
    return renamed


def overlapped_persons(tracks: Tracks, truth: Tracks) -> NDArray[np.int64]:
    """Return the id (N,) of the person that each box of a frame overlaps most, −1 if no IoU reaches 0.5."""
    if not len(truth) or not len(tracks):
        return np.full(len(tracks), -1)
    iou = box_iou(torch.from_numpy(tracks.boxes), torch.from_numpy(truth.boxes))[0].numpy()  # (N, G)
    return np.where(iou.max(axis=1) >= MATCH, truth.ids[iou.argmax(axis=1)], -1)


def _panel(title: str, frame: int, image: Pixels, tracks: Tracks, truth: Tracks) -> Pixels:
    """Draw an enlarged frame with its tracks and a caption above, and a gap to its right."""
    large = np.asarray(cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC), np.uint8)
    scaled = replace(tracks, boxes=tracks.boxes * np.float32(SCALE))
    drawn = Annotator(trail_length=0).annotate(large, scaled)
    for box in scaled.boxes[overlapped_persons(tracks, truth) != tracks.ids]:
        left, top, right, bottom = box.round().astype(int).tolist()
        for a, b in (((left, top), (right, bottom)), ((right, top), (left, bottom))):
            cv2.line(drawn, a, b, WRONG, 3, cv2.LINE_AA)
    panel = np.concatenate([_caption(f"{title} · frame {frame + 1}", drawn.shape[1]), drawn])
    return np.pad(panel, ((0, 0), (0, GAP), (0, 0)), constant_values=BACKGROUND[0])


def _caption(text: str, width: int) -> Pixels:
    canvas = Image.new("RGB", (width, CAPTION_HEIGHT), BACKGROUND)
    font = ImageFont.load_default(20)
    ImageDraw.Draw(canvas).text((8, CAPTION_HEIGHT / 2), text, fill=TEXT, font=font, anchor="lm")
    return np.asarray(canvas)
