"""Data sets: choice of a split, and reading of its sequences.

How a data set is read follows from its layout and its ``dataset.yaml``, never from its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from memotr.config import DataFormat
from memotr.data.formats import FORMATS
from memotr.data.formats.class_map import ClassMap, numbered_classes
from memotr.data.formats.dataset_format import DATASET_FILE, WHOLE, AnnotationFiles, DetectorChoice, SplitRequest
from memotr.data.formats.frame_files import size_of
from memotr.data.layouts import Layout, alike, recognise, recognise_truth, text_of_scripts
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_WITH_OTHERS, PERSON, RULES, BenchmarkRules, rules_name
from memotr.data.sequences import Recording, Sequence, first_half_length
from memotr.documents import brief
from memotr.errors import UserError
from memotr.vocabulary import Protocol

Classes = tuple[str, ...] | Mapping[int | str, str]

USUAL_SPLITS = ("train", "val", "test")
HALVES = ("train_half", "val_half")


@dataclass(frozen=True)
class DatasetSpec:
    """Specification of a split of a data set.

    Attributes:
        root: the data set's folder, one of its splits, a single sequence, or a COCO-video JSON.
        split: name of a split; ``train_half``/``val_half`` are the first/second half of every training sequence. None:
            ``train``, or everything in an undivided folder.
        format: name of a format; ``auto``: recognised by the files.
        classes: class names in the order of the class numbers 1, 2, … (MOT) or names of categories (other formats); or
            category → class name, which leaves all other categories out. None: the classes of the data.
        seqmap: text file that names the sequences to read, one per line; None: ``{split}_seqmap.txt`` if it exists.
        detector: which of MOT17's three copies of a video: DPM, FRCNN, SDP or ``all``; None: one, preferably SDP.
        only: patterns of sequence names (``MOT17-*-SDP``), applied before one copy of each video is chosen; empty:
            all.
        other_categories: BDD100K: "other person", "other vehicle" and "trailer" count as pedestrian, car and truck.
    """

    root: Path
    split: str | None = "train"
    format: DataFormat = "auto"
    classes: Classes | None = None
    seqmap: Path | None = None
    detector: DetectorChoice | None = None
    other_categories: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Split of a data set that has been found but not read.

    Attributes:
        layout: of the data set.
        request: request to the format's reader.
        half: ``train_half`` or ``val_half`` for half of every sequence; None: whole sequences.
        classes: named by the user or dataset.yaml; None: the classes of the data.
        other_categories: see :class:`DatasetSpec`.
    """

    layout: Layout
    request: SplitRequest
    half: str | None = None
    classes: Classes | None = None
    other_categories: bool = False

    def recordings(self, problems: Problems) -> Iterator[Recording]:
        """Yield the whole sequences of the split; ``problems`` collects the problems of their files."""
        return self.layout.reader.read(self.request, problems)

    def rules_of(self, recording: Recording, protocol: Protocol = "auto") -> BenchmarkRules:
        """Return the rules for a sequence; ``protocol`` as in :func:`memotr.data.protocols.rules_name`."""
        shown = recording.rules if self.classes is None else None
        return RULES[rules_name(recording.name, self.layout.reader.rules or shown, protocol)]

    def named_classes(self) -> ClassMap | None:
        """Return the classes named by the user or dataset.yaml, by number if the format numbers its classes."""
        if self.classes is None:
            return None
        settings = self.layout.settings
        if not self.layout.reader.numbered:
            pairs = self.classes if isinstance(self.classes, Mapping) else {name: name for name in self.classes}
            return ClassMap.of(pairs)
        place = self.layout.root / DATASET_FILE if self.classes is settings.classes else self.layout.root
        return ClassMap.of(numbered_classes(self.classes, place), None if isinstance(self.classes, Mapping) else ())

    def sequences(self, problems: Problems, *, ground_truth: bool) -> Iterator[Sequence]:
        """Yield the sequences to train on, or their halves.

        Args:
            problems: collects problems; the rows and sequences concerned are left out.
            ground_truth: sequences without ground truth are errors; otherwise their ``boxes`` are None.

        Raises:
            UserError: halves of still images are requested.
        """
        named = self.named_classes()
        found: ClassMap | None = None
        without = 0
        for recording in self.recordings(problems):
            if self.half and recording.still:
                raise UserError(f"{self.layout.root}: {self.half} halves videos, and these are single images")
            rules = self.rules_of(recording)
            if named is not None:
                rules = replace(rules, trained_classes=named, known=None)
            elif self.other_categories:
                rules = replace(rules, trained_classes=BDD100K_WITH_OTHERS)
            if rules.trained_classes is None and found is None:
                found = self._found_classes(recording, problems)
            classes = rules.trained_classes or found or PERSON
            if recording.table is None and ground_truth:
                without += 1
                continue
            sequence = sequence_of(recording, classes.names, problems)
            if sequence is None:
                continue
            if recording.table is not None:
                boxes = rules.trainable(recording, classes, sequence.size, problems)
                sequence = replace(sequence, boxes=boxes)
            sequence = half_of(sequence, self.half) if self.half else sequence
            if len(sequence):
                yield sequence
        if without:
            message = f"no ground truth in {without:,} of its sequences: they can be tracked, not trained on"
            generated = text_of_scripts(self.layout.root)
            problems.error(self.request.place, f"{message}; {generated}" if generated else message)

    def _found_classes(self, first: Recording, problems: Problems) -> ClassMap:
        """Return the classes of all splits of the data set, so that a class has the same label in each."""
        if not self.layout.reader.numbered:
            return ClassMap.of({name: name for name in first.categories.values()}, left_out=())
        found = self.layout.reader.classes_found(self.layout.splits, self.request.files)
        if found is None:
            return PERSON
        numbers = ", ".join(str(number) for number in found.labels)
        message = f"classes have numbers only ({numbers}); name them in {DATASET_FILE} as 'classes: [...]'"
        problems.note(self.layout.root, message)
        return found


