"""From "this folder, that split" to sequences: which layout a folder has, which splits, and how they are read.

How a data set is read follows from its layout and its ``dataset.yaml``, never from its name; ``load_dataset`` only
spares its users a path and a format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from memotr.config import DataFormat
from memotr.data.formats import bdd100k, coco_video, crowdhuman, generated, mot
from memotr.data.formats.classes import ClassMap, numbered_classes
from memotr.data.formats.frame_files import subfolders
from memotr.data.formats.problems import Problems
from memotr.data.layouts import DATASET_FILE, WHOLE, Format, Layout, recognise
from memotr.data.sequences import Sequence, first_half_length
from memotr.errors import UserError

Classes = tuple[str, ...] | Mapping[int | str, str]

USUAL_SPLITS = ("train", "val", "test")
HALVES = ("train_half", "val_half")


@dataclass(frozen=True)
class DatasetSpec:
    """What is to be read.

    Attributes:
        root: the data set's folder, one of its splits, a single sequence, or a COCO-video JSON.
        split: a split of it; ``train_half``/``val_half`` are the first/second half of every training sequence. None:
            ``train``, or all there is where nothing is divided.
        format: a format, or ``auto`` for what the folder looks like.
        classes: class names, in the order of the class numbers 1, 2, … (MOT) or the categories of these names
            (elsewhere); or category → class name, and all other categories are left out. None: as the data says.
        seqmap: text file that names the sequences to read, one a line; None: ``{split}_seqmap.txt`` where it exists.
        detector: which of MOT17's three copies of a video: DPM, FRCNN, SDP or ``all``; None: one, SDP where it is.
        only: patterns of sequence names (``MOT17-*-SDP``): those that none of them fits are left out, before one copy
            of each video is taken; empty: all.
        other_categories: BDD100K: "other person", "other vehicle" and "trailer" count as pedestrian, car and truck.
    """

    root: Path
    split: str | None = "train"
    format: DataFormat = "auto"
    classes: Classes | None = None
    seqmap: Path | None = None
    detector: Literal["DPM", "FRCNN", "SDP", "all"] | None = None
    other_categories: bool = False
    only: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether a sequence of this name is to be read."""
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)


_PERSON: Classes = {1: "person"}
PUBLISHED: Mapping[str, DatasetSpec] = {
    "dancetrack": DatasetSpec(Path("DanceTrack"), format="mot", classes=_PERSON),
    "sportsmot": DatasetSpec(Path("SportsMOT"), format="mot", classes=_PERSON),
    "mot17": DatasetSpec(Path("MOT17"), format="mot17"),
    "mot20": DatasetSpec(Path("MOT20"), format="mot", classes=_PERSON),
    "motsynth": DatasetSpec(Path("MOTSynth"), format="motsynth"),
    "crowdhuman": DatasetSpec(Path("CrowdHuman"), format="crowdhuman"),
    "bdd100k": DatasetSpec(Path("BDD100K"), format="bdd100k"),
}


@dataclass(frozen=True)
class _Choice:
    """A split resolved: its name in the layout, which sequences of it, and which half of them."""

    split: str
    seqmap: Path | None
    half: str | None


def load_split(spec: DatasetSpec, *, ground_truth: bool = True, problems: Problems | None = None) -> list[Sequence]:
    """The sequences of a split, in the order of the data set.

    Args:
        spec: what to read.
        ground_truth: sequences without are an error; otherwise their ``boxes`` are None.
        problems: takes what was noted, for those who want to tell it.

    Raises:
        UserError: nothing recognisable is there, or something in it is wrong: the first problem with file and line.
    """
    problems = Problems() if problems is None else problems
    sequences = list(read_split(spec, problems, ground_truth=ground_truth))
    problems.raise_errors(spec.root)
    return sequences


def spec_at(path: Path, format: DataFormat = "auto") -> DatasetSpec:
    """What a path such as ``DanceTrack``, ``DanceTrack/val`` or ``MOT17/val_half`` means.

    The last part may be a split of the data set above it, a folder or not, or a data set itself, whose ``split`` is
    then None.

    Raises:
        UserError: nothing is recognised there.
    """
    usual = path.name.partition("_half")[0] in USUAL_SPLITS
    if not path.exists() or usual or (path.parent / DATASET_FILE).is_file():
        try:
            above = recognise(path.parent, format)
            _choose(above, DatasetSpec(path.parent, path.name))
            return DatasetSpec(path.parent, path.name, format)
        except UserError as error:
            if not path.exists():
                raise UserError(f"{path}: no such folder, nor a split of the one above: {error}") from None
    recognise(path, format)
    return DatasetSpec(path, None, format)


