"""Errors as people think of them: not boxes but events, each with its cost.

Costs are in boxes, so that kinds compare: a missed box and a false box are one each; a switch parts the boxes of an
object in two stretches that no longer count as one, and costs the shorter of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

from memotr.data.annotations import Bools, Ints
from memotr.data.truth import VideoBoxes
from memotr.inspection.boxes import FalseKind, MissKind, VerdictBoxes
from memotr.metrics.clear import NOBODY

Box = tuple[float, float, float, float]


class SwitchKind(StrEnum):
    """Where the new id comes from."""

    SWAP = "two objects swapped ids"
    TAKEN = "took over another object's id"
    BACK = "back to an id it had before"
    NEW = "new id"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One error.

    Attributes:
        label: class of the object, or of the false track.
        id: of the object; of the predicted track where that is false.
        first, last: frames, counted from 0 in what is scored, in which it begins and ends.
        boxes: where it is in these two frames, xyxy in pixels.
        cost: number of boxes that it concerns.
        reason: what it may come from.
    """

    label: int
    id: int
    first: int
    last: int
    boxes: tuple[Box, Box]
    cost: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Switch(Event):
    """An object has another id from ``last`` on than in ``first``, when it was found the last time before.

    Attributes:
        old, new: the ids.
        before, after: number of boxes found under the old id in one go, and then under the new one.
        other: object that had the new id last; None where that is this object, or none had it.
    """

    old: int
    new: int
    before: int
    after: int
    other: int | None

    @property
    def gap(self) -> int:
        """Number of frames in between."""
        return self.last - self.first - 1


@dataclass(frozen=True, kw_only=True)
class MissedRun(Event):
    """An object is not found, time after time, from ``first`` to ``last``."""


@dataclass(frozen=True, kw_only=True)
class FalseRun(Event):
    """A predicted track lies on no object, box after box, from ``first`` to ``last``."""


Run = TypeVar("Run", MissedRun, FalseRun)


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """One object's life.

    Attributes:
        label, id: of the object.
        frames: (K,) frames in which it is annotated, counted from 0 in what is scored.
        found: (K,) id of the prediction it is matched with; −1 where it is missed.
        switched: (K,) where that is another one than when it was last found.
    """

    label: int
    id: int
    frames: Ints
    found: Ints
    switched: Bools

    @property
    def missed(self) -> int:
        return int((self.found == NOBODY).sum())

    @property
    def strayed(self) -> int:
        """Number of boxes found under another id than the one that it has most of the time."""
        counts = np.unique(self.found[self.found != NOBODY], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0))


