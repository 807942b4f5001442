"""Texts of the page about single events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memotr.inspection.events import Event, FalseRun, MissedRun, Switch, SwitchKind

KINDS = {Switch: "switch", MissedRun: "missed", FalseRun: "false"}
"""Type of event → its class in the style sheet, which also names the kind of its lost boxes."""


@dataclass(frozen=True)
class EventText:
    """Texts about one event.

    Attributes:
        kind: class in the style sheet.
        title: name of the object or track, and its error.
        frames: first and last frame number.
        cost: number of lost boxes.
        reason: possible cause of the error.
        details: description of the event.
    """

    kind: str
    title: str
    frames: str
    cost: int
    reason: str
    details: str


def describe(event: Event, classes: Sequence[str], frames: Sequence[int]) -> EventText:
    """Return the texts about an event.

    Args:
        event: event of a sequence.
        classes: names of the classes.
        frames: T frame numbers of the sequence.
    """
    span = _span(event, frames)
    return EventText(
        kind(event), _title(event, classes), span, event.cost, _reason(event), _details(event, capital(span))
    )


def kind(event: Event) -> str:
    """Return the class of an event in the style sheet."""
    return KINDS[type(event)]


def object_name(label: int, number: int, classes: Sequence[str]) -> str:
    """Return the name of an object; it contains the class if there are several classes."""
    return f"{classes[label] if len(classes) > 1 else 'object'} {number}"


def caption(event: Event, position: int, frames: Sequence[int]) -> str:
    """Return the caption of the picture of one frame of an event.

    Args:
        event: event of a sequence.
        position: number of the frame, counted from 0 in the scored frames.
        frames: T frame numbers of the sequence.
    """
    number = f"Frame {int(frames[position]):,}"
    first, last = {
        "switch": ("last frame with id {old}", "first frame with id {new}"),
        "missed": ("missed from here on", "still missed"),
        "false": ("false from here on", "still false"),
    }[kind(event)]
    text = first if position == event.first else last
    if isinstance(event, Switch):
        text = text.format(old=event.old, new=event.new)
    elif event.first == event.last:
        text = kind(event)
    return f"{number}: {text}"


def count(number: int, one: str, many: str) -> str:
    """Return a number with its noun in the singular or the plural."""
    return f"{number:,} {one if number == 1 else many}"


def capital(text: str) -> str:
    """Return a text with its first letter in upper case, and the rest as it is."""
    return text[:1].upper() + text[1:]


def _title(event: Event, classes: Sequence[str]) -> str:
    name = capital(object_name(event.label, event.id, classes))
    if isinstance(event, Switch):
        return f"{name}: id {event.old} → {event.new}"
    if isinstance(event, MissedRun):
        return f"{name} missed {count(event.cost, 'time', 'times')}"
    what = f"{classes[event.label]} track" if len(classes) > 1 else "track"
    return f"{capital(what)} {event.id}: {count(event.cost, 'false box', 'false boxes')}"


def _reason(event: Event) -> str:
    if not isinstance(event, Switch):
        return event.reason
    if event.reason == SwitchKind.SWAP:
        return f"swapped ids with object {event.other}"
    if event.reason == SwitchKind.TAKEN:
        return f"took over the id of object {event.other}"
    return event.reason


def _details(event: Event, when: str) -> str:
    if not isinstance(event, Switch):
        return f"{when}, {_boxes(event.cost)}"
    gap = f"matched again after {count(event.gap, 'frame', 'frames')}" if event.gap else "without a gap"
    return (
        f"{when}, {gap}; {_boxes(event.before)} in a row under the old id, {event.after:,} under the new one, "
        f"so the switch costs {_boxes(event.cost)}"
    )


def _span(event: Event, frames: Sequence[int]) -> str:
    first, last = int(frames[event.first]), int(frames[event.last])
    return f"frame {first:,}" if first == last else f"frames {first:,}–{last:,}"


def _boxes(number: int) -> str:
    return count(number, "box", "boxes")
