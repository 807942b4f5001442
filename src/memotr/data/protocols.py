"""Rules of the benchmarks, which select annotations for training and for scoring.

Rules apply to the raw table of a sequence. Rules for training and for scoring differ only where the published tracker
and the benchmark differ; comments at each rule give the reason.
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
from memotr.data.formats.class_map import ClassMap
from memotr.data.formats.mot_text import VISDRONE_CATEGORIES
from memotr.data.problems import Problems
from memotr.data.sequences import FrameBoxes, Recording
from memotr.data.truth import SequenceTruth, VideoBoxes, beyond_message, positions, second_half
from memotr.documents import brief
from memotr.errors import UserError
from memotr.published import BDD100K_CLASSES
from memotr.vocabulary import Protocol

BDD100K_CATEGORIES = ("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle")
"""Evaluated categories in the order of the official evaluation; the order affects TETA."""

BDD100K_OTHERS = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
"""Category that is annotated but not evaluated → class that may be used for it in training."""

PERSON = ClassMap.from_pairs({1: "person"})
PEDESTRIAN = ClassMap.from_pairs({1: "pedestrian"})
OBJECTS = ("object",)  # class names of data that has none
VISDRONE = ClassMap.from_pairs({1: "pedestrian", 4: "car", 5: "van", 6: "truck", 9: "bus"})  # scored in its challenge
MOT_CLASSES = range(1, 14)  # class numbers of MOT16, MOT17 and MOT20


@dataclass(frozen=True)
class BenchmarkRules:
    """Rules that select the annotations of a sequence for training and for scoring.

    Attributes:
        trained_classes: category → class for training; None: the classes of the data.
        scored_classes: category → class for scoring; None: the classes of the data.
        known: allowed categories; others are errors. None: all are allowed.
        distractors: for scoring, categories of distractors; predictions that match them are removed.
        ignored_categories: for scoring, categories that are treated as ignore regions, as crowds always are.
        without_classes: for scoring, ignore the class column.
        whole_pixels: for training, truncate left, top, width and height to integers.
        visible_only: for training, leave out rows with visibility 0.
        frame_index: frames in results are numbered as in the annotations; otherwise from 1.
    """

    trained_classes: ClassMap | None = None
    scored_classes: ClassMap | None = None
    known: Iterable[int] | None = None
    distractors: tuple[int, ...] = ()
    ignored_categories: frozenset[str | int] = frozenset()
    without_classes: bool = False
    whole_pixels: bool = False
    visible_only: bool = False
    frame_index: bool = False

    def trainable(
        self, recording: Recording, classes: ClassMap, size: tuple[int, int] | None, problems: Problems
    ) -> tuple[FrameBoxes, ...]:
        """Return the objects in each image of a sequence for training: ids, labels and xyxy boxes in pixels.

        Objects are the rows with a nonzero mark and a category with a class, in frames with an image.

        Args:
            recording: sequence with annotations.
            classes: classes of the data set.
            size: (height, width) of the images in pixels; None: unknown, so boxes outside the image are kept.
            problems: collects errors (a category without a class) and notes (boxes without width or height, outside
                the image, or in frames without an image: all left out).
        """
        assert recording.table is not None
        table = recording.table
        counted = table.marked & ~table.regions
        if self.visible_only:
            counted &= ~(table.visibility <= 0)
        self._report_unknown(table, problems)
        labels = labels_of(recording, self.trained_classes or classes, counted, problems)
        rows = np.flatnonzero(counted & (labels >= 0))
        table, labels = table[rows], labels[rows]
        position, has_image = positions(table.frames, recording.numbers)
        if not recording.image_names:
            _report_without_image(recording, table, has_image, problems)
        boxes = _whole_pixels(table.boxes) if self.whole_pixels else table.boxes
        sound = has_image & _has_area(table, boxes, has_image, size, problems)
        order = np.flatnonzero(sound)[np.argsort(position[sound], kind="stable")]
        bounds = np.searchsorted(position[order], np.arange(len(recording.images) + 1)).tolist()
        ids, labels, floats = table.ids[order], labels[order], boxes[order].astype(np.float32)
        empty = FrameBoxes.empty()
        return tuple(FrameBoxes(ids[a:b], labels[a:b], floats[a:b]) if b > a else empty for a, b in pairwise(bounds))

    def scored(self, recording: Recording, classes: ClassMap, problems: Problems, *, half: bool) -> SequenceTruth:
        """Return the ground truth of a sequence for scoring, with xyxy boxes in pixels as annotated.

        Args:
            recording: sequence with annotations.
            classes: classes of the data.
            problems: collects errors: categories without a class, frames beyond the sequence.
            half: score only the second half.

        Raises:
            UserError: the number of frames is unknown, or there is no second half.
        """
        assert recording.table is not None
        table, length = recording.table, len(recording.frames)
        _check_length_known(recording, half)
        frames = _scored_frames(recording, half)
        _, inside = positions(table.frames, recording.frames)
        first = recording.frames[0] if length else 1
        table.report(~inside, beyond_message(table.frames, length, first), problems)
        self._report_unknown(table, problems)
        regions = table.regions | self._in_ignored_category(recording)
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
        numbers = frames if self.frame_index else _numbers(frames, recording, problems)
        return SequenceTruth(
            recording.name, numbers, objects, distractors, around, length, folder, recording.image_names
        )

    def _report_unknown(self, table: AnnotationTable, problems: Problems) -> None:
        if self.known is not None:
            numbers = list(self.known)
            unknown = ~np.isin(table.categories, [*numbers, NO_CATEGORY])
            message = f"class {{category}} is not a class of the benchmark ({numbers[0]} to {numbers[-1]})"
            remedy = "for other data, name the classes in dataset.yaml to train, or pass --format mot to score"
            table.report(unknown, f"{message}; {remedy}", problems)

    def _in_ignored_category(self, recording: Recording) -> Bools:
        assert recording.table is not None
        numbers = [number for number, name in recording.categories.items() if name in self.ignored_categories]
        numbers += [number for number in self.ignored_categories if isinstance(number, int)]
        ignored: Bools = np.isin(recording.table.categories, numbers)
        return ignored


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
    # The published tracker is trained on MOT17 boxes in whole pixels; TrackEval scores the boxes as written.
    "mot17": BenchmarkRules(PERSON, PEDESTRIAN, MOT_CLASSES, _MOT16.distractors, whole_pixels=True),
    "mot20": BenchmarkRules(PERSON, PEDESTRIAN, MOT_CLASSES, (2, 6, 7, 8, 12)),  # 6: non-motorised vehicle
    "motsynth": BenchmarkRules(trained_classes=PERSON, visible_only=True),  # as published
    "visdrone": BenchmarkRules(VISDRONE, VISDRONE, known=VISDRONE_CATEGORIES),
    "bdd100k": BenchmarkRules(
        # As published: the three categories that the benchmark does not score are not used for training.
        trained_classes=ClassMap.from_pairs({name: name for name in BDD100K_CLASSES}, dropped=BDD100K_OTHERS),
        scored_classes=ClassMap.from_pairs({name: name for name in BDD100K_CATEGORIES}, dropped=BDD100K_OTHERS),
        ignored_categories=frozenset(BDD100K_OTHERS),
        frame_index=True,
    ),
}
"""Name of a protocol → its rules. With ``mot``, the default, every row with a nonzero mark and a class counts."""

BDD100K_WITH_OTHERS = ClassMap.from_pairs({name: name for name in BDD100K_CLASSES} | BDD100K_OTHERS, dropped=())


def rules_name(recording: str, format_rules: str | None, protocol: Protocol = "auto") -> str:
    """Return the name of the rules for a sequence.

    With ``auto`` and a format without fixed rules, the rules follow from the name of the sequence (MOT16-…, MOT17-…,
    MOT20-…; ``mot`` for other names).

    Args:
        recording: name of the sequence.
        format_rules: name of the fixed rules of its format, if any.
        protocol: name of the requested rules, or ``auto``.
    """
    if protocol != "auto":
        return protocol
    if format_rules is not None:
        return format_rules
    known = re.match(r"(MOT16|MOT17|MOT20)-\d\d", recording)
    return known[1].lower() if known else "mot"


def labels_of(recording: Recording, classes: ClassMap, counted: Bools, problems: Problems) -> Ints:
    """Return the label (N,) of each row, −1 for rows without a class; report categories that need a class.

    If there is only one class, rows without a category have this class.

    Args:
        recording: sequence with annotations.
        classes: labels of categories, by name if the data names its categories, else by number.
        counted: (N,) mask of the rows that need a class.
        problems: collects the errors.
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
            error = f"unknown category {brief(category)}" if category != number else f"class {number} has no name"
            error = "the class (column 8) is missing" if number == NO_CATEGORY else error
            message = _literal(f"{error}; the classes are {', '.join(classes.names)}")
            table.report(here & counted, message, problems)
    return labels


