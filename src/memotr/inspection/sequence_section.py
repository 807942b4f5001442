"""Section of the page about one sequence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memotr.inspection import timeline, wording
from memotr.inspection.event_card import EventCard
from memotr.inspection.events import Event, ObjectTrack, SequenceErrors
from memotr.inspection.inspect_run import Inspection, Row
from memotr.inspection.timeline import Badge, DensityLane, Lane
from memotr.inspection.wording import EventText

PERCENT = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")
COUNTS = {"IDSW": "IDSW", "CLR_FN": "FN", "CLR_FP": "FP"}

MAX_LANES, MIN_LANES = 40, 6
"""Largest and smallest number of objects drawn of a sequence."""
MAX_PIECES = 30_000
"""Number of pieces of all lanes together, of about 50 bytes each; an object in one colour is one piece."""
MAX_LISTED = 8
"""Maximum number of events per sequence and kind in the table."""


@dataclass(frozen=True)
class ObjectLanes:
    """Lanes of the objects with most lost boxes.

    Attributes:
        names: names of the objects, from top to bottom.
        lane: drawing of all of them; None if no object has a lost box.
        not_drawn: texts about the other objects.
    """

    names: tuple[str, ...]
    lane: Lane | None
    not_drawn: tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """Errors of a sequence over time.

    Attributes:
        badges: events that have a card.
        num_switches: number of id switches.
        switches: lane of the id switches.
        missed: lane of the missed boxes.
        false: lane of the false boxes.
        ticks: frame numbers of the axis, each with its position in [0, 1].
        objects: lanes of single objects.
    """

    badges: tuple[Badge, ...]
    num_switches: int
    switches: Lane
    missed: DensityLane
    false: DensityLane
    ticks: list[tuple[float, int]]
    objects: ObjectLanes


@dataclass(frozen=True)
class SequenceSection:
    """Section of one sequence.

    Attributes:
        anchor: id of the section's heading.
        name: name of the sequence.
        numbers: metrics, see :func:`metric_texts`.
        losses: kind (``wording.KINDS``) → number of lost boxes.
        timeline: errors over time.
        cards: cards of its events among the worst of the run.
        others: texts about the costliest of its other events.
        num_unlisted: number of events that have neither a card nor a row in the table.
    """

    anchor: str
    name: str
    numbers: list[tuple[str, str]]
    losses: Mapping[str, int]
    timeline: Timeline
    cards: tuple[EventCard, ...]
    others: tuple[EventText, ...]
    num_unlisted: int

    @property
    def lost(self) -> int:
        """Number of lost boxes."""
        return sum(self.losses.values())


def metric_texts(row: Row) -> list[tuple[str, str]]:
    """Return heading and formatted value of each metric on the page."""
    percent = [(name, f"{100 * row[name]:.1f}") for name in PERCENT]
    return percent + [(heading, f"{row[name]:,.0f}") for name, heading in COUNTS.items()]


def sequence_section(inspection: Inspection, position: int, shown: Mapping[EventCard, Event]) -> SequenceSection:
    """Return the section of a sequence.

    Args:
        inspection: errors of the run.
        position: index of the sequence in ``inspection.errors``.
        shown: card → event, for the cards of the sequence.
    """
    errors, classes = inspection.errors[position], inspection.truth.classes
    listed, num_unlisted = _other_events(errors, shown.values())
    return SequenceSection(
        anchor=f"sequence-{position + 1}",  # not the name, which may contain any character
        name=errors.name,
        numbers=metric_texts(inspection.by_sequence[errors.name]),
        losses={"switch": errors.wrong_id, "missed": errors.missed, "false": errors.false},
        timeline=_timeline(errors, shown, classes, MAX_PIECES // len(inspection.errors)),
        cards=tuple(shown),
        others=tuple(wording.describe(event, classes, errors.matched.truth.frames) for event in listed),
        num_unlisted=num_unlisted,
    )


def _timeline(
    errors: SequenceErrors, shown: Mapping[EventCard, Event], classes: Sequence[str], pieces: int
) -> Timeline:
    matched = errors.matched
    missed, false = matched.objects.frames[matched.missed], matched.predictions.frames[matched.false]
    return Timeline(
        badges=timeline.place_badges({card.number: event for card, event in shown.items()}, errors.num_frames),
        num_switches=len(errors.switches),
        switches=timeline.switch_lane(errors),
        missed=timeline.density_lane(errors, missed, "missed", "Missed boxes"),
        false=timeline.density_lane(errors, false, "false", "False boxes"),
        ticks=timeline.ticks(errors),
        objects=_object_lanes(errors, classes, pieces),
    )


def _object_lanes(errors: SequenceErrors, classes: Sequence[str], pieces: int) -> ObjectLanes:
    """Return lanes of the objects with most lost boxes, in the order of appearance, with about ``pieces`` pieces."""
    with_errors = [track for track in errors.tracks if track.missed + track.wrong_id or track.switched.any()]
    ranked = sorted(with_errors, key=lambda track: -(track.missed + track.wrong_id))
    sizes = np.cumsum([1 + np.count_nonzero(np.diff(track.matched_ids)) for track in ranked])
    fitting = int(np.searchsorted(sizes, pieces, "right"))
    count = max(MIN_LANES, min(MAX_LANES, fitting))
    shown = [track for track in with_errors if track in ranked[:count]]
    return ObjectLanes(
        tuple(wording.object_name(track.label, track.id, classes) for track in shown),
        timeline.track_lanes(errors, shown) if shown else None,
        tuple(_not_drawn(len(errors.tracks) - len(with_errors), ranked[count:])),
    )


def _not_drawn(num_without_errors: int, rest: Sequence[ObjectTrack]) -> list[str]:
    """Return texts about the objects that have no lane."""
    texts = []
    if num_without_errors:
        texts.append(f"{wording.count(num_without_errors, 'object', 'objects')} tracked without errors")
    if rest:
        missed, wrong_id = sum(track.missed for track in rest), sum(track.wrong_id for track in rest)
        texts.append(f"{len(rest):,} with fewer errors ({missed:,} boxes missed, {wrong_id:,} under a wrong id)")
    return texts


def _other_events(errors: SequenceErrors, shown: Collection[Event]) -> tuple[list[Event], int]:
    """Return the costliest events of each kind that are not shown, and the number of all others."""
    kinds: tuple[tuple[Event, ...], ...] = errors.switches, errors.misses, errors.false_runs
    excluded = set(map(id, shown))
    rest = [[event for event in events if id(event) not in excluded] for events in kinds]
    listed = sorted((event for events in rest for event in events[:MAX_LISTED]), key=lambda event: -event.cost)
    return listed, sum(map(len, rest)) - len(listed)