def load_dataset(name: str, data_root: Path, split: str = "train", *, ground_truth: bool = True) -> list[Sequence]:
    """A published data set at its usual place, such as ``data_root/DanceTrack``.

    Raises:
        UserError: an unknown name, and all that :func:`load_split` raises.
    """
    if name.lower() not in PUBLISHED:
        raise UserError(f"{name}: no data set of this name is known; there are {', '.join(PUBLISHED)}")
    spec = PUBLISHED[name.lower()]
    return load_split(replace(spec, root=data_root / spec.root, split=split), ground_truth=ground_truth)


def read_split(spec: DatasetSpec, problems: Problems, *, ground_truth: bool = True) -> Iterator[Sequence]:
    """Like :func:`load_split`, one sequence at a time; what is wrong goes to ``problems`` and is left out.

    Raises:
        UserError: there is no such folder, nothing recognisable in it, or no such split.
    """
    layout = recognise(spec.root, spec.format)
    spec = replace(spec, classes=layout.settings.classes if spec.classes is None else spec.classes)
    _refuse_meaningless(layout, spec)
    choice = _choose(layout, spec)
    sequences = boxes = without = 0
    for whole in _READERS[layout.format](layout, choice, spec, problems):
        if not spec.wants(whole.name):
            continue
        if choice.half and whole.still:
            raise UserError(f"{spec.root}: {choice.half} halves videos, and these are single images")
        sequence = half_of(whole, choice.half) if choice.half else whole
        if sequence.boxes is None and ground_truth:
            without += 1
        elif len(sequence):
            sequences += 1
            boxes += sum(map(len, sequence.boxes or ()))
            yield sequence
    place = layout.splits[choice.split]
    if without:
        problems.error(place, f"no ground truth in {without:,} of its sequences: they can be tracked, not trained on")
    elif not sequences and not problems.errors:
        named = f" named {' or '.join(spec.only)}" if spec.only else ""
        problems.error(place, f"no sequences{named} here")
    elif sequences and not boxes and ground_truth:
        problems.error(place, f"not one box in {sequences:,} sequences")


