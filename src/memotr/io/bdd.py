"""Writer of BDD100K box tracking results: one JSON list of frames per video, in Scalabel format."""

from __future__ import annotations

import json
from pathlib import Path

from memotr.io.frames import Frame
from memotr.io.sinks import TextSink
from memotr.tracks import Tracks


class BddSink(TextSink):
    """Sink for BDD100K results.

    ``[{"name", "videoName", "frameIndex", "labels": [{"id", "category", "score", "box2d": {"x1", …}}]}, …]``

    ``frameIndex`` is the frame's number in the source, from 0; ``id`` is a string, as in Scalabel; boxes are in pixels.
    The frame's ``name`` is its image file, or ``<video>-<number from 1>.jpg`` as BDD100K names the images of a video.
    """

    separator = b",\n"
    ending = b"\n]\n"

    def __init__(self, path: str | Path, *, video_name: str) -> None:
        super().__init__(path)
        self.video_name = video_name

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        labels = [
            {
                "id": str(track["id"]),
                "category": track["class"],
                "score": track["score"],
                "box2d": dict(zip(("x1", "y1", "x2", "y2"), track["box"], strict=True)),
            }
            for track in tracks
        ]
        entry = {
            "name": frame.file_name or f"{self.video_name}-{tracks.frame + 1:07d}.jpg",
            "videoName": self.video_name,
            "frameIndex": tracks.frame,
            "labels": labels,
        }
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        self.file.write((self.separator.decode() if self.frames else "[\n") + text)

    def _finish(self) -> None:
        if self.frames:
            self.file.write(self.ending.decode())
        super()._finish()
