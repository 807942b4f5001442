"""Selection of a split of a data set, and reading of its sequences.

The layout of a data set and its ``dataset.yaml`` determine how it is read; its name does not.
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
from memotr.data.layouts import Layout, on_request_hint, recognise, recognise_truth, splits_with_part
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
        root: folder of the data set, of a split or of a single sequence, or a COCO-video JSON file.
        split: name of a split; ``train_half``/``val_half`` are the first/second half of every training sequence. None:
            ``train``, or everything in an undivided folder.
        format: name of a format; ``auto``: recognised by the files.
        classes: class names in the order of the class numbers 1, 2, … (MOT) or names of categories (other formats); or
            category → class name, which drops all other categories. None: the classes of the data.
        seqmap: text file that names the sequences to read, one per line; None: ``{split}_seqmap.txt`` if it exists.
        detector: choice among the three copies of each MOT17 video: DPM, FRCNN, SDP or ``all``; None: one copy,
            preferably SDP.
        only: patterns of sequence names to read (``MOT17-*-SDP``), applied before one copy of each video is chosen;
            empty: all.
        other_categories: BDD100K only: use "other person", "other vehicle" and "trailer" as pedestrian, car and truck.
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
    """Split of a data set that has been located but not read.

    Attributes:
        layout: layout of the data set.
        request: request to the format's reader.
        half: ``train_half`` or ``val_half`` for half of every sequence; None: whole sequences.
        classes: classes given by the user or dataset.yaml; None: the classes of the data.
        other_categories: see :class:`DatasetSpec`.
    """

    layout: Layout
    request: SplitRequest
    half: str | None = None
    classes: Classes | None = None
    other_categories: bool = False

    def recordings(self, problems: Problems) -> Iterator[Recording]:
        """Yield the sequences of the split, never halved; ``problems`` collects the problems of their files."""
        return self.layout.reader.read(self.request, problems)

    def rules_of(self, recording: Recording, protocol: Protocol = "auto") -> BenchmarkRules:
        """Return the benchmark rules for a sequence; ``protocol`` as in :func:`memotr.data.protocols.rules_name`."""
        implied = recording.rules if self.classes is None else None
        return RULES[rules_name(recording.name, self.layout.reader.rules or implied, protocol)]

    def named_classes(self) -> ClassMap | None:
        """Return the classes given by the user or dataset.yaml, by number if the format has class numbers."""
        if self.classes is None:
            return None
        settings = self.layout.settings
        if not self.layout.reader.numbered:
            pairs = self.classes if isinstance(self.classes, Mapping) else {name: name for name in self.classes}
            return ClassMap.from_pairs(pairs)
        place = self.layout.root / DATASET_FILE if self.classes is settings.classes else self.layout.root
        return ClassMap.from_pairs(
            numbered_classes(self.classes, place), None if isinstance(self.classes, Mapping) else ()
        )

    def sequences(self, problems: Problems, *, ground_truth: bool) -> Iterator[Sequence]:
        """Yield the sequences for training, halved if the split is a half.

        Args:
            problems: collects problems; affected rows and sequences are left out.
            ground_truth: report sequences without ground truth as errors; if False, their ``boxes`` are None.

        Raises:
            UserError: halves of still images are requested.
        """
        named = self.named_classes()
        found: ClassMap | None = None
        without = 0
        for recording in self.recordings(problems):
            if self.half and recording.still:
                raise UserError(f"{self.layout.root}: {self.half} needs videos, but these are still images")
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
            message = f"no ground truth in {without:,} of its sequences: they can be tracked, but not trained on"
            hint = on_request_hint(self.layout.root)
            problems.error(self.request.place, f"{message}; {hint}" if hint else message)

    def _found_classes(self, first: Recording, problems: Problems) -> ClassMap:
        """Return the classes found in all splits, so that a class has the same label in every split."""
        if not self.layout.reader.numbered:
            return ClassMap.from_pairs({name: name for name in first.categories.values()}, dropped=())
        found = self.layout.reader.classes_found(self.layout.splits, self.request.files)
        if found is None:
            return PERSON
        numbers = ", ".join(str(number) for number in found.labels)
        message = f"classes have no names, only numbers ({numbers}); name them in {DATASET_FILE} as 'classes: [...]'"
        problems.note(self.layout.root, message)
        return found


def find_split(spec: DatasetSpec, files: AnnotationFiles | None = None) -> Split:
    """Locate a split for training or tracking; ``files`` caches its annotation files.

    Raises:
        UserError: the folder does not exist or is not recognised, or the split does not exist.
    """
    layout = recognise(spec.root, spec.format)
    classes = layout.settings.classes if spec.classes is None else spec.classes
    _reject_unsupported(layout, replace(spec, classes=classes))
    name, half, seqmap = _resolve_split(layout, spec.split, spec.seqmap, explicit=False)
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
    """Locate a split for scoring; its images need not exist.

    Args:
        path: a data set, one of its splits, a folder of sequences, a sequence, or a ground truth file.
        split: name of a split, such as ``val``; ``val_half`` is the second half of each sequence of ``train``, or of an
            undivided folder.
        seqmap: as in :class:`DatasetSpec`.
        only: as in :class:`DatasetSpec`.
        detector: as in :class:`DatasetSpec`.
        format: name of a format; ``auto``: recognised by the files.
        images: also list the images.
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
        raise UserError(f"{path}: the format {layout.format} cannot be scored; use {', '.join(scored_formats())}")
    _reject_unsupported(layout, DatasetSpec(path, seqmap=seqmap))
    name, half, seqmap = _resolve_split(layout, spec.split, seqmap, explicit=True)
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
        spec: split to read.
        ground_truth: report sequences without ground truth as errors; if False, their ``boxes`` are None.
        problems: collects notes; None: notes are dropped.
        files: cache of annotation files.

    Raises:
        UserError: the data set is not recognised or has an error; the message names file and line of the first error.
    """
    problems = Problems() if problems is None else problems
    sequences = list(read_split(spec, problems, ground_truth=ground_truth, files=files))
    problems.raise_errors(spec.root)
    return sequences


def spec_at(path: Path, format: DataFormat = "auto") -> DatasetSpec:
    """Return the specification for a path such as ``DanceTrack``, ``DanceTrack/val`` or ``MOT17/val_half``.

    The last part is the name of a data set, or of a split of the data set above it, which need not be a folder. For a
    data set, ``split`` is None.

    Raises:
        UserError: the path is not recognised.
    """
    usual = path.name.partition("_half")[0] in USUAL_SPLITS
    if not path.exists() or usual or (path.parent / DATASET_FILE).is_file():
        try:
            above = recognise(path.parent, format)
            _resolve_split(above, path.name, None, explicit=False)
            return DatasetSpec(path.parent, path.name, format)
        except UserError as error:
            if not path.exists():
                raise UserError(f"{path}: no such folder, and no such split of the folder above: {error}") from None
    recognise(path, format)
    return DatasetSpec(path, None, format)


def read_split(
    spec: DatasetSpec, problems: Problems, *, ground_truth: bool = True, files: AnnotationFiles | None = None
) -> Iterator[Sequence]:
    """Yield the sequences of a split like :func:`load_split`, but collect errors in ``problems``.

    Raises:
        UserError: the folder does not exist or is not recognised, or the split does not exist.
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
        problems.error(place, f"no sequences{named} in this folder")
    elif sequences and not boxes and ground_truth:
        problems.error(place, f"no boxes in any of its {sequences:,} sequences")


