"""Error events: id switches, runs of misses and false tracks, each with its cost.

Costs are numbers of boxes, so that events of different kinds can be compared. A missed or false box costs one. A switch
splits the boxes of an object into two stretches, and costs the number of boxes of the shorter one.
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
    """Origin of the new id after a switch."""

    SWAP = "two objects swapped ids"
    TAKEN = "took over another object's id"
    BACK = "returned to an earlier id"
    NEW = "new id"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Error event.

    Attributes:
        label: class of the object or the false track.
        id: id of the object or the false track.
        first: first frame, counted from 0 in the scored frames.
        last: last frame.
        boxes: boxes in these two frames, xyxy in pixels.
        cost: number of lost boxes.
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
    """Id switch of an object: ``first`` is its last match with the old id, ``last`` its first with the new one.

    Attributes:
        old: id before the switch.
        new: id after the switch.
        before: number of consecutive matches with the old id.
        after: number of consecutive matches with the new id.
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
        label: class of the object.
        id: id of the object.
        frames: (K,) frames in which it is annotated, counted from 0 in the scored frames.
        matched_ids: (K,) id of the prediction matched to it; −1: missed.
        switched: (K,) mask of frames in which it is matched to another id than at its last match.
    """

    label: int
    id: int
    frames: Ints
    matched_ids: Ints
    switched: Bools

    @property
    def missed(self) -> int:
        """Number of missed boxes."""
        return int((self.matched_ids == UNMATCHED).sum())

    @property
    def wrong_id(self) -> int:
        """Number of boxes matched to another id than the object's most frequent one."""
        counts = np.unique(self.matched_ids[self.matched_ids != UNMATCHED], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0))


@dataclass(frozen=True, eq=False)
class SequenceErrors:
    """Errors of one sequence.

    Attributes:
        matched: all scored boxes and their matches.
        tracks: all objects in order of appearance.
        switches: id switches, the costliest first. Their number is CLEAR's IDSW.
        misses: runs of misses, the costliest first. The sum of their costs is CLEAR's number of false negatives.
        false_runs: runs of false boxes, the costliest first. The sum of their costs is CLEAR's number of false
            positives.
    """

    matched: MatchedBoxes
    tracks: tuple[ObjectTrack, ...]
    switches: tuple[Switch, ...]
    misses: tuple[MissedRun, ...]
    false_runs: tuple[FalseRun, ...]

    @property
    def name(self) -> str:
        """Name of the sequence."""
        return self.matched.truth.name

    @property
    def num_frames(self) -> int:
        """Number of scored frames."""
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
        """Number of boxes matched to another id than their object's most frequent one."""
        return sum(track.wrong_id for track in self.tracks)

    @property
    def lost(self) -> int:
        """Number of boxes that are missed, false or under a wrong id. Sequences are ranked by it."""
        return self.missed + self.false + self.wrong_id

    def reasons(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Return the numbers of switches, missed boxes and false boxes by possible cause."""
        return (
            Counter(switch.reason for switch in self.switches),
            Counter(_names(self.matched.missed_by, MissKind)),
            Counter(_names(self.matched.false_by, FalseKind)),
        )


def find_errors(matched: MatchedBoxes) -> SequenceErrors:
    """Return the events behind the errors of :func:`memotr.inspection.box_errors.match_boxes`."""
    objects, predictions = matched.objects, matched.predictions
    by_id = _rows_by_id(objects)
    tracks = [
        ObjectTrack(*_key(objects, r), objects.frames[r], matched.matched_ids[r], matched.switched[r]) for r in by_id
    ]
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
    """Return a sort key that puts the highest cost first, then the earliest event."""
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
    """Return an event for each run of wrong boxes of an id. Frames without a box of the id do not end a run.

    Args:
        kind: class of the events.
        boxes: N boxes.
        wrong_by: (N,) index in ``reasons`` of each wrong box, −1 for the others.
        reasons: possible causes.
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
    """Return the values of an enumeration at indices (N,), without indices of −1."""
    texts = [str(reason) for reason in reasons]
    return [texts[k] for k in positions.tolist() if k >= 0]


def _switches(matched: MatchedBoxes, by_id: list[Ints]) -> Iterator[Switch]:
    """Yield the id switches of all objects; ``by_id`` holds the rows of each object."""
    objects, ids = matched.objects, matched.matched_ids
    holders = _Holders(objects, ids)
    for track in by_id:
        if not matched.switched[track].any():
            continue
        rows = track[ids[track] != UNMATCHED]  # a switch is never in the first of them
        starts = [0, *np.flatnonzero(matched.switched[rows]).tolist(), len(rows)]
        for before, start, after in zip(starts, starts[1:-1], starts[2:], strict=False):
            old_row, new_row = rows[start - 1], rows[start]
            label, number = _key(objects, rows)
            first, last = objects.frames[[old_row, new_row]].tolist()
            old, new = ids[[old_row, new_row]].tolist()
            holder = holders.before(label, new, last)
            yield Switch(
                label=label,
                id=number,
                first=first,
                last=last,
                boxes=(_box(objects, old_row), _box(objects, new_row)),
                cost=min(start - before, after - start),
                reason=_kind(number, holder, holders.after(label, old, first)),
                old=old,
                new=new,
                before=start - before,
                after=after - start,
                other=None if holder == number else holder,
            )


def _kind(number: int, holder: int | None, successor: int | None) -> SwitchKind:
    """Return the kind of an object's switch.

    Args:
        number: id of the object.
        holder: object that had the new id last, if any.
        successor: object that got the old id next, if any.
    """
    if holder is None:
        return SwitchKind.NEW
    if holder == number:
        return SwitchKind.BACK
    return SwitchKind.SWAP if successor == holder else SwitchKind.TAKEN


class _Holders:
    """Index of the objects matched to each id, in order of time."""

    def __init__(self, objects: VideoBoxes, matched_ids: Ints) -> None:
        hit = np.flatnonzero(matched_ids != UNMATCHED)
        rows = hit[np.lexsort((objects.frames[hit], matched_ids[hit], objects.labels[hit]))]
        ids, labels = matched_ids[rows], objects.labels[rows]
        cuts = np.flatnonzero((np.diff(ids) != 0) | (np.diff(labels) != 0)) + 1
        self._rows = {
            (int(labels[k[0]]), int(ids[k[0]])): rows[k] for k in np.split(np.arange(len(rows)), cuts) if len(k)
        }
        self._objects = objects

    def before(self, label: int, track: int, frame: int) -> int | None:
        """Return the last object matched to a track before a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "left"))
        return int(self._objects.ids[rows[k - 1]]) if k else None

    def after(self, label: int, track: int, frame: int) -> int | None:
        """Return the first object matched to a track after a frame."""
        rows = self._rows[label, track]
        k = int(np.searchsorted(self._objects.frames[rows], frame, "right"))
        return int(self._objects.ids[rows[k]]) if k < len(rows) else None
