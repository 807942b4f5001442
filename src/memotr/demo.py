"""A first look without any download: a generated clip through the whole pipeline.

No trained weights ship with this version, so the model's are random and its boxes mean nothing; everything else
(decoding, network, memory, drawing, files) is what a real run does.
"""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from memotr.build import build_model
from memotr.config import load_config
from memotr.errors import UserError
from memotr.io.outputs import open_outputs
from memotr.io.progress import TrackingProgress
from memotr.io.sources import open_source
from memotr.models.memotr import MeMOTR
from memotr.tracking.run import track_source
from memotr.tracking.tracker import Tracker

NOTICE = (
    "The weights of this demo are random (no trained ones ship yet): its boxes show that the pipeline works, not how "
    "well MeMOTR tracks. With a checkpoint: memotr track VIDEO --checkpoint FILE"
)

HEIGHT, WIDTH, FPS = 384, 640, 24


def run_demo(output: Path) -> None:
    """Generate a clip, track it and say what was written.

    Args:
        output: folder for the clip, the annotated video, the MOT text and the JSON lines.

    Raises:
        UserError: the folder cannot be written.
    """
    clip = output / "clip.mp4"
    print(f"Generating {clip}")
    write_clip(clip)
    tracker = Tracker(seeded_model(), det_thresh=0.75, track_thresh=0.7, min_area=2500)
    with open_source(clip) as frames:
        sinks = open_outputs(frames, output / "tracked")
        progress = TrackingProgress(frames)
        with progress:
            track_source(tracker, frames, sinks, progress)
    print(progress.summary(sinks))
    print(NOTICE)


def seeded_model(seed: int = 0) -> MeMOTR:
    """A tiny network with random weights, its scores spread so that a few of its queries become tracks."""
    torch.manual_seed(seed)
    model = build_model(load_config("tiny", ["model.num_queries=30", "model.num_decoder_layers=2"])).eval()
    with torch.no_grad():
        for head in model.class_embed:
            assert isinstance(head, torch.nn.Linear)
            head.weight.mul_(8)
            head.bias.fill_(-1.5)
        for parameter in model.bbox_embed.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_clip(path: Path, num_frames: int = 96, num_figures: int = 5, seed: int = 0) -> None:
    """A video of walking figures before a patterned wall (H.264, 640×384, 24 frames/s).

    Raises:
        UserError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(part, num_frames, num_figures, seed)
        part.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _encode(path: Path, num_frames: int, num_figures: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wall = _wall(rng)
    figures = [_Figure(rng) for _ in range(num_figures)]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for t in range(num_frames):
            image = wall.copy()
            for figure in sorted(figures, key=lambda f: f.depth):
                figure.draw(image, t / FPS)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _wall(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: blurred patches above a floor."""
    patches = rng.integers(90, 170, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8)
    wall = np.asarray(cv2.resize(patches, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    floor = int(HEIGHT * 0.7)
    wall[floor:] = (wall[floor:] * 0.6).astype(np.uint8)
    return wall


class _Figure:
    """A person of a head, a trunk and swinging legs, who walks to and fro."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.depth = float(rng.uniform(0.75, 1.2))
        self.centre, self.reach = rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.4)
        self.speed, self.phase = rng.uniform(0.6, 1.4), rng.uniform(0, 2 * np.pi)
        self.shirt = tuple(int(c) for c in rng.integers(40, 240, 3))
        self.trousers = tuple(int(c) for c in rng.integers(20, 120, 3))

    def draw(self, image: NDArray[np.uint8], seconds: float) -> None:
        unit = 26 * self.depth  # pixels: half a head more than a head
        x = int(WIDTH * (self.centre + self.reach * np.sin(self.speed * seconds + self.phase)))
        hip, foot = int(HEIGHT * 0.62 * self.depth**0.5), int(HEIGHT * 0.62 * self.depth**0.5 + 2.6 * unit)
        swing = int(unit * np.sin(8 * self.speed * seconds + self.phase))
        for step in (swing, -swing):
            cv2.line(image, (x, hip), (x + step, foot), self.trousers, int(unit * 0.5), cv2.LINE_AA)
            cv2.line(image, (x, int(hip - 1.7 * unit)), (x - step, hip), self.shirt, int(unit * 0.3), cv2.LINE_AA)
        cv2.ellipse(
            image, (x, int(hip - 0.9 * unit)), (int(unit * 0.6), int(unit)), 0, 0, 360, self.shirt, -1, cv2.LINE_AA
        )
        cv2.circle(image, (x, int(hip - 2.4 * unit)), int(unit * 0.5), (224, 180, 150), -1, cv2.LINE_AA)
