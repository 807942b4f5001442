"""Figure of the predictions on one fixed clip, to compare epochs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from memotr.data.sequences import FrameBoxes, Sequence, check_frame_size
from memotr.io.image_files import read_image
from memotr.models.memotr import MeMOTR
from memotr.terminal import plot_text
from memotr.tracks import Tracks

MAX_WIDTH = 960  # pixels of a drawn frame
COLORS = matplotlib.colormaps["tab20"]


@dataclass(frozen=True, eq=False)
class ShownClip:
    """Clip of a figure.

    Attributes:
        name: name of the sequence.
        images: frames (H, W, 3) uint8 RGB.
        truths: ground truth of the frames, boxes xyxy in pixels.
    """

    name: str
    images: list[NDArray[np.uint8]]
    truths: list[FrameBoxes]

    @classmethod
    def choose(cls, sequence: Sequence, interval: int, length: int = 4) -> ShownClip:
        """Choose frames from the middle of an annotated sequence, ``interval`` apart if it is long enough.

        Raises:
            UserError: an image cannot be read, or the frames have several sizes.
        """
        assert sequence.boxes is not None
        length = min(length, len(sequence))
        interval = max(1, min(interval, (len(sequence) - 1) // max(1, length - 1)))
        start = (len(sequence) - (length - 1) * interval - 1) // 2
        numbers = range(start, start + length * interval, interval)
        images = [read_image(sequence.frames[number]) for number in numbers]
        for number, image in zip(numbers, images, strict=True):
            check_frame_size(sequence.frames[number], image.shape[:2], sequence.size or images[0].shape[:2])
        return cls(sequence.name, images, [sequence.boxes[number] for number in numbers])


def predict(model: MeMOTR, clip: ShownClip) -> list[Tracks]:
    """Track the clip's frames as one video; the model is in its former mode (train or eval) afterwards."""
    from memotr.tracking.tracker import Tracker  # imports video libraries that training does not need otherwise

    training = model.training
    tracker = Tracker(model)
    tracks = [tracker.update(image) for image in clip.images]
    model.train(training)
    return tracks


def draw(clip: ShownClip, tracks: list[Tracks], title: str, if_empty: str = "nothing was tracked") -> Figure:
    """Draw ground truth in dashed white and tracks in a colour per identity; without any track, write ``if_empty``."""
    columns = min(2, len(clip.images))
    rows = -(-len(clip.images) // columns)
    height, width = clip.images[0].shape[:2]
    figure = Figure(figsize=(6.4 * columns, 6.4 * height / width * rows + 0.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title} · {plot_text(clip.name)}", fontsize=9)
    if not any(map(len, tracks)):
        figure.supxlabel(plot_text(if_empty), fontsize=7, wrap=True)
    for number, (image, truth, found) in enumerate(zip(clip.images, clip.truths, tracks, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        scale = min(1.0, MAX_WIDTH / image.shape[1])
        smaller = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        # Box coordinates are pixel edges from 0; by default Matplotlib places pixel centres at integers.
        axes.imshow(smaller, extent=(0, width, height, 0))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        for box in truth.boxes:
            axes.add_patch(_rectangle(box, color="white", linestyle="--", linewidth=0.8))
        for box, track, score in zip(found.boxes, found.ids, found.scores, strict=True):
            color = COLORS(int(track) % COLORS.N)
            axes.add_patch(_rectangle(box, color=color, linestyle="-", linewidth=1.5))
            label = {"facecolor": color, "edgecolor": "none", "pad": 0.4}
            axes.text(box[0], box[1], f"{track} · {score:.2f}", color="black", fontsize=5, va="bottom", bbox=label)
        axes.set_title(f"{len(truth)} objects, {len(found)} tracks", fontsize=8)
    return figure


def _rectangle(box: NDArray[np.float32], *, color: object, linestyle: str, linewidth: float) -> Rectangle:
    left, top, right, bottom = box.tolist()
    return Rectangle(
        (left, top), right - left, bottom - top, fill=False, edgecolor=color, linestyle=linestyle, linewidth=linewidth
    )
