"""What counts: the rules by which benchmarks, and own data, train and score on annotations.

Every rule is a function of the raw table of a sequence. Where training and scoring differ, it is because the benchmark
or the published tracker does, as noted beside the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from memotr.data.annotations import NO_CATEGORY, AnnotationTable, Bools, Floats, Ints
from memotr.data.formats.classes import ClassMap
from memotr.data.problems import Problems
from memotr.data.sequences import FrameBoxes, Recording
from memotr.data.truth import SequenceTruth, VideoBoxes, positions, second_half
from memotr.documents import brief
from memotr.errors import UserError
from memotr.published import BDD100K_CLASSES
from memotr.vocabulary import Protocol

BDD100K_CATEGORIES = ("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle")
"""The evaluated categories, in the order in which the official evaluation goes through them (TETA depends on it)."""

BDD100K_OTHERS = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
"""Categories that are annotated but not evaluated → the class that training may count them as."""

PERSON = ClassMap.of({1: "person"})
PEDESTRIAN = ClassMap.of({1: "pedestrian"})
OBJECTS = ("object",)  # the one class of data that names none
VISDRONE = ClassMap.of({1: "pedestrian", 4: "car", 5: "van", 6: "truck", 9: "bus"})  # which its challenge scores
MOT_CLASSES = range(1, 14)  # numbers in the class column of MOT16, MOT17 and MOT20


@dataclass(frozen=True)
class BenchmarkRules:
    """What of a sequence's annotations is trained on, and what is scored.

    Attributes:
        trained_classes: category → class that is learnt; None: the classes of the data.
        scored_classes: category → class that is scored; None: the classes of the data.
        known: categories that a file may have, where others are errors.
        distractors: scoring: categories that take the predictions that match them out of the game.
        set_aside: scoring: categories that are ignore regions, as crowds are everywhere.
        without_classes: scoring: the class column is not looked at.
        whole_pixels: training: left, top, width and height lose what is behind the point.
        visible_only: training: rows of visibility 0 do not count.
        frame_index: results count frames as the annotations do, and not from 1.
    """

    trained_classes: ClassMap | None = None
    scored_classes: ClassMap | None = None
    known: Iterable[int] | None = None
    distractors: tuple[int, ...] = ()
    set_aside: frozenset[str | int] = frozenset()
    without_classes: bool = False
    whole_pixels: bool = False
    visible_only: bool = False
    frame_index: bool = False

    def trainable(
        self, recording: Recording, classes: ClassMap, size: tuple[int, int] | None, problems: Problems
    ) -> tuple[FrameBoxes, ...]:
        """Return the objects to learn from, for each of the images that are there.

        These are rows with a mark other than 0 whose category has a class, in frames that have an image.

        Args:
            recording: with annotations.
            classes: of the data set.
            size: (height, width) of the images in pixels; None: boxes outside are not looked for.
            problems: takes errors (a category without a class) and notes (boxes without width or height, outside of
                the image, or of frames without an image: all left out).
        """
        assert recording.table is not None
        table = recording.table
        counted = table.marked & ~table.regions
        if self.visible_only:
            counted &= ~(table.visibility <= 0)
        self._refuse_unknown(table, problems)
        labels = labels_of(recording, self.trained_classes or classes, counted, problems)
        rows = np.flatnonzero(counted & (labels >= 0))
        table, labels = table[rows], labels[rows]
        position, there = positions(table.frames, recording.numbers)
        if not recording.image_names:
            _report_lost(recording, table, there, problems)
        boxes = _whole_pixels(table.boxes) if self.whole_pixels else table.boxes
        sound = there & _sound(table, boxes, there, size, problems)
        order = np.flatnonzero(sound)[np.argsort(position[sound], kind="stable")]
        bounds = np.searchsorted(position[order], np.arange(len(recording.images) + 1)).tolist()
        ids, labels, floats = table.ids[order], labels[order], boxes[order].astype(np.float32)
        empty = FrameBoxes.empty()
        return tuple(FrameBoxes(ids[a:b], labels[a:b], floats[a:b]) if b > a else empty for a, b in pairwise(bounds))

    def scored(self, recording: Recording, classes: ClassMap, problems: Problems, *, half: bool) -> SequenceTruth:
        """Return what predictions are scored against.

        Args:
            recording: with annotations.
            classes: of the data.
            problems: takes categories without a class and frames beyond the sequence.
            half: only the second half.

        Raises:
            UserError: it is not known how many frames the sequence has, or they have no second half.
        """
        assert recording.table is not None
        table, length = recording.table, len(recording.frames)
        _refuse_unsure(recording, half)
        frames = _scored_frames(recording, half)
        _, inside = positions(table.frames, recording.frames)
        from_0 = ", counted from 0" if length and recording.frames[0] == 0 else ""
        table.report(~inside, f"frame {{frame}} is beyond the sequence, which has {length}{from_0}", problems)
        self._refuse_unknown(table, problems)
        regions = table.regions | self._set_aside(recording)
        counted = table.marked & ~regions
        if self.without_classes:
            labels = np.zeros(len(table), np.int64)
        else:
            labels = labels_of(recording, self.scored_classes or classes, counted, problems)
        ignore = ~counted | (labels < 0)
        objects, order = VideoBoxes.by_frame(table, frames, np.maximum(labels, 0), ignore, ~regions)
        around, _ = VideoBoxes.by_frame(table, frames, labels, regions, regions)
        distractors = np.isin(table.categories, self.distractors)[order]
        folder = recording.folder or recording.image_folder
        numbers = frames if self.frame_index else _numbers(frames, recording)
        return SequenceTruth(
            recording.name, numbers, objects, distractors, around, length, folder, recording.image_names
        )

    def _refuse_unknown(self, table: AnnotationTable, problems: Problems) -> None:
        if self.known is not None:
            numbers = list(self.known)
            strange = ~np.isin(table.categories, [*numbers, NO_CATEGORY])
            message = f"class {{category}} is none of the benchmark's ({numbers[0]} to {numbers[-1]})"
            remedy = "for other data, name the classes in dataset.yaml to train, and say --format mot to score"
            table.report(strange, f"{message}; {remedy}", problems)

    def _set_aside(self, recording: Recording) -> Bools:
        assert recording.table is not None
        numbers = [number for number, name in recording.categories.items() if name in self.set_aside]
        numbers += [number for number in self.set_aside if isinstance(number, int)]
        aside: Bools = np.isin(recording.table.categories, numbers)
        return aside


_MOT16 = BenchmarkRules(
    trained_classes=PERSON,
    scored_classes=PEDESTRIAN,
    known=MOT_CLASSES,
    distractors=(2, 7, 8, 12),  # person on vehicle, static person, distractor, reflection
)
RULES: Mapping[str, BenchmarkRules] = {
    "mot": BenchmarkRules(),
    "mot15": BenchmarkRules(trained_classes=PERSON, scored_classes=PEDESTRIAN, without_classes=True),
    "mot16": _MOT16,
    # The published tracker trains on MOT17 in whole pixels; TrackEval scores what is written.
    "mot17": BenchmarkRules(PERSON, PEDESTRIAN, MOT_CLASSES, _MOT16.distractors, whole_pixels=True),
    "mot20": BenchmarkRules(PERSON, PEDESTRIAN, MOT_CLASSES, (2, 6, 7, 8, 12)),  # 6: non-motorised vehicle
    "motsynth": BenchmarkRules(trained_classes=PERSON, visible_only=True),  # as published
    "visdrone": BenchmarkRules(VISDRONE, VISDRONE, known=range(12)),
    "bdd100k": BenchmarkRules(
        # As published: the three other categories, which the benchmark does not score, are no training examples.
        trained_classes=ClassMap.of({name: name for name in BDD100K_CLASSES}, left_out=BDD100K_OTHERS),
        scored_classes=ClassMap.of({name: name for name in BDD100K_CATEGORIES}, left_out=BDD100K_OTHERS),
        set_aside=frozenset(BDD100K_OTHERS),
        frame_index=True,
    ),
}
"""Name of a protocol → its rules; ``mot`` are those of own data: every marked row of a class counts."""

BDD100K_WITH_OTHERS = ClassMap.of({name: name for name in BDD100K_CLASSES} | BDD100K_OTHERS, left_out=())


def rules_name(recording: str, format_rules: str | None, protocol: Protocol = "auto") -> str:
    """Return the name of the rules for a sequence.

    Args:
        recording: name of the sequence.
        format_rules: of its format, where they are always the same.
        protocol: what was asked for; ``auto``: as the name of the sequence says (MOT16-…, MOT17-…, MOT20-…), else
            those of own data.
    """
    if protocol != "auto":
        return protocol
    if format_rules is not None:
        return format_rules
    known = re.match(r"(MOT16|MOT17|MOT20)-\d\d", recording)
    return known[1].lower() if known else "mot"


def labels_of(recording: Recording, classes: ClassMap, counted: Bools, problems: Problems) -> Ints:
    """(N,) Return the label of each row, −1 where its category has none; an error where that is not known to be right.

    Rows without a category are of the class, where there is only one.

    Args:
        recording: with annotations.
        classes: category, by its name where the data names it, else by its number → label.
        counted: (N,) rows of which a class is needed.
        problems: takes the errors.
    """
    assert recording.table is not None
    table = recording.table
    labels = np.full(len(table), -1)
    for number in np.unique(table.categories).tolist():
        here = table.categories == number
        category = recording.categories.get(number, number)
        if category in classes.labels:
            labels[here] = classes.labels[category]
        elif number == NO_CATEGORY and len(classes.names) == 1:
            labels[here] = 0
        elif not classes.drops(category):
            what = f"unknown category {brief(category)}" if category != number else f"class {number} has no name"
            what = "no class (column 8), which is needed" if number == NO_CATEGORY else what
            message = _literal(f"{what}; the classes are {', '.join(classes.names)}")
            table.report(here & counted, message, problems)
    return labels


def _literal(text: str) -> str:
    """Return a text that formatting leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _numbers(frames: Many[int], recording: Recording) -> range:
    """Return the frames' numbers in results: from 1, in the order of the sequence."""
    first = recording.frames.index(frames[0]) + 1 if len(frames) else 1
    return range(first, first + len(frames))


