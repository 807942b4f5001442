"""Lanes of errors over time, as values that a template draws as SVG.

A unit is one frame in x and one pixel in y. The SVG is stretched to the width of the page and therefore contains no
text; labels are placed beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from memotr.data.annotations import Bools, Ints
from memotr.inspection import wording
from memotr.inspection.events import Event, ObjectTrack, SequenceErrors
from memotr.metrics.clear import UNMATCHED

DENSITY_HEIGHT, SWITCH_HEIGHT, LANE_HEIGHT = 40, 26, 16  # pixels
BINS = 160
"""Maximum number of bars of a density lane."""
TICKS = 8
"""Maximum number of intervals between frame numbers on the axis."""
STEPS = (1, 2, 5)
"""Distances of frame numbers on the axis, times a power of 10."""
BADGE = 0.035
"""Approximate width of a badge, as a share of the timeline's width."""
BADGE_ROWS = 6


@dataclass(frozen=True)
class Stroke:
    """SVG path of a lane.

    Attributes:
        kind: class in the style sheet.
        line: path data.
        track: id of the track that determines the colour; None: colour of the style sheet.
        title: tooltip; empty: no tooltip.
    """

    kind: str
    line: str
    track: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Lane:
    """Drawing over all frames of a sequence.

    Attributes:
        width: number of frames.
        height: height in pixels.
        label: text for screen readers.
        strokes: paths, in the order of drawing.
        grid: path data of vertical lines at the numbers of the axis; empty: no lines.
    """

    width: int
    height: int
    label: str
    strokes: tuple[Stroke, ...]
    grid: str = ""


@dataclass(frozen=True)
class DensityLane:
    """Bar chart of the number of wrong boxes per frame.

    Attributes:
        lane: bars.
        highest: value of the highest bar, boxes per frame.
    """

    lane: Lane
    highest: float


@dataclass(frozen=True)
class Badge:
    """Number of an event on the time axis.

    Attributes:
        number: rank of the event.
        kind: class in the style sheet.
        left: position of its middle, in [0, 1] of the width.
        row: index of its row, from 0 at the top.
    """

    number: int
    kind: str
    left: float
    row: int


def switch_lane(errors: SequenceErrors) -> Lane:
    """Return a lane with a vertical line in each frame with id switches, whose height shows their number."""
    counts = Counter(switch.last for switch in errors.switches)
    top = max(counts.values(), default=1)
    lines = []
    for frame, number in sorted(counts.items()):
        height = SWITCH_HEIGHT * (0.45 + 0.55 * number / top)
        lines.append(f"M{frame + 0.5:g} {SWITCH_HEIGHT}v{-height:.1f}")
    label = f"Id switches over time: {len(errors.switches):,}"
    return _lane_with_grid(errors, SWITCH_HEIGHT, label, [Stroke("switches", "".join(lines))])


def density_lane(errors: SequenceErrors, frames: Ints, kind: str, name: str) -> DensityLane:
    """Return a bar chart of the number of wrong boxes per frame.

    Args:
        errors: errors of the sequence.
        frames: (K,) frame of each wrong box.
        kind: class of the bars in the style sheet.
        name: name of the boxes, for screen readers.
    """
    length = errors.num_frames
    edges = np.linspace(0, length, min(BINS, length) + 1).round().astype(int)  # (bins + 1,)
    share = np.histogram(frames, edges)[0] / np.diff(edges)  # (bins,) boxes per frame
    highest = float(share.max(initial=0))
    bars = "".join(
        f"M{left} {DENSITY_HEIGHT}V{DENSITY_HEIGHT * (1 - value / highest):.1f}H{right}V{DENSITY_HEIGHT}z"
        for left, right, value in zip(edges[:-1].tolist(), edges[1:].tolist(), share.tolist(), strict=True)
        if value
    )
    label = f"{name} over time: {len(frames):,}, at most {highest:.1f} per frame"
    return DensityLane(_lane_with_grid(errors, DENSITY_HEIGHT, label, [Stroke(kind, bars)]), highest)


