"""Benchmark of ``memotr track``, from a video file to annotated video, text and JSON lines."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from memotr.bench.baseline import PlainTracker
from memotr.bench.measure import Contender, alternate, rows
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.bench.scene import CompiledCrowdTracker, CrowdTracker, make_crowd, make_model, write_video
from memotr.io.outputs import open_outputs
from memotr.io.sources import open_source
from memotr.tracking.batch import side_by_side
from memotr.tracking.pipeline import track_source
from memotr.tracking.tracker import Tracker

NOTE = "Start and loading of weights are not timed. The baseline writes a frame before it decodes the next one."


def measure(options: Options) -> Iterator[Table]:
    """Yield a table with a row for each tracker."""
    size, source = options.sizes[0], options.source
    model = make_model(options, size)
    crowd = make_crowd(model, options.crowd)
    plain = PlainTracker(model, crowd)
    ours, half = CrowdTracker(model, crowd), CrowdTracker(model, crowd, "bf16")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_video(folder / "video.mp4", options.video_frames, source)
        videos = [video, Path(shutil.copy(video, folder / "again.mp4"))]
        contenders = [
            Contender("baseline", partial(track_in_one_thread, plain, video, folder)),
            Contender("ours", partial(track, ours, [video], folder)),
            Contender("ours, no annotated video", partial(track, ours, [video], folder, annotated=False)),
            Contender("ours, two videos at once", partial(track, ours, videos, folder), amount=2),
            Contender("ours, bf16", partial(track, half, [video], folder)),
            Contender("ours, bf16, two videos at once", partial(track, half, videos, folder), amount=2),
        ]
        if options.compile:
            compiled = CompiledCrowdTracker(model, first=crowd, precision="bf16")
            name = "ours, bf16, compiled"
            contenders += [
                Contender(name, partial(track, compiled, [video], folder)),
                Contender(f"{name}, text only", partial(track, compiled, [video], folder, annotated=False)),
            ]
        timed = alternate(contenders, options.rounds, model.device, warm_up=3 if options.compile else 1)
    table = [
        row | {"frames/s": options.video_frames / each.spread.middle}
        for row, each in zip(rows(timed, " per video"), timed, strict=True)
    ]
    title = f"From video files ({options.video_frames} frames of {source[0]}×{source[1]}) to results"
    yield Table(f"{title}, at {size[0]}×{size[1]} with {options.crowd} tracks", table, NOTE)


def track(tracker: Tracker, videos: Sequence[Path], folder: Path, *, annotated: bool = True) -> None:
    """Track all videos at once, each in its own thread, with their frames in one batch."""
    waiting = deque(videos)

    def work(each: Tracker) -> None:
        with open_source(waiting.popleft()) as source:
            track_source(each, source, open_outputs(source, folder / "results", video=annotated))

    side_by_side(tracker, len(videos), work, stop=lambda: None)


def track_in_one_thread(tracker: PlainTracker, video: Path, folder: Path) -> None:
    """Track a video in one thread: decode, track and write each frame before the next one."""
    tracker.reset()
    with ExitStack() as opened:
        source = opened.enter_context(open_source(video))
        sinks = [opened.enter_context(sink) for sink in open_outputs(source, folder / "results")]
        for frame in source:
            tracks = replace(tracker.update(frame.image), frame=frame.index)
            for sink in sinks:
                sink.write(frame, tracks)