def sequence_of(recording: Recording, classes: tuple[str, ...], problems: Problems) -> Sequence | None:
    """Return a sequence without its ground truth; if its images are missing or unnamed, report it and return None."""
    place = recording.image_folder or recording.source
    if not recording.images and "" not in recording.image_names:
        if recording.image_names:
            first = place / recording.image_names[0]
            message = f"none of its {len(recording.frames):,} images exists ({first}, …)"
            remedy = f"copy them there, or, for COCO video, give their folder as 'images' in {DATASET_FILE}"
            problems.error(recording.source, f"{message}; {remedy}", f"video {recording.name}")
        else:
            problems.error(place, "no images in this folder; copy the images of the sequence there")
        return None
    if "" in recording.image_names:
        frame = recording.frames[recording.image_names.index("")]
        problems.error(recording.source, 'has no "name", the file name of its image', f"frame {frame}")
        return None
    repeated = [name for name, count in Counter(recording.image_names).items() if count > 1]
    if repeated:
        problems.error(recording.source, f"two frames have the image {brief(repeated[0])}", f"video {recording.name}")
        return None
    if len(recording.images) < len(recording.image_names):
        total = len(recording.image_names)
        message = f"{total - len(recording.images):,} of {total:,} images are not in {place}: left out"
        problems.note(recording.source, message, f"video {recording.name}")
    size = None
    if not recording.still:
        size = recording.size or size_of(recording.images, problems) or recording.info.size
        _compare_images(recording, size, problems)
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


