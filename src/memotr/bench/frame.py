"""Benchmark of a frame, from network input to tracks: by size, kernel, precision and number of tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from memotr.bench.baseline import PlainTracker
from memotr.bench.measure import Cell, Contender, Row, Timed, alternate, peak_memory, rows
from memotr.bench.options import Options, Size
from memotr.bench.report import Table
from memotr.bench.scene import CompiledCrowdTracker, CrowdTracker, copy_with_kernel, make_crowd, make_model
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch, TrackState
from memotr.tracks import Tracks
from memotr.vocabulary import Kernel, Precision


@dataclass(frozen=True)
class Setup:
    """Setup of a contender.

    Attributes:
        name: name in the tables.
        kernel: kernel of deformable attention.
        precision: numerical precision of the network.
        prepared: optimise the network for inference.
        tracker: "plain" (:class:`memotr.bench.baseline.PlainTracker`), "usual" (:class:`memotr.Tracker`) or "compiled"
            (:class:`memotr.tracking.compiled.CompiledTracker`).
    """

    name: str
    kernel: Kernel = "auto"
    precision: Precision = "32"
    prepared: bool = True
    tracker: Literal["plain", "usual", "compiled"] = "usual"


BASELINE = Setup("baseline", "reference", prepared=False, tracker="plain")
OURS, OURS_BF16 = Setup("ours"), Setup("ours, bf16", precision="bf16")
SETUPS = (
    BASELINE,
    Setup("fused kernel", prepared=False),
    Setup("prepared", "reference"),
    OURS,
    Setup("bf16", "reference", "bf16", prepared=False),
    Setup("fused kernel, bf16", precision="bf16", prepared=False),
    Setup("prepared, bf16", "reference", "bf16"),
    OURS_BF16,
)
TF32 = (Setup("ours, tf32", precision="tf32"),)
COMPILED = (
    Setup("ours, compiled", tracker="compiled"),
    Setup("ours, bf16, compiled", precision="bf16", tracker="compiled"),
)


NOTE = (
    "From the image on the device to tracks on the host. Ours uses the fused kernel of deformable attention and a "
    "network that is optimised for inference. The largest difference is that of any track's logits, box or content "
    "from the baseline's."
)


def measure(options: Options) -> Iterator[Table]:
    """Yield a table for each size, and one by number of tracks."""
    more = (*(TF32 if options.device.startswith("cuda") else ()), *(COMPILED if options.compile else ()))
    for size in options.sizes:
        table = compare(options, size, options.crowd, (*SETUPS, *more))
        yield Table(f"A frame at {size[0]}×{size[1]} with {options.crowd} tracks", table, NOTE)
    size, by_tracks = options.sizes[0], []
    for count in options.tracks:
        table = compare(options, size, count, (BASELINE, OURS, OURS_BF16, *more))
        by_tracks += [{"tracks": count, **row} for row in table]
    yield Table(f"A frame at {size[0]}×{size[1]} by number of tracks", by_tracks, NOTE)


def compare(options: Options, size: Size, tracks: int, setups: Sequence[Setup]) -> list[Row]:
    """Return a row for each setup; the first one is the baseline."""
    steps, timed = time_frames(options, size, tracks, setups)
    table = []
    for step, row, each in zip(steps, rows(timed), timed, strict=True):
        row["frames/s"] = 1 / each.spread.middle
        row["largest difference"] = step.difference(steps[0])
        if options.memory:
            row["peak MB"] = peak_memory(make_step, options, size, tracks, step.setup)
        table.append(row)
    return table


def time_frames(
    options: Options, size: Size, tracks: int, setups: Sequence[Setup]
) -> tuple[list[PreparedStep], list[Timed]]:
    """Time all setups in turns, with the same weights, image and tracks."""
    model = make_model(options, size)
    steps = [PreparedStep(model, size, tracks, setup) for setup in setups]
    contenders = [Contender(step.setup.name, step, step.tracker.reset) for step in steps]
    # A step is captured at its second frame; the third run of a compiled one is the first that replays its graph.
    warm_up = 3 if options.compile or model.device.type == "cuda" else 1
    return steps, alternate(contenders, options.rounds, model.device, warm_up=warm_up)


def make_step(options: Options, size: Size, tracks: int, setup: Setup) -> PreparedStep:
    """Return the step of a setup with a new model, for a separate process."""
    return PreparedStep(make_model(options, size), size, tracks, setup)


class PreparedStep:
    """Step of one frame with the tracker of a setup.

    Args:
        model: model with weights and settings.
        size: size of the image.
        tracks: number of tracks before the frame.
        setup: setup of the tracker.
    """

    def __init__(self, model: MeMOTR, size: Size, tracks: int, setup: Setup) -> None:
        self.setup, self.size, self.first = setup, size, make_crowd(model, tracks)
        noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
        self.images = ImageBatch.from_images([noise]).to(model.device)
        network = copy_with_kernel(model, setup.kernel)
        self.tracker: PlainTracker | CrowdTracker
        if setup.tracker == "plain":
            self.tracker = PlainTracker(network, self.first)
        elif setup.tracker == "usual":
            self.tracker = CrowdTracker(network, self.first, setup.precision, prepared=setup.prepared)
        else:
            self.tracker = CompiledCrowdTracker(network, first=self.first, precision=setup.precision)

    def __call__(self) -> Tracks:
        """Run the step."""
        return self.tracker.step(self.images, *self.size)

    def difference(self, other: PreparedStep) -> Cell:
        """Return the largest difference of the tracks after a frame, or an empty text without tracks."""
        if len(self.first) == 0:
            return ""
        a, b = self._tracks(), other._tracks()
        pairs = [(a.logits, b.logits), (a.boxes, b.boxes), (a.output_embed, b.output_embed)]
        return max((x - y).abs().max().item() for x, y in pairs)

    def _tracks(self) -> TrackState:
        return self.tracker.all_tracks() if isinstance(self.tracker, PlainTracker) else self.tracker.tracks
