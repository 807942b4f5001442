"""Errors over time as inline SVG: one unit a frame in x, pixels in y, stretched to whatever width there is.

Words stand beside the SVG, not in it, for they would be stretched with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import count

import numpy as np

from memotr.evaluation.inspection.events import Event, ObjectTrack, SequenceErrors
from memotr.evaluation.inspection.matching import NOBODY
from memotr.evaluation.teta_boxes import Bools, Ints
from memotr.io.draw import track_color

DENSITY_HEIGHT, SWITCH_HEIGHT, LANE_HEIGHT = 40, 26, 16  # pixels
BINS = 160
TICKS = 8
STEPS = (1, 2, 5)


def switch_lane(errors: SequenceErrors) -> str:
    """A line for each frame with id switches, the higher the more there are."""
    counts = Counter(switch.last for switch in errors.switches)
    top = max(counts.values(), default=1)
    lines = []
    for frame, number in sorted(counts.items()):
        height = SWITCH_HEIGHT * (0.45 + 0.55 * number / top)
        lines.append(f"M{frame + 0.5:g} {SWITCH_HEIGHT}v{-height:.1f}")
    path = f'<path class="switches" d="{"".join(lines)}"/>'
    return _svg(errors, SWITCH_HEIGHT, path, f"Id switches over time: {len(errors.switches):,}")


def density_lane(errors: SequenceErrors, frames: Ints, kind: str, what: str) -> tuple[str, float]:
    """Bars of how many boxes a frame are wrong, and the height of the highest.

    Args:
        errors: of the sequence.
        frames: (K,) frame of each wrong box.
        kind: class of the bars in the style sheet.
        what: they are, for those who cannot see them.
    """
    length = errors.num_frames
    edges = np.linspace(0, length, min(BINS, length) + 1).round().astype(int)  # (bins + 1,)
    share = np.histogram(frames, edges)[0] / np.diff(edges)  # (bins,) boxes a frame
    highest = float(share.max(initial=0))
    bars = "".join(
        f"M{left} {DENSITY_HEIGHT}V{DENSITY_HEIGHT * (1 - value / highest):.1f}H{right}V{DENSITY_HEIGHT}z"
        for left, right, value in zip(edges[:-1].tolist(), edges[1:].tolist(), share.tolist(), strict=True)
        if value
    )
    label = f"{what} over time: {len(frames):,}, at most {highest:.1f} a frame"
    return _svg(errors, DENSITY_HEIGHT, f'<path class="{kind}" d="{bars}"/>', label), highest


def track_lanes(errors: SequenceErrors, tracks: Sequence[ObjectTrack]) -> str:
    """A lane an object: a bar in the colour of the id that it is found under, a thin line where it is missed."""
    lanes = "".join(_lane(track, k * LANE_HEIGHT) for k, track in enumerate(tracks))
    label = f"{len(tracks)} objects over time, coloured by the id that each is found under"
    return _svg(errors, LANE_HEIGHT * len(tracks), lanes, label)


def event_lane(errors: SequenceErrors, track: ObjectTrack, event: Event) -> str:
    """The lane of one object, with the time of an event marked."""
    span = f'<path class="span" d="M{event.first} 0H{event.last + 1}V{LANE_HEIGHT}H{event.first}z"/>'
    label = f"Object {track.id} over the whole sequence, the time of this event marked"
    return _svg(errors, LANE_HEIGHT, span + _lane(track, 0), label, grid=False)


def ticks(errors: SequenceErrors) -> list[tuple[float, int]]:
    """Where on the axis, in [0, 1], which frame numbers stand: round ones."""
    numbers = errors.verdict.truth.frames
    least = (numbers[-1] - numbers[0] + 1) / TICKS
    step = next(s for k in count() for factor in STEPS if (s := factor * 10**k) >= least)
    round_ones = range(-(-numbers[0] // step) * step, numbers[-1] + 1, step)
    return [((numbers.index(n) + 0.5) / len(numbers), n) for n in round_ones if n in numbers]


def colour(track: int) -> str:
    """Of an id, as in annotated videos."""
    return "#{:02x}{:02x}{:02x}".format(*track_color(track))


def _lane(track: ObjectTrack, top: int) -> str:
    """One object's bars."""
    middle = top + LANE_HEIGHT / 2
    missed = _stretches(track.frames, track.found == NOBODY)
    parts = [f'<path class="gone" d="{_lines(missed, middle)}"><title>missed: {track.missed:,} boxes</title></path>']
    for found in np.unique(track.found[track.found != NOBODY]).tolist():
        under = track.found == found
        parts.append(
            f'<path class="bar" stroke="{colour(found)}" d="{_lines(_stretches(track.frames, under), middle)}">'
            f"<title>object {track.id} as id {found}: {int(under.sum()):,} boxes</title></path>"
        )
    marks = "".join(f"M{frame} {top + 1}v{LANE_HEIGHT - 2}" for frame in track.frames[track.switched].tolist())
    return "".join(parts) + (f'<path class="mark" d="{marks}"/>' if marks else "")


def _stretches(frames: Ints, here: Bools) -> list[tuple[int, int]]:
    """First and last of each run of successive frames in which something is so."""
    frames = frames[here]
    cuts = np.flatnonzero(np.diff(frames) > 1) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(frames, cuts) if len(run)]


def _lines(stretches: Iterable[tuple[int, int]], middle: float) -> str:
    return "".join(f"M{first} {middle:g}H{last + 1}" for first, last in stretches)


def _svg(errors: SequenceErrors, height: int, content: str, label: str, *, grid: bool = True) -> str:
    width = errors.num_frames
    lines = "".join(f"M{share * width:g} 0V{height}" for share, _ in ticks(errors)) if grid else ""
    return (
        f'<svg viewBox="0 0 {width} {height}" height="{height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">' + (f'<path class="grid" d="{lines}"/>' if lines else "") + f"{content}</svg>"
    )