def _literal(text: str) -> str:
    """Escape the braces of a text that is passed to ``str.format``."""
    return text.replace("{", "{{").replace("}", "}}")


def _numbers(frames: Many[int], recording: Recording, problems: Problems) -> range:
    """Return the numbers of frames in results, from 1; add a note if the annotations number frames otherwise."""
    every = recording.frames
    if len(every) and (every[0] > 1 or every[-1] - every[0] >= len(every)):
        message = f"{recording.name}: its {len(every):,} frames are numbered {every[0]} to {every[-1]} in this file"
        problems.note(recording.source, f"{message}, and 1 to {len(every)} in results, in the same order")
    first = every.index(frames[0]) + 1 if len(frames) else 1
    return range(first, first + len(frames))


def _scored_frames(recording: Recording, half: bool) -> Many[int]:
    """Return the numbers of the scored frames, as in the annotations."""
    every = recording.frames
    if not half:
        return every
    chosen = second_half(len(every))
    if not len(chosen):
        raise UserError(f"{recording.source}: a sequence of {len(every)} frames has no second half")
    return every[chosen[0] - 1 :]


def _check_length_known(recording: Recording, half: bool) -> None:
    """Raise UserError if the number of frames cannot be determined reliably."""
    info = recording.info
    file: Path = (recording.folder or recording.source) / "seqinfo.ini"
    for key in ("seqLength", "imDir"):
        if key in info.unusable:
            raise UserError(f"{file}: {info.unusable[key]}; correct it, or remove it to count the images")
    if not recording.length_known and (half or not len(recording.frames)):
        unknown = "--half needs the number of frames" if half else "has no rows, so the number of frames is unknown"
        raise UserError(f"{recording.source}: {unknown}; add a seqinfo.ini with seqLength in the same folder")


