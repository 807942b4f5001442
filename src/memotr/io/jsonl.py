"""Writer of JSON lines: one object per frame, also for frames without tracks."""

from __future__ import annotations

import json

from memotr.io.frames import Frame
from memotr.io.sinks import TextSink
from memotr.tracks import Tracks

LINE_SEPARATORS = {0x85: r"\u0085", 0x2028: r"\u2028", 0x2029: r"\u2029"}
"""Characters, legal in JSON texts and in names, at which Python's `splitlines` and others end a line → their escape."""


class JsonLinesSink(TextSink):
    """Sink for JSON lines.

    ``{"frame", "time", "file", "width", "height", "tracks": [{"id", "box", "score", "label", "class"}, …]}``

    ``frame`` is the number of the frame in the source, from 0; ``time`` its time in seconds since the first frame;
    ``file`` the name of the image file (null for video); ``box`` [x1, y1, x2, y2] in pixels of the ``width`` ×
    ``height`` frame, not clipped to it.
    """

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        height, width = frame.image.shape[:2]
        record = {
            "frame": tracks.frame,
            "time": round(frame.time, 6),
            "file": frame.file_name,
            "width": width,
            "height": height,
            "tracks": tracks.to_dicts(),
        }
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).translate(LINE_SEPARATORS)
        self.file.write(line + "\n")