def half_of(sequence: Sequence, half: str) -> Sequence:
    """The first (``train_half``) or second (``val_half``) half of a sequence.

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


def _choose(layout: Layout, spec: DatasetSpec) -> _Choice:
    """The split that is asked for. Raises UserError where there is none of this name."""
    asked = spec.split or ("train" if "train" in layout.splits or len(layout.splits) > 1 else next(iter(layout.splits)))
    half = asked if asked in HALVES and asked not in layout.splits else None
    base = "train" if half else asked
    seqmap = _seqmap(layout, spec, base)
    if base in layout.splits:
        return _Choice(base, seqmap, half)
    if WHOLE in layout.splits and (base == "train" or seqmap):
        return _Choice(WHOLE, seqmap, half)
    alike = [name for name in layout.splits if base in name.replace("-", "_").split("_")]
    if layout.format == "coco-video" and len(alike) == 1:  # instances_train.json
        return _Choice(alike[0], seqmap, half)
    there = ", ".join(layout.splits)
    raise UserError(f"{layout.root}: no split {asked!r}; there is {there}, and train_half, val_half of train")


def _seqmap(layout: Layout, spec: DatasetSpec, split: str) -> Path | None:
    """The file that names the sequences of a split, where there is one."""
    if spec.seqmap is not None:
        return spec.seqmap
    named = layout.settings.seqmaps or {}
    if split in named:
        return layout.root / named[split]
    usual = layout.root / f"{split}_seqmap.txt"
    return usual if usual.is_file() else None


def _refuse_meaningless(layout: Layout, spec: DatasetSpec) -> None:
    """Raises UserError for a choice that the format does not have: nothing is ignored in silence."""
    asked = {
        "classes": spec.classes is not None,
        "seqmap": spec.seqmap is not None,
        "detector": spec.detector is not None,
        "other_categories": spec.other_categories,
    }
    for name, given in asked.items():
        if given and name not in _OPTIONS[layout.format]:
            raise UserError(f"{layout.root}: {name} has no meaning for the format {layout.format}")


# One function a format: from layout and choice to its reader.


def _read_mot(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    classes = _classes_in(layout, problems) if spec.classes is None else _numbered(spec.classes, layout)
    return _read_mot_folders(layout, choice, spec, mot.MotRules(classes), problems)


def _read_mot17(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    classes = mot.PERSON if spec.classes is None else _numbered(spec.classes, layout)
    rules = mot.MotRules(classes, whole_pixels=True)
    return _read_mot_folders(layout, choice, spec, rules, problems)


def _read_motsynth(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    rules = mot.MotRules(visible_only=True)
    images = layout.root / "frames"
    folders = [layout.splits[choice.split] / frames.name for frames in subfolders(images)]
    return mot.read_sequences(folders, rules, problems, images=lambda folder: images / folder.name / "rgb")


def _read_crowdhuman(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    folders = _image_folders(layout, choice)
    images = next((folder for folder in folders if folder.is_dir()), folders[0])
    return crowdhuman.read_sequences(layout.splits[choice.split], images, problems)


def _read_bdd100k(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    labels = layout.splits[choice.split]
    images = layout.root / "images" / "track" / choice.split
    classes = bdd100k.CLASSES_WITH_OTHERS if spec.other_categories else bdd100k.CLASSES
    classes = classes if spec.classes is None else _named(spec.classes)
    return bdd100k.read_sequences(labels if labels.is_dir() else None, images, classes, problems)


def _read_coco_video(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    classes = None if spec.classes is None else _named(spec.classes)
    return coco_video.read_sequences(layout.splits[choice.split], _image_folders(layout, choice), classes, problems)


def _read_generated(layout: Layout, choice: _Choice, spec: DatasetSpec, problems: Problems) -> Iterator[Sequence]:
    split = generated.find_splits(layout.root)[choice.split]
    return generated.read_sequences(split, problems, detector=spec.detector)


_READERS: dict[Format, Callable[[Layout, _Choice, DatasetSpec, Problems], Iterator[Sequence]]] = {
    "mot": _read_mot,
    "mot17": _read_mot17,
    "motsynth": _read_motsynth,
    "crowdhuman": _read_crowdhuman,
    "bdd100k": _read_bdd100k,
    "coco-video": _read_coco_video,
    "generated": _read_generated,
}
_OPTIONS: dict[Format, set[str]] = {
    "mot": {"classes", "seqmap", "detector"},
    "mot17": {"classes", "seqmap", "detector"},
    "motsynth": set(),
    "crowdhuman": set(),
    "bdd100k": {"classes", "other_categories"},
    "coco-video": {"classes"},
    "generated": {"detector"},
}


def _read_mot_folders(
    layout: Layout, choice: _Choice, spec: DatasetSpec, rules: mot.MotRules, problems: Problems
) -> Iterator[Sequence]:
    """The sequences of a split: those that its seqmap names, one copy of each, all with ground truth or none."""
    parent = layout.splits[choice.split]
    folders = mot.sequences_in(parent, problems)
    if choice.seqmap is not None:
        folders = mot.named_in(choice.seqmap, parent, folders, problems)
    wanted = [folder for folder in folders if spec.wants(folder.name or folder.absolute().name)]
    wanted = mot.one_copy_each(wanted, spec.detector)
    missing = mot.missing_ground_truth(wanted)
    if len(missing) < len(wanted):
        for file in missing:
            problems.error(file, "is missing, while other sequences of the split have theirs")
        wanted = [folder for folder in wanted if folder not in {file.parent.parent for file in missing}]
    return mot.read_sequences(folders, rules, problems, only=wanted)


def _classes_in(layout: Layout, problems: Problems) -> ClassMap:
    """The classes of all splits together, so that a class has the same label in each."""
    files = (folder / "gt" / "gt.txt" for split in layout.splits.values() for folder in [split, *subfolders(split)])
    numbers = sorted(mot.class_numbers(file for file in files if file.is_file()) - {mot.NO_CLASS})
    if numbers in ([], [1]):
        return mot.PERSON
    found = ", ".join(map(str, numbers))
    problems.note(layout.root, f"classes have numbers only ({found}); name them in {DATASET_FILE} as 'classes: [...]'")
    return ClassMap.of({number: f"class {number}" for number in numbers}, left_out=())


def _numbered(classes: Classes, layout: Layout) -> ClassMap:
    """Classes of a format that numbers them."""
    place = layout.root / DATASET_FILE if classes is layout.settings.classes else layout.root
    return ClassMap.of(numbered_classes(classes, place), left_out=None if isinstance(classes, Mapping) else ())


def _named(classes: Classes) -> ClassMap:
    """Classes of a format that names them."""
    return ClassMap.of(classes if isinstance(classes, Mapping) else {name: name for name in classes})


def _image_folders(layout: Layout, choice: _Choice) -> list[Path]:
    """Where the images of a split may be, the likeliest first."""
    file = layout.splits[choice.split]
    split = file.stem if choice.split == WHOLE else choice.split
    base = layout.root if layout.root.is_dir() else file.parent
    if layout.settings.images is not None:
        return [base / layout.settings.images.replace("{split}", split)]
    tops = dict.fromkeys([base, file.parent, file.parent.parent])
    inner = [f"images/{split}", split, "Images", "images", "data", "."]
    return [top / name for name in inner for top in tops]
