"""Benchmark of the steps from a video file to its results, compared with the network."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from memotr.bench.measure import Contender, Row, Spread, Timed, alternate
from memotr.bench.options import Options
from memotr.bench.report import Table
from memotr.bench.scene import CrowdTracker, make_crowd, make_model, write_video
from memotr.io.draw import Annotator
from memotr.io.frames import Frame
from memotr.io.outputs import open_outputs
from memotr.io.sinks import Sink
from memotr.io.sources import open_source
from memotr.structures import Assignment, FrameOutput, ImageBatch, TrackState
from memotr.tracking.gate import gate
from memotr.tracking.lifecycle import advance
from memotr.tracking.precision import products_in
from memotr.tracking.step import Network
from memotr.vocabulary import Precision

PRECISIONS: tuple[Precision, ...] = ("32", "bf16")

SUMS = {
    "the reader's thread": ("decode", "preprocess"),
    "the tracker's thread": ("gate, lifecycle, memory",),
    "the writer's thread": ("write text", "draw and encode"),
    "tracker and writer": ("gate, lifecycle, memory", "write text", "draw and encode"),
    "all": ("decode", "preprocess", "gate, lifecycle, memory", "write text", "draw and encode"),
}
"""Title of a sum → the steps in it. The network waits for the tracker's thread only."""


def measure(options: Options) -> Iterator[Table]:
    """Yield a table for each size."""
    for size in options.sizes:
        with ExitStack() as opened, torch.inference_mode():
            model = make_model(options, size)
            crowd = make_crowd(model, options.crowd)
            trackers = [CrowdTracker(model, crowd, precision) for precision in PRECISIONS]
            steps = Steps(options, trackers[0], opened)
            networks = [
                Contender(
                    f"network, {precision}", partial(forward, tracker, steps.prepared.images.to(model.device), crowd)
                )
                for precision, tracker in zip(PRECISIONS, trackers, strict=True)
            ]
            timed = alternate([*networks, *steps.contenders()], options.rounds, model.device)
        title = f"Outside the network: a frame at {size[0]}×{size[1]} with {options.crowd} tracks"
        yield Table(title, _rows(timed, networks), f"Frames of the video are {options.source[0]}×{options.source[1]}.")


def _rows(timed: Sequence[Timed], networks: Sequence[Contender]) -> list[Row]:
    """Return rows for all timed steps and for the sums in ``SUMS``."""
    seconds = {each.contender.name: each.seconds for each in timed}
    for title, names in SUMS.items():
        steps = (seconds[name] for name in names)
        seconds[f"sum: {title}"] = tuple(map(sum, zip(*steps, strict=True)))
    spreads = {name: Spread.of(values) for name, values in seconds.items()}
    table = []
    for name, spread in spreads.items():
        row: Row = {"step": name, "ms": spread.times(1e3)}
        row |= {f"% of {network.name}": 100 * spread.middle / spreads[network.name].middle for network in networks}
        table.append(row)
    return table


def forward(tracker: CrowdTracker, images: ImageBatch, tracks: TrackState) -> Sequence[FrameOutput]:
    """Run a tracker's network in the tracker's precision."""
    dtype = tracker.dtype
    enabled = dtype is not None
    with products_in(tracker.precision), torch.autocast(images.pixels.device.type, dtype or torch.bfloat16, enabled):
        output = tracker.network(images, [tracks])
        return [output[0]]


class PrecomputedNetwork:
    """Network that returns outputs computed before.

    Args:
        outputs: outputs for one frame.
        network: network with the memory.
    """

    def __init__(self, outputs: Sequence[FrameOutput], network: Network) -> None:
        self.outputs, self.memory = outputs, network.memory

    def __call__(
        self, images: ImageBatch, tracks: Sequence[TrackState], *, vacant: Tensor | None = None
    ) -> Sequence[FrameOutput]:
        """Return the outputs."""
        return self.outputs


class Steps:
    """Steps of processing a frame outside the network.

    Args:
        options: settings of the video.
        tracker: tracker. Its network runs once, and all frames share the output.
        opened: stack that closes the files that are opened here.
    """

    def __init__(self, options: Options, tracker: CrowdTracker, opened: ExitStack) -> None:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        video = write_video(folder / "video.mp4", options.video_frames, options.source)
        self.frames = _without_end(video)
        self.frame = next(self.frames)
        self.prepared = tracker.prepare(self.frame.image)
        self.first = tracker.first
        outputs = forward(tracker, self.prepared.images.to(tracker.model.device), self.first)
        self.output = outputs[0].float()
        self.tracker = tracker.another(PrecomputedNetwork(outputs, tracker.network))
        self.tracks = self.tracker.update(self.prepared)
        with open_source(video) as source:
            *self.text, self.video = map(opened.enter_context, open_outputs(source, folder / "results"))
        self.annotator, self.numbers = Annotator(), itertools.count()

    def contenders(self) -> list[Contender]:
        """Return the steps as contenders; those with a dot are parts of the step before them."""
        choice = self.choose()
        state = advance(self.first, self.output, choice)
        return [
            Contender("decode", partial(next, self.frames)),
            Contender("preprocess", partial(self.tracker.prepare, self.frame.image)),
            Contender("gate, lifecycle, memory", partial(self.tracker.update, self.prepared), self.tracker.reset),
            Contender("· the gate", self.choose),
            Contender("· the lifecycle", partial(advance, self.first, self.output, choice)),
            Contender("· the memory", partial(self.tracker.network.memory, state)),
            Contender("write text", partial(self.write, self.text)),
            Contender("draw and encode", partial(self.write, [self.video])),
            Contender("· drawing", partial(self.annotator.annotate, self.frame.image, self.tracks)),
        ]

    def choose(self) -> Assignment:
        """Run the gate."""
        s = self.tracker.settings
        return gate(
            self.output,
            self.first,
            det_thresh=s.det_thresh,
            track_thresh=s.track_thresh,
            miss_tolerance=s.miss_tolerance,
            next_id=len(self.first),
            max_tracks=s.max_tracks,
        )

    def write(self, sinks: Sequence[Sink]) -> None:
        """Write the tracks of the next frame to some sinks."""
        tracks = replace(self.tracks, frame=next(self.numbers))
        for sink in sinks:
            sink.write(self.frame, tracks)


def _without_end(video: Path) -> Iterator[Frame]:
    """Yield the frames of a video again and again."""
    while True:
        with open_source(video) as source:
            yield from source