def find_split(spec: DatasetSpec, files: AnnotationFiles | None = None) -> Split:
    """Return a split to train on or to track; ``files`` caches its annotation files.

    Raises:
        UserError: the folder does not exist or is not recognised, or there is no such split.
    """
    layout = recognise(spec.root, spec.format)
    classes = layout.settings.classes if spec.classes is None else spec.classes
    _refuse_meaningless(layout, replace(spec, classes=classes))
    name, half, seqmap = _choose(layout, spec.split, spec.seqmap, ask=False)
    files = AnnotationFiles() if files is None else files
    request = SplitRequest(
        layout.root, name, layout.splits[name], layout.settings, files, seqmap, spec.detector, spec.only
    )
    return Split(layout, request, half, classes, spec.other_categories)


def find_truth(
    path: Path,
    *,
    split: str | None = None,
    seqmap: Path | None = None,
    only: tuple[str, ...] = (),
    detector: DetectorChoice | None = "all",
    format: DataFormat = "auto",
    images: bool = False,
    files: AnnotationFiles | None = None,
) -> Split:
    """Return a split to score on, whose images need not exist.

    Args:
        path: a data set, a split of it, a folder of sequences, a sequence, or a file of ground truth.
        split: part of the data set, such as ``val``; ``val_half`` is the second half of ``train``, or of an undivided
            folder.
        seqmap: as in :class:`DatasetSpec`.
        only: as in :class:`DatasetSpec`.
        detector: as in :class:`DatasetSpec`.
        format: name of a format; ``auto``: recognised by the files.
        images: the images are needed, too.
        files: cache of annotation files.

    Raises:
        UserError: the path is not recognised, the split is missing or ambiguous, or it cannot be scored.
    """
    files = AnnotationFiles() if files is None else files
    try:
        spec = spec_at(path, format) if split is None else DatasetSpec(path, split, format)
        layout = recognise(spec.root, format) if spec.split is not None else None
    except UserError:
        spec, layout = DatasetSpec(path, split, format), None
    if layout is None or layout.format == "coco-video":
        layout = recognise_truth(spec.root, spec.split, format, files)
    if not layout.reader.scored:
        raise UserError(f"{path}: is {layout.format}; what can be scored is {', '.join(scored_formats())}")
    _refuse_meaningless(layout, DatasetSpec(path, seqmap=seqmap))
    name, half, seqmap = _choose(layout, spec.split, seqmap, ask=True)
    place = layout.splits[name]
    request = SplitRequest(layout.root, name, place, layout.settings, files, seqmap, detector, only, images)
    return Split(layout, request, half, layout.settings.classes)