def _compare_images(recording: Recording, size: tuple[int, int] | None, problems: Problems) -> None:
    """Report gaps between the images, and differences from seqinfo.ini."""
    info, numbers = recording.info, recording.numbers
    missing = int(numbers[-1] - numbers[0]) + 1 - len(numbers)
    if missing and not recording.image_names:
        folder = recording.images[0].parent
        message = f"images missing between others: {missing:,}; the images around a gap are used as consecutive frames"
        problems.note(folder, message)
    file = (recording.folder or recording.source) / "seqinfo.ini"
    if info.length is not None and info.length > len(numbers):
        message = f"seqLength={info.length}, but there are {len(numbers):,} images: only these are used"
        problems.note(file, message)
    if info.size is not None and size is not None and info.size != size:
        found, declared = f"{size[1]}×{size[0]}", f"{info.size[1]}×{info.size[0]}"
        problems.note(file, f"has size {declared}, but images are {found}: boxes are read in pixels of the images")


def half_of(sequence: Sequence, half: str) -> Sequence:
    """Return the first (``train_half``) or second (``val_half``) half of a sequence.

    In the published half-validation results, the frames of the second half are numbered from 1 again.
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
    """Return the names of the formats that support scoring."""
    return [reader.name for reader in FORMATS if reader.scored]


def _resolve_split(
    layout: Layout, split: str | None, seqmap: Path | None, *, explicit: bool
) -> tuple[str, str | None, Path | None]:
    """Return the name of a split in the layout, the requested half (None: the whole split), and the seqmap.

    Args:
        layout: layout of the data set.
        split: name of a split or half; None: ``train`` if there are several splits, else the only split.
        seqmap: text file that names the sequences to read; None: that of the data set for this split, if any.
        explicit: raise an error if ``split`` is None and there are several splits.

    Raises:
        UserError: the split does not exist, or must be given.
    """
    splits = layout.splits
    if split is None and explicit and len(splits) > 1:
        raise UserError(f"{layout.root}: has the splits {', '.join(splits)}; choose one with --split")
    name = split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
    half = name if name in HALVES and name not in splits else None
    base = "train" if half else name
    seqmap = _seqmap(layout, base) if seqmap is None else seqmap
    if base in splits:
        return base, half, seqmap
    if WHOLE in splits and (base == "train" or seqmap or (explicit and layout.root.name == base)):
        return WHOLE, half, seqmap
    if layout.format == "coco-video" and len(found := splits_with_part(splits, base)) == 1:
        return found[0], half, seqmap
    known = ", ".join(splits)
    raise UserError(f"{layout.root}: no split {name!r}; use one of {known}, or train_half or val_half of train")


def _seqmap(layout: Layout, split: str) -> Path | None:
    """Return the seqmap of a split, a file that names its sequences; None if there is none."""
    named = layout.settings.seqmaps or {}
    if split in named:
        return layout.root / named[split]
    usual = layout.root / f"{split}_seqmap.txt"
    return usual if usual.is_file() else None


def _reject_unsupported(layout: Layout, spec: DatasetSpec) -> None:
    """Raise UserError for options that the format does not support."""
    given = {
        "classes": spec.classes is not None,
        "seqmap": spec.seqmap is not None,
        "detector": spec.detector is not None,
        "other_categories": spec.other_categories,
    }
    for name, is_given in given.items():
        if is_given and name not in layout.reader.options:
            raise UserError(f"{layout.root}: the format {layout.format} does not support {name!r}; remove it")
