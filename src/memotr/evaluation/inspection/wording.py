"""What a page says of an event, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from memotr.evaluation.inspection.events import Event, FalseRun, MissedRun, Switch, SwitchKind

KINDS = {Switch: "switch", MissedRun: "missed", FalseRun: "false"}


def kind(event: Event) -> str:
    """Class of an event in the style sheet."""
    return KINDS[type(event)]


def title(event: Event, classes: Sequence[str]) -> str:
    """What happened to whom."""
    named = f"{classes[event.label]} {event.id}" if len(classes) > 1 else f"object {event.id}"
    if isinstance(event, Switch):
        return f"{capital(named)}: id {event.old} → {event.new}"
    if isinstance(event, MissedRun):
        return f"{capital(named)} missed {count(event.cost, 'time', 'times')}"
    what = f"{classes[event.label]} track" if len(classes) > 1 else "track"
    return f"{capital(what)} {event.id}: {count(event.cost, 'false box', 'false boxes')}"


def reason(event: Event) -> str:
    """What it may come from."""
    if not isinstance(event, Switch):
        return event.reason
    if event.reason == SwitchKind.SWAP:
        return f"swapped ids with object {event.other}"
    if event.reason == SwitchKind.TAKEN:
        return f"took over the id of object {event.other}"
    return event.reason


def details(event: Event, frames: Sequence[int]) -> str:
    """How it came about; ``frames`` (T,) are the numbers of all."""
    when = capital(span(event, frames))
    if not isinstance(event, Switch):
        return f"{when}, {boxes(event.cost)}"
    gap = f"found again after {count(event.gap, 'frame', 'frames')}" if event.gap else "without a gap"
    return (
        f"{when}, {gap}; {boxes(event.before)} in a row under the old id, {event.after:,} under the new, "
        f"so {boxes(event.cost)} no longer count with the rest"
    )


def caption(event: Event, position: int, frames: Sequence[int]) -> str:
    """Of the picture of a frame, counted from 0 in what is scored; ``frames`` (T,) are the numbers of all."""
    number = f"Frame {int(frames[position]):,}"
    first, last = {
        "switch": ("id {old}, found for the last time", "id {new} from here on"),
        "missed": ("missed from here on", "still missed"),
        "false": ("false from here on", "still false"),
    }[kind(event)]
    text = first if position == event.first else last
    if isinstance(event, Switch):
        text = text.format(old=event.old, new=event.new)
    elif event.first == event.last:
        text = kind(event)
    return f"{number}: {text}"


def span(event: Event, frames: Sequence[int]) -> str:
    """Its frame numbers."""
    first, last = int(frames[event.first]), int(frames[event.last])
    return f"frame {first:,}" if first == last else f"frames {first:,}–{last:,}"


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def boxes(number: int) -> str:
    return count(number, "box", "boxes")


def capital(text: str) -> str:
    """The first letter only: the rest may be names."""
    return text[:1].upper() + text[1:]