def load_split(
    spec: DatasetSpec,
    *,
    ground_truth: bool = True,
    problems: Problems | None = None,
    files: AnnotationFiles | None = None,
) -> list[Sequence]:
    """Return the sequences of a split, in the order of the data set.

    Args:
        spec: what to read.
        ground_truth: sequences without ground truth are errors; otherwise their ``boxes`` are None.
        problems: collects notes; None: notes are dropped.
        files: cache of annotation files.

    Raises:
        UserError: the data set is not recognised, or has an error; the message has file and line of the first.
    """
    problems = Problems() if problems is None else problems
    sequences = list(read_split(spec, problems, ground_truth=ground_truth, files=files))
    problems.raise_errors(spec.root)
    return sequences


def spec_at(path: Path, format: DataFormat = "auto") -> DatasetSpec:
    """Return the specification for a path such as ``DanceTrack``, ``DanceTrack/val`` or ``MOT17/val_half``.

    The last part may name a split of the data set above it, whether it is a folder or not, or a data set; ``split`` is
    None for a data set.

    Raises:
        UserError: the path is not recognised.
    """
    usual = path.name.partition("_half")[0] in USUAL_SPLITS
    if not path.exists() or usual or (path.parent / DATASET_FILE).is_file():
        try:
            above = recognise(path.parent, format)
            _choose(above, path.name, None, ask=False)
            return DatasetSpec(path.parent, path.name, format)
        except UserError as error:
            if not path.exists():
                raise UserError(f"{path}: no such folder, nor a split of the one above: {error}") from None
    recognise(path, format)
    return DatasetSpec(path, None, format)


def read_split(
    spec: DatasetSpec, problems: Problems, *, ground_truth: bool = True, files: AnnotationFiles | None = None
) -> Iterator[Sequence]:
    """Yield the sequences that :func:`load_split` returns; ``problems`` collects errors instead of raising them.

    Raises:
        UserError: the folder does not exist or is not recognised, or there is no such split.
    """
    split = find_split(spec, files)
    sequences = boxes = 0
    for sequence in split.sequences(problems, ground_truth=ground_truth):
        sequences += 1
        boxes += sum(map(len, sequence.boxes or ()))
        yield sequence
    place = split.request.place
    if not sequences and not problems.errors:
        named = f" named {' or '.join(spec.only)}" if spec.only else ""
        problems.error(place, f"no sequences{named} here")
    elif sequences and not boxes and ground_truth:
        problems.error(place, f"no boxes in any of {sequences:,} sequences")


def sequence_of(recording: Recording, classes: tuple[str, ...], problems: Problems) -> Sequence | None:
    """Return a sequence without its ground truth; report an error and return None if it has no images."""
    place = recording.image_folder or recording.source
    if not recording.images and "" not in recording.image_names:
        if recording.image_names:
            first = place / recording.image_names[0]
            message = f"none of its {len(recording.frames):,} images is there ({first}, …)"
            remedy = f"copy them there, or, for COCO video, name their folder as 'images' in {DATASET_FILE}"
            problems.error(recording.source, f"{message}; {remedy}", f"video {recording.name}")
        else:
            problems.error(place, "no images here; copy the images of the sequence to this folder")
        return None
    if "" in recording.image_names:
        frame = recording.frames[recording.image_names.index("")]
        problems.error(recording.source, 'needs "name", the file name of its image', f"frame {frame}")
        return None
    twice = [name for name, count in Counter(recording.image_names).items() if count > 1]
    if twice:
        problems.error(recording.source, f"two frames have the image {brief(twice[0])}", f"video {recording.name}")
        return None
    if len(recording.images) < len(recording.image_names):
        lost, every = len(recording.image_names) - len(recording.images), len(recording.image_names)
        message = f"{lost:,} of {every:,} images are not in {place}: left out"
        problems.note(recording.source, message, f"video {recording.name}")
    size = None
    if not recording.still:
        size = recording.size or size_of(recording.images, problems) or recording.info.size
        _compare(recording, size, problems)
    return Sequence(
        recording.name,
        recording.images,
        None,
        classes,
        recording.fps,
        size,
        recording.still,
        recording.first_image,
        recording.gapless,
    )


