"""What a frame costs outside the network: every step on the way from a file to its results, beside the network."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from memotr.bench.measure import Contender, Row, Spread, Timed, alternate
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.bench.scene import CrowdTracker, make_crowd, make_model, write_video
from memotr.io.draw import Annotator
from memotr.io.frames import Frame
from memotr.io.outputs import open_outputs
from memotr.io.sinks import Sink
from memotr.io.sources import open_source
from memotr.structures import Assignment
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance
from memotr.tracking.tracker import Precision

PRECISIONS: tuple[Precision, ...] = ("32", "bf16")

WAITING = ("tracker",)
MEANWHILE = ("decode", "preprocess", "write text", "draw and encode")
"""Steps for which the network waits, and those that other threads do meanwhile; the others are parts of these."""


def measure(options: Options) -> Iterator[Table]:
    for size in options.sizes:
        with ExitStack() as opened, torch.inference_mode():
            model = make_model(options, size)
            crowd = make_crowd(model, options.crowd)
            trackers = [CrowdTracker(model, crowd, precision) for precision in PRECISIONS]
            steps = Steps(options, trackers[0], opened)
            networks = [
                Contender(
                    f"network, {precision}", partial(tracker.look, steps.prepared.images.to(model.device), [crowd])
                )
                for precision, tracker in zip(PRECISIONS, trackers, strict=True)
            ]
            timed = alternate([*networks, *steps.contenders()], options.rounds, model.device)
        title = f"Outside the network: a frame at {size[0]}×{size[1]} with {options.crowd} tracks"
        yield Table(title, _rows(timed, networks), f"Frames of the video are {options.source[0]}×{options.source[1]}.")


def _rows(timed: Sequence[Timed], networks: Sequence[Contender]) -> list[Row]:
    """Of all that was timed, and of the sums."""
    times: dict[str, Spread] = {each.contender.name: each.spread.times(1e3) for each in timed}
    cells: dict[str, Spread | float] = {
        **times,
        "sum of what the network waits for": sum(times[name].middle for name in WAITING),
        "sum of what is done meanwhile": sum(times[name].middle for name in MEANWHILE),
    }
    return [
        {"step": name, "ms": cell}
        | {f"% of {network.name}": 100 * _middle(cell) / times[network.name].middle for network in networks}
        for name, cell in cells.items()
    ]


def _middle(cell: Spread | float) -> float:
    return cell.middle if isinstance(cell, Spread) else cell


class Steps:
    """All that happens to a frame but the network.

    Args:
        options: of the video.
        tracker: whose network is asked once: what it says of one frame stands for what it says of every frame.
        opened: closes what is left open here.
    """

    def __init__(self, options: Options, tracker: CrowdTracker, opened: ExitStack) -> None:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        video = write_video(folder / "video.mp4", options.video_frames, options.source)
        self.frames = _without_end(video)
        self.frame = next(self.frames)
        self.prepared = tracker.prepare(self.frame.image)
        self.first = tracker.first
        outputs = tracker.look(self.prepared.images.to(tracker.model.device), [self.first])
        self.output = outputs[0].float()
        self.tracker = tracker.another()
        self.tracker.look = lambda images, tracks: outputs
        self.tracks = self.tracker.update(self.prepared)
        with open_source(video) as source:
            *self.text, self.video = map(opened.enter_context, open_outputs(source, folder / "results"))
        self.annotator, self.numbers = Annotator(), itertools.count()

    def contenders(self) -> list[Contender]:
        """Those with a dot are part of the one before."""
        choice = self.choose()
        state = advance(self.first, self.output, choice)
        return [
            Contender("decode", partial(next, self.frames)),
            Contender("preprocess", partial(self.tracker.prepare, self.frame.image)),
            Contender("tracker", partial(self.tracker.update, self.prepared), self.tracker.reset),
            Contender("· gate", self.choose),
            Contender("· lifecycle", partial(advance, self.first, self.output, choice)),
            Contender("· memory", partial(self.tracker.model.memory, state)),
            Contender("write text", partial(self.write, self.text)),
            Contender("draw and encode", partial(self.write, [self.video])),
            Contender("· drawing", partial(self.annotator.annotate, self.frame.image, self.tracks)),
        ]

    def choose(self) -> Assignment:
        s = self.tracker.settings
        return gate(
            self.output,
            self.first,
            det_thresh=s.det_thresh,
            track_thresh=s.track_thresh,
            miss_tolerance=s.miss_tolerance,
            next_id=len(self.first),
        )

    def write(self, sinks: Sequence[Sink]) -> None:
        tracks = replace(self.tracks, frame=next(self.numbers))
        for sink in sinks:
            sink.write(self.frame, tracks)


def _without_end(video: Path) -> Iterator[Frame]:
    while True:
        with open_source(video) as source:
            yield from source
