"""Trackers side by side on a few frames, everybody in the colour of the person on whom he began."""

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
MATCH = 0.5  # IoU
SCALE = 2
CAPTION_HEIGHT, GAP = 34, 6  # pixels
BACKGROUND, TEXT, WRONG = (24, 24, 27), (228, 228, 231), (239, 68, 68)  # RGB


def side_by_side(
    images: Mapping[int, Pixels], truth: Sequence[Tracks], others: Mapping[str, Sequence[Tracks]]
) -> Pixels:
    """A picture (H, W, 3) uint8 RGB: a row an image, a column the ground truth and each of the others.

    The number and colour of a track are those of the person on whom it began, so that a swap shows as a colour that has
    moved. Boxes that are on another person by now, or on nobody, are crossed out.

    Args:
        images: number of the frame, from 0 → (H, W, 3) uint8 RGB.
        truth: every frame of the clip.
        others: title → every frame of the clip.
    """
    shown = {TRUTH: truth} | {title: named_after(truth, frames) for title, frames in others.items()}
    rows = [
        np.concatenate([_panel(title, k, image, frames[k], truth[k]) for title, frames in shown.items()], axis=1)
        for k, image in images.items()
    ]
    return np.concatenate(rows)


def named_after(truth: Sequence[Tracks], frames: Sequence[Tracks]) -> list[Tracks]:
    """Tracks whose ids are those of the persons that they first lay on; others are numbered on from there."""
    named: dict[int, int] = {}
    unnamed = 1 + max((int(frame.ids.max()) for frame in truth if len(frame)), default=0)
    renamed = []
    for there, found in zip(truth, frames, strict=True):
        for track, person in zip(found.ids.tolist(), persons_under(found, there).tolist(), strict=True):
            if person >= 0:
                named.setdefault(track, person)
        ids = [named.get(track, unnamed + track) for track in found.ids.tolist()]
        renamed.append(replace(found, ids=np.array(ids, np.int64)))
    return renamed


def persons_under(found: Tracks, truth: Tracks) -> NDArray[np.int64]:
    """(N,) ids of those whom the boxes of one frame overlap most; −1 where that is nobody (IoU below 0.5)."""
    if not len(truth) or not len(found):
        return np.full(len(found), -1)
    iou = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes))[0].numpy()  # (N, G)
    return np.where(iou.max(axis=1) >= MATCH, truth.ids[iou.argmax(axis=1)], -1)


def _panel(title: str, frame: int, image: Pixels, tracks: Tracks, truth: Tracks) -> Pixels:
    """One frame with its tracks, enlarged, below what it is; with a gap to its right."""
    large = np.asarray(cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC), np.uint8)
    scaled = replace(tracks, boxes=tracks.boxes * np.float32(SCALE))
    drawn = Annotator(trail_length=0).annotate(large, scaled)
    for box in scaled.boxes[persons_under(tracks, truth) != tracks.ids]:
        left, top, right, bottom = box.round().astype(int).tolist()
        for a, b in (((left, top), (right, bottom)), ((right, top), (left, bottom))):
            cv2.line(drawn, a, b, WRONG, 3, cv2.LINE_AA)
    panel = np.concatenate([_caption(f"{title} · frame {frame + 1}", drawn.shape[1]), drawn])
    return np.pad(panel, ((0, 0), (0, GAP), (0, 0)), constant_values=BACKGROUND[0])


def _caption(words: str, width: int) -> Pixels:
    canvas = Image.new("RGB", (width, CAPTION_HEIGHT), BACKGROUND)
    font = ImageFont.load_default(20)
    ImageDraw.Draw(canvas).text((8, CAPTION_HEIGHT / 2), words, fill=TEXT, font=font, anchor="lm")
    return np.asarray(canvas)