def _compare(recording: Recording, size: tuple[int, int] | None, problems: Problems) -> None:
    """Report notes where the images contradict each other or seqinfo.ini."""
    info, numbers = recording.info, recording.numbers
    missing = int(numbers[-1] - numbers[0]) + 1 - len(numbers)
    if missing and not recording.image_names:
        folder = recording.images[0].parent
        problems.note(folder, f"images missing between the others, which count as neighbours: {missing:,}")
    file = (recording.folder or recording.source) / "seqinfo.ini"
    if info.length is not None and info.length > len(numbers):
        message = f"seqLength={info.length}, but there are {len(numbers):,} images: those that are there are used"
        problems.note(file, message)
    if info.size is not None and size is not None and info.size != size:
        found, declared = f"{size[1]}×{size[0]}", f"{info.size[1]}×{info.size[0]}"
        problems.note(file, f"says {declared}, images are {found}: boxes are read as pixels of the images")


def half_of(sequence: Sequence, half: str) -> Sequence:
    """Return the first (``train_half``) or second (``val_half``) half of a sequence.

    The published half-validation numbers count the second half's frames from 1 again.
    """
    cut = first_half_length(len(sequence))
    part = slice(0, cut) if half == "train_half" else slice(cut, len(sequence))
    return replace(
        sequence,
        frames=sequence.frames[part],
        boxes=None if sequence.boxes is None else sequence.boxes[part],
        first_frame=sequence.first_frame + part.start,
    )


def scored_formats() -> list[str]:
    """Return the names of the formats that trackers can be scored on."""
    return [reader.name for reader in FORMATS if reader.scored]


def _choose(
    layout: Layout, split: str | None, seqmap: Path | None, *, ask: bool
) -> tuple[str, str | None, Path | None]:
    """Return the name of a split in the layout, the requested half of it if any, and its seqmap.

    Args:
        layout: of the data set.
        split: name; None: ``train`` if there are several splits and not ``ask``.
        seqmap: text file with the sequences of the split; None: the data set's own for this split, if any.
        ask: raise an error if there are several splits and none is named.

    Raises:
        UserError: there is no split of this name, or none was named.
    """
    splits = layout.splits
    if split is None and ask and len(splits) > 1:
        raise UserError(f"{layout.root}: has the splits {', '.join(splits)}; choose one with --split")
    asked = split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
    half = asked if asked in HALVES and asked not in splits else None
    base = "train" if half else asked
    seqmap = _seqmap(layout, base) if seqmap is None else seqmap
    if base in splits:
        return base, half, seqmap
    if WHOLE in splits and (base == "train" or seqmap or (ask and layout.root.name == base)):
        return WHOLE, half, seqmap
    if layout.format == "coco-video" and len(found := alike(splits, base)) == 1:
        return found[0], half, seqmap
    there = ", ".join(splits)
    raise UserError(f"{layout.root}: no split {asked!r}; there is {there}, and train_half, val_half of train")


def _seqmap(layout: Layout, split: str) -> Path | None:
    """Return the file that names the sequences of a split, if there is one."""
    named = layout.settings.seqmaps or {}
    if split in named:
        return layout.root / named[split]
    usual = layout.root / f"{split}_seqmap.txt"
    return usual if usual.is_file() else None


def _refuse_meaningless(layout: Layout, spec: DatasetSpec) -> None:
    """Raise UserError for options that the format does not support, rather than ignore them."""
    asked = {
        "classes": spec.classes is not None,
        "seqmap": spec.seqmap is not None,
        "detector": spec.detector is not None,
        "other_categories": spec.other_categories,
    }
    for name, given in asked.items():
        if given and name not in layout.reader.options:
            raise UserError(f"{layout.root}: {name} has no meaning for the format {layout.format}")
