"""Card of one event on the page: texts, pictures and the lane of its object."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from memotr.inspection import timeline, wording
from memotr.inspection.events import Event, FalseRun, SequenceErrors
from memotr.inspection.pictures import SIDE, LabelPlate, Mark, Picture, label_plates
from memotr.inspection.timeline import Lane
from memotr.inspection.wording import EventText


@dataclass(frozen=True)
class WorstEvent:
    """Event that gets a card, and the errors of its sequence."""

    errors: SequenceErrors
    event: Event


@dataclass(frozen=True)
class Figure:
    """Picture of a card.

    Attributes:
        base64: JPEG of the picture.
        side: width and height in the units of marks and plates.
        marks: boxes, in the order of drawing.
        plates: ids of boxes.
        label: text for screen readers.
        caption: text below the picture.
    """

    base64: str
    side: int
    marks: tuple[Mark, ...]
    plates: tuple[LabelPlate, ...]
    label: str
    caption: str


@dataclass(frozen=True, eq=False)
class EventCard:
    """Card of one event.

    Attributes:
        number: rank among the events with a card, from 1.
        sequence: name of the event's sequence.
        text: texts about the event.
        figures: at most two pictures; none without images.
        lane: timeline of the object; None for false tracks.
    """

    number: int
    sequence: str
    text: EventText
    figures: tuple[Figure, ...]
    lane: Lane | None


def event_card(number: int, one: WorstEvent, classes: Sequence[str], pictures: Sequence[Picture]) -> EventCard:
    """Return the card of an event.

    Args:
        number: rank of the event among those with a card, from 1.
        one: event and errors of its sequence.
        classes: names of the classes.
        pictures: pictures of the event.
    """
    errors, event = one.errors, one.event
    frames = errors.matched.truth.frames
    text = wording.describe(event, classes, frames)
    figures = tuple(_figure(picture, wording.caption(event, picture.frame, frames)) for picture in pictures)
    owner = None if isinstance(event, FalseRun) else (event.label, event.id)
    track = next((track for track in errors.tracks if (track.label, track.id) == owner), None)
    lane = None if track is None else timeline.event_lane(errors, track, event)
    return EventCard(number, errors.name, text, figures, lane)


def _figure(picture: Picture, caption: str) -> Figure:
    data = base64.b64encode(picture.jpeg).decode("ascii")
    focus = ", ".join(f"{mark.role} {mark.id}" for mark in picture.marks if mark.focus) or "no box in focus"
    label = f"Part of the frame with {focus}, and {len(picture.marks)} boxes in all"
    return Figure(data, SIDE, picture.marks, label_plates(picture.marks), label, caption)
