"""Error events: id switches, runs of misses and false tracks, each with its cost.

Costs are in boxes, to compare kinds of events. A missed or false box costs one. A switch splits the boxes of an object
in two stretches, and costs the shorter one.
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
from memotr.inspection.box_errors import FalseKind, MatchedBoxes, MissKind
from memotr.metrics.clear import UNMATCHED

Box = tuple[float, float, float, float]


class SwitchKind(StrEnum):
    """Origin of the new id."""

    SWAP = "two objects swapped ids"
    TAKEN = "took over another object's id"
    BACK = "back to an id it had before"
    NEW = "new id"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Error event.

    Attributes:
        label: class of the object or the false track.
        id: id of the object or the false track.
        first, last: first and last frame, counted from 0 in the scored frames.
        boxes: boxes in these two frames, xyxy in pixels.
        cost: number of boxes lost.
        reason: possible cause.
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
    """Change of an object's id between ``first``, when it was last found under the old id, and ``last``.

    Attributes:
        old, new: ids before and after.
        before, after: number of boxes found in a row under the old and under the new id.
        other: object that had the new id last; None if it is this object, or no object had it.
    """

    old: int
    new: int
    before: int
    after: int
    other: int | None

    @property
    def gap(self) -> int:
        """Number of frames between ``first`` and ``last``."""
        return self.last - self.first - 1


@dataclass(frozen=True, kw_only=True)
class MissedRun(Event):
    """Run of misses of an object from ``first`` to ``last``."""


@dataclass(frozen=True, kw_only=True)
class FalseRun(Event):
    """Run of false boxes of a predicted track from ``first`` to ``last``."""


Run = TypeVar("Run", MissedRun, FalseRun)


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """Ground-truth track of one object.

    Attributes:
        label, id: class and id of the object.
        frames: (K,) frames in which it is annotated, counted from 0 in the scored frames.
        found: (K,) id of the prediction matched to it; −1 where it is missed.
        switched: (K,) mask of frames in which that id is another one than when it was last found.
    """

    label: int
    id: int
    frames: Ints
    found: Ints
    switched: Bools

    @property
    def missed(self) -> int:
        return int((self.found == UNMATCHED).sum())

    @property
    def wrong_id(self) -> int:
        """Number of boxes found under another id than the object's most frequent one."""
        counts = np.unique(self.found[self.found != UNMATCHED], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0))


@dataclass(frozen=True, eq=False)
class SequenceErrors:
    """Errors of one sequence.

    Attributes:
        matched: all scored boxes and their matches.
        tracks: all objects in order of appearance.
        switches, misses, false_runs: events, the costliest first. Costs of misses add up to CLEAR's false negatives,
            costs of false runs to its false positives; the number of switches is CLEAR's.
    """

    matched: MatchedBoxes
    tracks: tuple[ObjectTrack, ...]
    switches: tuple[Switch, ...]
    misses: tuple[MissedRun, ...]
    false_runs: tuple[FalseRun, ...]

    @property
    def name(self) -> str:
        return self.matched.truth.name

    @property
    def num_frames(self) -> int:
        return len(self.matched.truth.frames)

    @property
    def missed(self) -> int:
        """Number of missed boxes, CLR_FN."""
        return int(self.matched.missed.sum())

    @property
    def false(self) -> int:
        """Number of false boxes, CLR_FP."""
        return int(self.matched.false.sum())

    @property
    def wrong_id(self) -> int:
        """Number of boxes found under another id than their object's most frequent one."""
        return sum(track.wrong_id for track in self.tracks)

    @property
    def lost(self) -> int:
        """Number of boxes missed, false or under a wrong id, by which sequences are ranked."""
        return self.missed + self.false + self.wrong_id

    def reasons(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Count switches, missed boxes and false boxes by reason."""
        return (
            Counter(switch.reason for switch in self.switches),
            Counter(_names(self.matched.missed_by, MissKind)),
            Counter(_names(self.matched.false_by, FalseKind)),
        )


def find_errors(matched: MatchedBoxes) -> SequenceErrors:
    """Return the events behind the errors of :func:`memotr.inspection.box_errors.match_boxes`."""
    objects, predictions = matched.objects, matched.predictions
    by_id = _rows_by_id(objects)
    tracks = [ObjectTrack(*_key(objects, r), objects.frames[r], matched.found[r], matched.switched[r]) for r in by_id]
    misses = _runs(MissedRun, objects, matched.missed_by, MissKind)
    false_runs = _runs(FalseRun, predictions, matched.false_by, FalseKind)
    return SequenceErrors(
        matched,
        tuple(sorted(tracks, key=lambda track: (int(track.frames[0]), track.id))),
        tuple(sorted(_switches(matched, by_id), key=costliest)),
        tuple(sorted(misses, key=costliest)),
        tuple(sorted(false_runs, key=costliest)),
    )


def costliest(event: Event) -> tuple[int, int, int]:
    """Return the sort key of events: the highest cost first, then by time."""
    return -event.cost, event.first, event.id


def _rows_by_id(boxes: VideoBoxes) -> list[Ints]:
    """Return the rows of each id of each class, in order of time."""
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
    """Return an event for each run of wrong boxes of an id; ``wrong_by`` (N,) is −1 for right boxes.

    Frames in which the id has no box do not end a run.
    """
    events = []
    for track in _rows_by_id(boxes):
        wrong = wrong_by[track] >= 0
        for rows in np.split(track, np.flatnonzero(np.diff(wrong)) + 1):
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
    """Return the values at positions (N,) of an enumeration, without those of −1."""
    texts = [str(reason) for reason in reasons]
    return [texts[k] for k in positions.tolist() if k >= 0]


def _switches(matched: MatchedBoxes, by_id: list[Ints]) -> Iterator[Switch]:
    objects, found = matched.objects, matched.found
    holders = _Holders(objects, found)
    for track in by_id:
        if not matched.switched[track].any():
            continue
        rows = track[found[track] != UNMATCHED]  # has a row before each switch
        starts = [0, *np.flatnonzero(matched.switched[rows]).tolist(), len(rows)]
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


def _kind(number: int, holder: int | None, successor: int | None) -> SwitchKind:
    """Return the kind of a switch of an object: ``holder`` had its new id last, ``successor`` got its old id."""
    if holder is None:
        return SwitchKind.NEW
    if holder == number:
        return SwitchKind.BACK
    return SwitchKind.SWAP if successor == holder else SwitchKind.TAKEN


class _Holders:
    """Index of the objects found under each id, in order of time."""

    def __init__(self, objects: VideoBoxes, found: Ints) -> None:
        hit = np.flatnonzero(found != UNMATCHED)
        rows = hit[np.lexsort((objects.frames[hit], found[hit], objects.labels[hit]))]
        ids, labels = found[rows], objects.labels[rows]
        cuts = np.flatnonzero((np.diff(ids) != 0) | (np.diff(labels) != 0)) + 1
        self._rows = {
            (int(labels[k[0]]), int(ids[k[0]])): rows[k] for k in np.split(np.arange(len(rows)), cuts) if len(k)
        }
        self._objects = objects

    def before(self, label: int, track: int, frame: int) -> int | None:
        """Return the last object found under the id of a track before a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "left"))
        return int(self._objects.ids[rows[k - 1]]) if k else None

    def after(self, label: int, track: int, frame: int) -> int | None:
        """Return the first object found under the id of a track after a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "right"))
        return int(self._objects.ids[rows[k]]) if k < len(rows) else None
