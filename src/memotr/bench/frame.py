"""One frame, from the image as the network takes it to the tracks: by size, kernel, precision and number of tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from memotr.bench.baseline import PlainTracker
from memotr.bench.measure import Cell, Contender, Row, Timed, alternate, peak_memory, rows
from memotr.bench.options import Options, Size
from memotr.bench.report import Table
from memotr.bench.scene import CompiledCrowdTracker, CrowdTracker, another_network, make_crowd, make_model
from memotr.models.memotr import MeMOTR
from memotr.structures import ImageBatch, TrackState
from memotr.tracks import Tracks
from memotr.vocabulary import Kernel, Precision


@dataclass(frozen=True)
class Way:
    """How a frame is computed.

    Attributes:
        name: in the tables.
        kernel: behind deformable attention.
        precision: of the heavy arithmetic.
        prepared: whether the network is made ready for inference.
        how: the tracker: as in :mod:`memotr.bench.baseline`, the usual one, or the one that is compiled.
    """

    name: str
    kernel: Kernel = "auto"
    precision: Precision = "32"
    prepared: bool = True
    how: Literal["plain", "usual", "compiled"] = "usual"


BASELINE = Way("baseline", "reference", prepared=False, how="plain")
OURS, OURS_BF16 = Way("ours"), Way("ours, bf16", precision="bf16")
WAYS = (
    BASELINE,
    Way("fused kernel", prepared=False),
    Way("prepared", "reference"),
    OURS,
    Way("bf16", "reference", "bf16", prepared=False),
    Way("fused kernel, bf16", precision="bf16", prepared=False),
    Way("prepared, bf16", "reference", "bf16"),
    OURS_BF16,
)
COMPILED = (Way("ours, compiled", how="compiled"), Way("ours, bf16, compiled", precision="bf16", how="compiled"))


NOTE = (
    "From the image on the device to tracks on the host. Ours has the fused kernel of deformable attention and a "
    "network that is prepared for inference. The largest difference is of any track's logits, box and content from the "
    "baseline's."
)


def measure(options: Options) -> Iterator[Table]:
    compiled = COMPILED if options.compile else ()
    for size in options.sizes:
        found = compare(options, size, options.crowd, (*WAYS, *compiled))
        yield Table(f"A frame at {size[0]}×{size[1]} with {options.crowd} tracks", found, NOTE)
    size, by_tracks = options.sizes[0], []
    for count in options.tracks:
        found = compare(options, size, count, (BASELINE, OURS, OURS_BF16, *compiled))
        by_tracks += [{"tracks": count, **row} for row in found]
    yield Table(f"A frame at {size[0]}×{size[1]} by number of tracks", by_tracks, NOTE)


def compare(options: Options, size: Size, tracks: int, ways: Sequence[Way]) -> list[Row]:
    """A row for each way, the baseline first."""
    ready, timed = time_frames(options, size, tracks, ways)
    found = []
    for one, row, each in zip(ready, rows(timed), timed, strict=True):
        row["frames/s"] = 1 / each.spread.middle
        row["largest difference"] = one.difference(ready[0])
        if options.memory:
            row["peak MB"] = peak_memory(ready_alone, options, size, tracks, one.way)
        found.append(row)
    return found


def time_frames(options: Options, size: Size, tracks: int, ways: Sequence[Way]) -> tuple[list[Ready], list[Timed]]:
    """All ways in turns, with the same weights, image and tracks."""
    model = make_model(options, size)
    ready = [Ready(model, size, tracks, way) for way in ways]
    contenders = [Contender(one.way.name, one, one.tracker.reset) for one in ready]
    # The third run of a CUDA graph is the first that replays it.
    return ready, alternate(contenders, options.rounds, model.device, warm_up=3 if options.compile else 1)


def ready_alone(options: Options, size: Size, tracks: int, way: Way) -> Ready:
    """For a process of its own."""
    return Ready(make_model(options, size), size, tracks, way)


class Ready:
    """A frame and the tracker of one way, ready for each other.

    Args:
        model: of the weights and settings.
        size: of the image.
        tracks: that are followed.
        way: how.
    """

    def __init__(self, model: MeMOTR, size: Size, tracks: int, way: Way) -> None:
        self.way, self.size, self.first = way, size, make_crowd(model, tracks)
        noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
        self.images = ImageBatch.from_images([noise]).to(model.device)
        network = another_network(model, way.kernel)
        self.tracker: PlainTracker | CrowdTracker
        if way.how == "plain":
            self.tracker = PlainTracker(network, self.first)
        elif way.how == "usual":
            self.tracker = CrowdTracker(network, self.first, way.precision, prepared=way.prepared)
        else:
            self.tracker = CompiledCrowdTracker(network, first=self.first, precision=way.precision)

    def __call__(self) -> Tracks:
        return self.tracker.step(self.images, *self.size)

    def difference(self, other: Ready) -> Cell:
        """The largest between the tracks after a frame; nothing where there are none."""
        if len(self.first) == 0:
            return ""
        mine, theirs = self._tracks(), other._tracks()
        pairs = [(mine.logits, theirs.logits), (mine.boxes, theirs.boxes), (mine.output_embed, theirs.output_embed)]
        return max((a - b).abs().max().item() for a, b in pairs)

    def _tracks(self) -> TrackState:
        return self.tracker.together() if isinstance(self.tracker, PlainTracker) else self.tracker.tracks