def _scored_frames(recording: Recording, half: bool) -> Many[int]:
    """Return the numbers of the frames that are scored, as the annotations count them."""
    every = recording.frames
    if not half:
        return every
    chosen = second_half(len(every))
    if not len(chosen):
        raise UserError(f"{recording.source}: {len(every)} frames of {recording.name} have no second half")
    return every[chosen[0] - 1 :]


def _refuse_unsure(recording: Recording, half: bool) -> None:
    """Raise UserError where the number of frames is not known for sure."""
    info = recording.info
    file: Path = (recording.folder or recording.source) / "seqinfo.ini"
    for key in ("seqLength", "imDir"):
        if key in info.unusable:
            raise UserError(f"{file}: {info.unusable[key]}; correct it, or remove it to count the images")
    if half and not recording.length_known:
        raise UserError(
            f"{recording.source}: --half needs the number of frames; put a seqinfo.ini with seqLength beside it"
        )


def _report_lost(recording: Recording, table: AnnotationTable, there: Bools, problems: Problems) -> None:
    """Report boxes of frames without an image."""
    lost = table.frames[~there]
    if not len(lost):
        return
    first, last = int(lost.min()), int(lost.max())
    if not there.any():
        images = f"{recording.images[0].name} to {recording.images[-1].name}" if recording.images else "there is none"
        message = f"has frames {first} to {last}, none of which is an image ({images})"
        problems.error(recording.source, message)
        return
    span = f"{first} to {last}" if first < last else f"{first}"
    message = f"{len(lost):,} boxes are of frames without an image (frames {span}): left out"
    problems.note(recording.source, message)


def _whole_pixels(boxes: Floats) -> Floats:
    """Return xyxy boxes (N, 4) whose left, top, width and height are cut to whole numbers."""
    size = np.trunc(np.round(boxes[:, 2:] - boxes[:, :2], 6))  # x2 was x1 + width: without what that sum rounded
    corner = np.trunc(boxes[:, :2])
    return np.concatenate([corner, corner + size], axis=1)


def _sound(
    table: AnnotationTable, boxes: Floats, there: Bools, size: tuple[int, int] | None, problems: Problems
) -> Bools:
    """(N,) Return which boxes have an area, some of it in the image; the others are notes."""
    x1, y1, x2, y2 = boxes.T
    positive: Bools = (x2 > x1) & (y2 > y1)
    table.report(there & ~positive, "a box has no width or no height: left out", problems, note=True)
    if size is None:
        return positive
    inside: Bools = (x2 > 0) & (y2 > 0) & (x1 < size[1]) & (y1 < size[0])
    outside = f"a box is wholly outside of the image ({size[1]}×{size[0]}): left out"
    table.report(there & positive & ~inside, outside, problems, note=True)
    return positive & inside
