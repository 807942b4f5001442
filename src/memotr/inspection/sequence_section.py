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

LANES, LEAST_LANES = 40, 6  # objects drawn of a sequence, at most and at least
PIECES = 30_000  # of all lanes together, about 50 bytes each; an object in one colour is one piece
LISTED = 8  # largest number of events per sequence and kind in the table


@dataclass(frozen=True)
class ObjectLanes:
    """Lanes of the objects that lose most boxes.

    Attributes:
        names: objects, from the top down.
        lane: all of them in one drawing; None where no object loses a box.
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
        missed, false: lanes of the missed and of the false boxes.
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
        cards: its events among the worst of the run.
        others: the costliest of its other events.
        num_unlisted: number of events that have neither a card nor a row.
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
    """Return heading and formatted value of every metric on the page."""
    percent = [(name, f"{100 * row[name]:.1f}") for name in PERCENT]
    return percent + [(heading, f"{row[name]:,.0f}") for name, heading in COUNTS.items()]


def sequence_section(inspection: Inspection, position: int, shown: Mapping[EventCard, Event]) -> SequenceSection:
    """Return the section of a sequence.

    Args:
        inspection: errors of the run.
        position: position of the sequence in ``inspection.errors``.
        shown: cards of the sequence, and their events.
    """
    errors, classes = inspection.errors[position], inspection.truth.classes
    listed, num_unlisted = _other_events(errors, shown.values())
    return SequenceSection(
        anchor=f"sequence-{position + 1}",  # not the name, which may hold any character
        name=errors.name,
        numbers=metric_texts(inspection.by_sequence[errors.name]),
        losses={"switch": errors.wrong_id, "missed": errors.missed, "false": errors.false},
        timeline=_timeline(errors, shown, classes, PIECES // len(inspection.errors)),
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
    """Return lanes of the objects that lose most, in the order of appearance, made of about ``pieces`` pieces."""
    faulty = [track for track in errors.tracks if track.missed + track.wrong_id or track.switched.any()]
    ranked = sorted(faulty, key=lambda track: -(track.missed + track.wrong_id))
    sizes = np.cumsum([1 + np.count_nonzero(np.diff(track.found)) for track in ranked])
    room = int(np.searchsorted(sizes, pieces, "right"))
    most = max(LEAST_LANES, min(LANES, room))
    shown = [track for track in faulty if track in ranked[:most]]
    return ObjectLanes(
        tuple(wording.object_name(track.label, track.id, classes) for track in shown),
        timeline.track_lanes(errors, shown) if shown else None,
        tuple(_not_drawn(len(errors.tracks) - len(faulty), ranked[most:])),
    )


def _not_drawn(num_faultless: int, rest: Sequence[ObjectTrack]) -> list[str]:
    texts = []
    if num_faultless:
        texts.append(f"{wording.count(num_faultless, 'object', 'objects')} tracked without a fault")
    if rest:
        missed, wrong_id = sum(track.missed for track in rest), sum(track.wrong_id for track in rest)
        texts.append(f"{len(rest):,} that lose less ({missed:,} boxes missed, {wrong_id:,} under a wrong id)")
    return texts


def _other_events(errors: SequenceErrors, shown: Collection[Event]) -> tuple[list[Event], int]:
    """Return the costliest events of each kind that are not shown, and the number of all others."""
    kinds: tuple[tuple[Event, ...], ...] = errors.switches, errors.misses, errors.false_runs
    excluded = set(map(id, shown))
    rest = [[event for event in events if id(event) not in excluded] for events in kinds]
    listed = sorted((event for events in rest for event in events[:LISTED]), key=lambda event: -event.cost)
    return listed, sum(map(len, rest)) - len(listed)