@dataclass(frozen=True, eq=False)
class SequenceErrors:
    """Everything that went wrong in one sequence.

    Attributes:
        verdict: on every box.
        tracks: every object, in the order of appearance.
        switches, misses, false_runs: the events, the costliest first. Costs of misses add up to CLEAR's false
            negatives, those of false runs to its false positives; there are as many switches as it counts.
    """

    verdict: VerdictBoxes
    tracks: tuple[ObjectTrack, ...]
    switches: tuple[Switch, ...]
    misses: tuple[MissedRun, ...]
    false_runs: tuple[FalseRun, ...]

    @property
    def name(self) -> str:
        return self.verdict.truth.name

    @property
    def num_frames(self) -> int:
        return len(self.verdict.truth.frames)

    @property
    def missed(self) -> int:
        """Number of boxes: CLR_FN."""
        return int(self.verdict.missed.sum())

    @property
    def false(self) -> int:
        """Number of boxes: CLR_FP."""
        return int(self.verdict.false.sum())

    @property
    def strayed(self) -> int:
        """Number of boxes found under another id than their object's usual one."""
        return sum(track.strayed for track in self.tracks)

    @property
    def lost(self) -> int:
        """Number of boxes missed, false or strayed: what sequences are ranked by."""
        return self.missed + self.false + self.strayed

    def reasons(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Reason → number of switches, of missed boxes and of false ones."""
        return (
            Counter(switch.reason for switch in self.switches),
            Counter(_names(self.verdict.missed_by, MissKind)),
            Counter(_names(self.verdict.false_by, FalseKind)),
        )


def find_errors(verdict: VerdictBoxes) -> SequenceErrors:
    """The events behind the boxes of :func:`memotr.inspection.boxes.judge`."""
    objects, predictions = verdict.objects, verdict.predictions
    lives = _lives(objects)
    tracks = [ObjectTrack(*_key(objects, r), objects.frames[r], verdict.found[r], verdict.switched[r]) for r in lives]
    misses = _runs(MissedRun, objects, verdict.missed_by, MissKind)
    false_runs = _runs(FalseRun, predictions, verdict.false_by, FalseKind)
    return SequenceErrors(
        verdict,
        tuple(sorted(tracks, key=lambda track: (int(track.frames[0]), track.id))),
        tuple(sorted(_switches(verdict, lives), key=costliest)),
        tuple(sorted(misses, key=costliest)),
        tuple(sorted(false_runs, key=costliest)),
    )


def costliest(event: Event) -> tuple[int, int, int]:
    """Sort key: the highest cost first, then in time."""
    return -event.cost, event.first, event.id


def _lives(boxes: VideoBoxes) -> list[Ints]:
    """The rows of every id of every class, in time."""
    if not len(boxes):
        return []
    order = np.lexsort((boxes.frames, boxes.ids, boxes.labels))
    ids, labels = boxes.ids[order], boxes.labels[order]
    return np.split(order, np.flatnonzero((np.diff(ids) != 0) | (np.diff(labels) != 0)) + 1)


def _key(boxes: VideoBoxes, rows: Ints) -> tuple[int, int]:
    return int(boxes.labels[rows[0]]), int(boxes.ids[rows[0]])


def _box(boxes: VideoBoxes, row: int) -> Box:
    left, top, right, bottom = boxes.boxes[row].tolist()
    return left, top, right, bottom


def _runs(kind: type[Run], boxes: VideoBoxes, wrong_by: Ints, reasons: type[StrEnum]) -> list[Run]:
    """An event for all boxes of an id that are wrong one after the other; ``wrong_by`` (N,) is −1 where they are not.

    Frames in which the id has no box do not end a run.
    """
    events = []
    for life in _lives(boxes):
        wrong = wrong_by[life] >= 0
        for rows in np.split(life, np.flatnonzero(np.diff(wrong)) + 1):
            if wrong_by[rows[0]] < 0:
                continue
            label, number = _key(boxes, rows)
            ((reason, _),) = Counter(_names(wrong_by[rows], reasons)).most_common(1)
            ends = _box(boxes, rows[0]), _box(boxes, rows[-1])
            first, last = boxes.frames[rows[[0, -1]]].tolist()
            events.append(
                kind(label=label, id=number, first=first, last=last, boxes=ends, cost=len(rows), reason=reason)
            )
    return events


def _names(positions: Ints, reasons: type[StrEnum]) -> list[str]:
    """What the positions (N,) in an enumeration stand for; −1 for nothing."""
    texts = [str(reason) for reason in reasons]
    return [texts[k] for k in positions.tolist() if k >= 0]


def _switches(verdict: VerdictBoxes, lives: list[Ints]) -> Iterator[Switch]:
    objects, found = verdict.objects, verdict.found
    holders = _Holders(objects, found)
    for life in lives:
        if not verdict.switched[life].any():
            continue
        rows = life[found[life] != NOBODY]  # one at least is before a switch
        starts = [0, *np.flatnonzero(verdict.switched[rows]).tolist(), len(rows)]
        for before, start, after in zip(starts, starts[1:-1], starts[2:], strict=False):
            was, now = rows[start - 1], rows[start]
            label, number = _key(objects, rows)
            first, last = objects.frames[[was, now]].tolist()
            old, new = found[[was, now]].tolist()
            holder = holders.before(label, new, last)
            yield Switch(
                label=label,
                id=number,
                first=first,
                last=last,
                boxes=(_box(objects, was), _box(objects, now)),
                cost=min(start - before, after - start),
                reason=_kind(number, holder, holders.after(label, old, first)),
                old=old,
                new=new,
                before=start - before,
                after=after - start,
                other=None if holder == number else holder,
            )


def _kind(number: int, holder: int | None, heir: int | None) -> SwitchKind:
    """Of an object with a number: ``holder`` had its new id last, ``heir`` got the old one."""
    if holder is None:
        return SwitchKind.NEW
    if holder == number:
        return SwitchKind.BACK
    return SwitchKind.SWAP if heir == holder else SwitchKind.TAKEN


class _Holders:
    """Which objects were found under an id, and when."""

    def __init__(self, objects: VideoBoxes, found: Ints) -> None:
        hit = np.flatnonzero(found != NOBODY)
        rows = hit[np.lexsort((objects.frames[hit], found[hit], objects.labels[hit]))]
        ids, labels = found[rows], objects.labels[rows]
        cuts = np.flatnonzero((np.diff(ids) != 0) | (np.diff(labels) != 0)) + 1
        self._rows = {
            (int(labels[k[0]]), int(ids[k[0]])): rows[k] for k in np.split(np.arange(len(rows)), cuts) if len(k)
        }
        self._objects = objects

    def before(self, label: int, track: int, frame: int) -> int | None:
        """The last object found under the id of a track before a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "left"))
        return int(self._objects.ids[rows[k - 1]]) if k else None

    def after(self, label: int, track: int, frame: int) -> int | None:
        """The first object found under the id of a track after a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "right"))
        return int(self._objects.ids[rows[k]]) if k < len(rows) else None
