"""Draw the animation of the README: a generated clip, tracked by the shipped weights and by ByteTrack on their boxes.

python tools/draw_animation.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
from PIL import Image

from memotr import Tracker, load_model
from memotr.demo.comparison import Comparison
from memotr.demo.run_demo import make_clip, track_clip

OUTPUT = Path(__file__).parents[1] / "docs" / "side_by_side.webp"
FRAMES, WIDTH = range(2, 100), 900


def main() -> None:
    """Write the animation."""
    with tempfile.TemporaryDirectory() as name:
        clip = make_clip(Path(name) / "clip", 100, easy=False)
        with Comparison(clip, Path(name) / "bytetrack.txt") as comparison:
            track_clip(Tracker(load_model("synthdance")), clip, Path(name) / "tracked", comparison)
    pictures = [comparison.picture([k]) for k in FRAMES]
    height = round(pictures[0].shape[0] * WIDTH / pictures[0].shape[1])
    images = [Image.fromarray(cv2.resize(p, (WIDTH, height), interpolation=cv2.INTER_AREA)) for p in pictures]
    images[0].save(OUTPUT, save_all=True, append_images=images[1:], duration=80, loop=0, quality=55, method=6)
    sys.stdout.write(f"wrote {OUTPUT}, {OUTPUT.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