def _report_without_image(recording: Recording, table: AnnotationTable, has_image: Bools, problems: Problems) -> None:
    """Report boxes in frames without an image; an error if no frame has an image."""
    frames = table.frames[~has_image]
    if not len(frames):
        return
    first, last = int(frames.min()), int(frames.max())
    if not has_image.any():
        images = f"{recording.images[0].name} to {recording.images[-1].name}"
        message = f"has frames {first} to {last}, none of which has an image ({images}): number both in the same way"
        problems.error(recording.source, message)
        return
    span = f"{first} to {last}" if first < last else f"{first}"
    message = f"{len(frames):,} boxes are in frames without an image (frames {span}): left out"
    problems.note(recording.source, message)


def _whole_pixels(boxes: Floats) -> Floats:
    """Return xyxy boxes (N, 4) whose left, top, width and height are truncated to integers."""
    size = np.trunc(np.round(boxes[:, 2:] - boxes[:, :2], 6))  # x2 was x1 + width: undo the rounding of that sum
    corner = np.trunc(boxes[:, :2])
    return np.concatenate([corner, corner + size], axis=1)


def _has_area(
    table: AnnotationTable, boxes: Floats, has_image: Bools, size: tuple[int, int] | None, problems: Problems
) -> Bools:
    """Return a mask (N,) of the boxes with a positive area that overlap the image; report the others."""
    x1, y1, x2, y2 = boxes.T
    positive: Bools = (x2 > x1) & (y2 > y1)
    table.report(has_image & ~positive, "a box has no width or no height: left out", problems, note=True)
    if size is None:
        return positive
    inside: Bools = (x2 > 0) & (y2 > 0) & (x1 < size[1]) & (y1 < size[0])
    outside = f"a box is entirely outside the image ({size[1]}×{size[0]}): left out"
    table.report(has_image & positive & ~inside, outside, problems, note=True)
    return positive & inside