def track_lanes(errors: SequenceErrors, tracks: Sequence[ObjectTrack]) -> Lane:
    """Return a lane per object: a bar in the colour of its matched id, and a thin line where it is missed."""
    strokes = [stroke for k, track in enumerate(tracks) for stroke in _track_strokes(track, k * LANE_HEIGHT)]
    label = f"{len(tracks)} objects over time, coloured by the matched id"
    return _lane_with_grid(errors, LANE_HEIGHT * len(tracks), label, strokes)


def event_lane(errors: SequenceErrors, track: ObjectTrack, event: Event) -> Lane:
    """Return the lane of one object, with the time of an event marked."""
    span = Stroke("span", f"M{event.first} 0H{event.last + 1}V{LANE_HEIGHT}H{event.first}z")
    label = f"Object {track.id} over the whole sequence, the time of this event marked"
    return Lane(errors.num_frames, LANE_HEIGHT, label, (span, *_track_strokes(track, 0)))


def place_badges(events: Mapping[int, Event], num_frames: int) -> tuple[Badge, ...]:
    """Place the numbers of events in the middle of their time spans, in as many rows as needed to avoid overlaps.

    Args:
        events: rank → event.
        num_frames: number of frames of the sequence.
    """
    ends: list[float] = []  # position of the last badge of each row
    badges = []
    middles = sorted(((event.first + event.last + 1) / 2 / num_frames, number) for number, event in events.items())
    for middle, number in middles:
        row = next((n for n, end in enumerate(ends) if end + BADGE <= middle), min(len(ends), BADGE_ROWS - 1))
        ends[row : row + 1] = [middle]
        badges.append(Badge(number, wording.kind(events[number]), middle, row))
    return tuple(badges)


def ticks(errors: SequenceErrors) -> list[tuple[float, int]]:
    """Return round frame numbers for the axis as pairs of position in [0, 1] and frame number."""
    numbers = errors.matched.truth.frames
    min_step = (numbers[-1] - numbers[0] + 1) / TICKS
    step = next(s for k in count() for factor in STEPS if (s := factor * 10**k) >= min_step)
    multiples = range(-(-numbers[0] // step) * step, numbers[-1] + 1, step)
    return [((numbers.index(n) + 0.5) / len(numbers), n) for n in multiples if n in numbers]


def _lane_with_grid(errors: SequenceErrors, height: int, label: str, strokes: Iterable[Stroke]) -> Lane:
    width = errors.num_frames
    grid = "".join(f"M{share * width:g} 0V{height}" for share, _ in ticks(errors))
    return Lane(width, height, label, tuple(strokes), grid)


def _track_strokes(track: ObjectTrack, top: int) -> list[Stroke]:
    """Return the paths of one object in a lane that begins at ``top``."""
    middle = top + LANE_HEIGHT / 2
    ids = track.matched_ids
    missed = _lines(_stretches(track.frames, ids == UNMATCHED), middle)
    strokes = [Stroke("gone", missed, title=f"missed: {track.missed:,} boxes")]
    for number in np.unique(ids[ids != UNMATCHED]).tolist():
        matched = ids == number
        title = f"object {track.id} as id {number}: {int(matched.sum()):,} boxes"
        strokes.append(Stroke("bar", _lines(_stretches(track.frames, matched), middle), number, title))
    marks = "".join(f"M{frame} {top + 1}v{LANE_HEIGHT - 2}" for frame in track.frames[track.switched].tolist())
    return [*strokes, Stroke("mark", marks)] if marks else strokes


def _stretches(frames: Ints, mask: Bools) -> list[tuple[int, int]]:
    """Return first and last frame of each run of consecutive frames among ``frames[mask]``."""
    frames = frames[mask]
    cuts = np.flatnonzero(np.diff(frames) > 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(frames, cuts) if len(run)]


def _lines(stretches: Iterable[tuple[int, int]], middle: float) -> str:
    return "".join(f"M{first} {middle:g}H{last + 1}" for first, last in stretches)
