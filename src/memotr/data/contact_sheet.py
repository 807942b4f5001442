"""Contact sheet: one image with annotated frames of a data set, to check boxes and ids visually."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from memotr.data.sequences import FrameBoxes, Sequence
from memotr.files import replacing
from memotr.io.draw import Annotator, track_color
from memotr.io.image_files import ImageError, read_image
from memotr.tracks import Tracks

Pixels = NDArray[np.uint8]

COLUMNS = 4
ROWS = 5
TILE_WIDTH, TILE_HEIGHT = 640, 480  # pixels; the height is a maximum
LABELLED_WIDTH, LABELLED_HEIGHT = 24, 60  # pixels; smaller boxes are drawn without a label
CAPTION_HEIGHT = 28
GAP = 6
BACKGROUND, TEXT = (24, 24, 27), (228, 228, 231)  # RGB


def contact_sheet(sequences: list[Sequence]) -> Pixels:
    """Draw up to 20 frames with their boxes, one colour per id, into one image (H, W, 3) uint8 RGB.

    A row shows one sequence, from its first to its last frame with boxes. If there are few sequences, each has several
    rows; a still image takes one tile.
    """
    tiles = [_tile(sequence, frame) for sequence, frame in _choose(sequences)]
    rows = [tiles[k : k + COLUMNS] for k in range(0, len(tiles), COLUMNS)]
    heights = [max(len(tile) for tile in row) for row in rows]
    height, width = GAP + sum(heights) + GAP * len(rows), GAP + COLUMNS * (TILE_WIDTH + GAP)
    sheet = np.full((height, width, 3), BACKGROUND, np.uint8)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for k, tile in enumerate(row):
            left = GAP + k * (TILE_WIDTH + GAP)
            sheet[top : top + len(tile), left : left + TILE_WIDTH] = tile
        top += height + GAP
    return sheet


def write_png(image: Pixels, file: Path) -> None:
    """Write an RGB image as PNG; an existing file is replaced only when the new one is complete.

    Raises:
        UserError: the file cannot be written.
    """
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with replacing(file) as draft:
        draft.write_bytes(data.tobytes())


def _choose(sequences: list[Sequence]) -> list[tuple[Sequence, int]]:
    """Choose the frames to show; return (sequence, frame index), row by row."""
    stills = [sequence for sequence in sequences if sequence.still]
    videos = [sequence for sequence in sequences if not sequence.still]
    rows_of_stills = min(-(-len(stills) // COLUMNS), ROWS - min(len(videos), ROWS - 1)) if stills else 0
    shown = _spread(len(videos), ROWS - rows_of_stills)
    rows_each = max(1, (ROWS - rows_of_stills) // max(1, len(shown)))
    frames = [(videos[v], k) for v in shown for k in _frames(videos[v], rows_each * COLUMNS)]
    return frames + [(stills[s], 0) for s in _spread(len(stills), rows_of_stills * COLUMNS)]


def _frames(sequence: Sequence, count: int) -> list[int]:
    """Return the indices of up to ``count`` frames, evenly spaced from the first to the last frame with boxes."""
    annotated = [k for k, boxes in enumerate(sequence.boxes or ()) if len(boxes)]
    first, last = (annotated[0], annotated[-1]) if annotated else (0, len(sequence) - 1)
    return [first + k for k in _spread(last - first + 1, count)]


def _spread(count: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` of the numbers 0 … count − 1, evenly spaced, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist() if wanted else []


def _tile(sequence: Sequence, frame: int) -> Pixels:
    """Return a tile, ``TILE_WIDTH`` wide: a frame with its boxes above a caption."""
    boxes = FrameBoxes.empty() if sequence.boxes is None else sequence.boxes[frame]
    file = sequence.frames[frame]
    try:
        image = _annotated(read_image(file), boxes, sequence.classes)
    except ImageError:
        image = np.full((TILE_WIDTH * 9 // 16, TILE_WIDTH, 3), BACKGROUND, np.uint8)
        _write(image[:CAPTION_HEIGHT], "cannot be read")
    caption = np.full((CAPTION_HEIGHT, TILE_WIDTH, 3), BACKGROUND, np.uint8)
    place = file.name if sequence.still else f"{sequence.name} · {file.name}"
    _write(caption, f"{place} · {len(boxes)} boxes")
    return np.concatenate([image, caption])


def _annotated(image: Pixels, boxes: FrameBoxes, classes: tuple[str, ...]) -> Pixels:
    """Return the image with its boxes, resized to fit a tile and padded to the width of a tile."""
    height, width = image.shape[:2]
    scale = min(TILE_WIDTH / width, TILE_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    scaled = (boxes.boxes * np.float32(scale)).astype(np.float32)
    tracks = Tracks(boxes.ids, scaled, np.ones(len(boxes), np.float32), boxes.labels, frame=0, class_names=classes)
    labelled = (scaled[:, 2] - scaled[:, 0] > LABELLED_WIDTH) & (scaled[:, 3] - scaled[:, 1] > LABELLED_HEIGHT)
    for k in np.flatnonzero(~labelled).tolist():  # a label would hide the object
        left, top, right, bottom = np.clip(scaled[k].round(), -2, 2 * TILE_WIDTH).astype(int).tolist()
        cv2.rectangle(small, (left, top), (right, bottom), track_color(int(boxes.ids[k])), 1)
    tile = np.full((size[1], TILE_WIDTH, 3), BACKGROUND, np.uint8)
    tile[:, : size[0]] = Annotator(trail_length=0).annotate(small, tracks[labelled])
    return tile


def _write(strip: Pixels, text: str) -> None:
    """Draw a line of text on a strip of pixels, in place; text beyond the strip is cut off."""
    canvas = Image.fromarray(strip)
    ImageDraw.Draw(canvas).text((4, strip.shape[0] / 2), text, fill=TEXT, font=ImageFont.load_default(16), anchor="lm")
    strip[:] = np.asarray(canvas)
