"""MOTChallenge layout ``<seq>/{img1/*.jpg, gt/gt.txt, seqinfo.ini}`` and its variants MOT17 and MOTSynth.

DanceTrack, SportsMOT and MOT20 use it as well, and it is the easiest layout for your own data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from memotr.data.annotations import NO_CATEGORY, AnnotationTable
from memotr.data.formats.class_map import ClassMap
from memotr.data.formats.dataset_format import WHOLE, AnnotationFiles, DatasetFormat, DetectorChoice, SplitRequest
from memotr.data.formats.frame_files import FrameFiles, images_in, list_frames, subfolders
from memotr.data.formats.mot_text import MOT_RESULTS, read_truth
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, list_names
from memotr.documents import brief, read_text
from memotr.errors import UserError
from memotr.io.seqinfo import SeqInfo, SeqInfoError, read_seqinfo
from memotr.vocabulary import Detector

DETECTOR_COPY = re.compile(rf"(?P<scene>MOT17-\d+)-(?P<detector>{'|'.join(get_args(Detector))})")
"""Name of one of MOT17's three copies of a video."""
SEQMAP_HEADING = "name"
LONGEST_NAME = 255  # characters; file systems allow no more
TRUTH_FILES = ("gt/gt.txt", "gt.txt")  # in the folder of a sequence


class Mot(DatasetFormat):
    """MOTChallenge: folders of sequences, with or without folders of splits."""

    name = "mot"
    options = frozenset({"classes", "seqmap", "detector"})
    numbered = True
    layout = "<split>/<sequence>/img1 with gt/gt.txt (MOTChallenge)"
    results = MOT_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        if looks_like_sequence(root):
            return {WHOLE: root}, "one sequence in the MOTChallenge layout"
        if any(looks_like_sequence(folder) for folder in subfolders(root)):
            return {WHOLE: root}, "a folder of sequences in the MOTChallenge layout"
        for base in (root, root / "images"):
            splits = {f.name: f for f in subfolders(base) if any(map(looks_like_sequence, subfolders(f)))}
            if splits:
                places = ", ".join(f"{base.name}/{split}" for split in splits)
                return splits, f"sequences in the MOTChallenge layout in {places}"
        return {}, ""

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        folders = sequences_in(request.place, problems)
        if request.seqmap is not None:
            folders = named_in(request.seqmap, request.place, folders, problems)
        every = [_find_files(folder, folder, request.images) for folder in folders]
        wanted = one_copy_each([one.name for one in every if request.wants(one.name)], request.detector)
        yield from _read(every, set(wanted), request.files, problems)

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        folders = [folder for split in splits.values() for folder in [split, *subfolders(split)]]
        truths = [truth for folder in folders if (truth := truth_in(folder)) is not None]
        tables = [files.read(truth, read_truth, Problems()) for truth in truths]  # problems are reported by read()
        return numbered(table for table in tables)


class Mot17(Mot):
    """MOT17: three copies of each video, named after detectors, with the same images and ground truth."""

    name = "mot17"
    rules = "mot17"

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        splits, explanation = super().splits(root)
        names = [root.name] + [folder.name for split in splits.values() for folder in subfolders(split)]
        if not any(DETECTOR_COPY.fullmatch(name) for name in names):
            return {}, ""
        return splits, f"MOT17: {explanation}, named for a detector"


class MotSynth(Mot):
    """MOTSynth: images in ``frames/<seq>/rgb``, ground truth in ``gts/<seq>``."""

    name = "motsynth"
    options = frozenset()
    rules = "motsynth"
    scored = False
    layout = "frames/<sequence>/rgb with gts (MOTSynth)"

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        found = any((folder / "rgb").is_dir() for folder in subfolders(root / "frames"))
        return {WHOLE: root / "gts"} if found else {}, "MOTSynth: frames/*/rgb and gts"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        folders = subfolders(request.root / "frames")
        every = [_find_files(request.place / folder.name, folder / "rgb", request.images) for folder in folders]
        yield from _read(every, {one.name for one in every if request.wants(one.name)}, request.files, problems)


class MotTruth(Mot):
    """Ground truth without images, for scoring: ``<name>.txt``, ``<name>/gt.txt``, or one such file."""

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        return ({WHOLE: root}, "MOTChallenge text without images") if _truth_alone(root) else ({}, "")

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        every = _truth_alone(request.place)
        names = {one.name for one in every}
        if request.seqmap is not None:
            names &= set(_known(request.seqmap, request.place, names, problems))
            every = [one for one in every if one.name in names]
        yield from _read(every, {one.name for one in every if request.wants(one.name)}, request.files, problems)


@dataclass(frozen=True, eq=False)
class _SequenceFiles:
    """Files of a sequence whose annotations have not been read.

    Attributes:
        name: name of the sequence.
        folder: folder of the sequence; None if one folder has the ground truth of many.
        truth: file of its ground truth, if any.
        images: folder of its images.
        frames: its images.
        info: content of its seqinfo.ini.
        problems: notes about seqinfo.ini.
    """

    name: str
    folder: Path | None
    truth: Path | None
    images: Path
    frames: FrameFiles
    info: SeqInfo
    problems: Problems


def _find_files(folder: Path, images: Path, needed: bool = False) -> _SequenceFiles:
    """Find the files of a sequence.

    Args:
        folder: folder of its ground truth and seqinfo.ini.
        images: ``folder`` if the images are in ``img1`` or the folder that seqinfo.ini names; else the image folder.
        needed: list the images even if seqinfo.ini has their number.
    """
    problems = Problems()
    info = _info_of(folder / "seqinfo.ini", problems)
    place = folder / info.image_folder if images is folder else images
    name = folder.name or folder.absolute().name  # "." has none
    frames = list_frames(place) if needed or info.length is None else FrameFiles((), np.zeros(0, np.int64))
    return _SequenceFiles(name, folder, truth_in(folder), place, frames, info, problems)


def truth_in(folder: Path) -> Path | None:
    """Return the file of a sequence's ground truth, if there is one."""
    return next((folder / name for name in TRUTH_FILES if (folder / name).is_file()), None)


def _truth_alone(path: Path) -> list[_SequenceFiles]:
    """Return sequences of ground truth alone; none in a folder that has sequences in the full layout."""
    if path.is_file() and path.suffix == ".txt":
        if path.name != "gt.txt":
            return [_file_alone(path)]
        folder = path.absolute().parent
        folder = folder.parent if folder.name == "gt" else folder
        return [_find_files(folder, folder)]
    if (path / "gt.txt").is_file():
        return [_find_files(path, path)]
    if any(map(looks_like_sequence, [path, *subfolders(path)])):
        return []
    inside = [folder for folder in subfolders(path) if (folder / "gt.txt").is_file()]
    if inside or any(subfolders(path)) or any(path.glob("*.json")):
        return [_find_files(folder, folder) for folder in inside]
    return [_file_alone(file) for file in sorted(path.glob("*.txt")) if "seqmap" not in file.name]


def _file_alone(file: Path) -> _SequenceFiles:
    return _SequenceFiles(file.stem, None, file, file.parent, list_frames(file), SeqInfo(), Problems())


def _read(
    every: Many[_SequenceFiles], wanted: set[str], files: AnnotationFiles, problems: Problems
) -> Iterator[Recording]:
    """Yield the wanted sequences of a split.

    All sequences of the split determine whether frames and images are numbered from 0 or 1, because the first frame of
    a single sequence may have no objects or no image.
    """
    chosen = [one for one in every if one.name in wanted]
    missing = [one for one in chosen if one.truth is None]
    if 0 < len(missing) < len(chosen):
        what = f"no gt/gt.txt for {len(missing)} of {len(chosen)} sequences ({list_names(one.name for one in missing)})"
        folder = (missing[0].folder or missing[0].images).parent
        problems.error(folder, f"{what}; copy them, or name the others in a seqmap or by --sequences")
        chosen = [one for one in chosen if one.truth is not None]
    tables = {one.name: _table(one, files, problems if one in chosen else Problems()) for one in every}
    from_0 = [table.origin.files[0] for table in tables.values() if table is not None and (table.frames == 0).any()]
    first = 0 if from_0 else 1
    first_image = 0 if any(one.frames.named and len(one.frames) and one.frames.numbers[0] == 0 for one in every) else 1
    annotated = [one.truth for one in chosen if one.truth is not None]
    if first != first_image and annotated and any(len(one.frames) for one in chosen):
        message = f"frames are numbered from {first}, images from {first_image}, in the whole split: "
        problems.note(annotated[0], f"{message}frame {first} is image {first_image}")
    elif from_0 and not any(len(one.frames) for one in chosen):
        message = "has frame 0: frames are counted from 0 in the whole split, and from 1 in results"
        problems.note(from_0[0], message)
    shown = {table.origin.rules for table in tables.values() if table is not None and len(table)}
    rules = shown.pop() if len(shown) == 1 else None
    if rules is not None and annotated:
        message = "columns 7 to 10 are VisDrone's: its classes and ignored regions count, or the classes that "
        problems.note(annotated[0], f"{message}dataset.yaml names")
    for one in chosen:
        if problems.refuses_name((one.folder or one.images).parent, "sequence", one.name):
            continue
        problems.extend(one.problems)
        yield _recording(one, tables.pop(one.name), first, first_image, rules, problems)


def _table(one: _SequenceFiles, files: AnnotationFiles, problems: Problems) -> AnnotationTable | None:
    return None if one.truth is None else files.read(one.truth, read_truth, problems)


def _recording(
    one: _SequenceFiles,
    table: AnnotationTable | None,
    first: int,
    first_image: int,
    rules: str | None,
    problems: Problems,
) -> Recording:
    if table is not None:
        early = table.frames < first
        table.report(early, f"frame {{frame}}: frames are counted from {first}", problems)
        table = table[~early] if early.any() else table
    known = one.info.length or len(one.frames)
    last = first - 1 if table is None else int(table.frames.max(initial=first - 1))
    first_name = first_image if one.frames.named else 1
    counted = np.arange(first_name, first_name + len(one.frames))
    return Recording(
        one.name,
        one.truth or one.folder or one.images,
        one.frames.files,
        one.frames.numbers - first_name + first,
        range(first, first + known if known else last + 1),
        table,
        folder=one.folder,
        image_folder=one.images,
        first_image=int(one.frames.numbers[0]) if len(one.frames) else first_image,
        fps=None if one.info.fps is None else float(one.info.fps),
        gapless=bool((one.frames.numbers == counted).all()),
        info=one.info,
        length_known=known > 0,
        rules=rules,
    )


def _info_of(file: Path, problems: Problems) -> SeqInfo:
    """Read a seqinfo.ini; report notes about invalid values, which the existing images replace."""
    try:
        info = read_seqinfo(file)
    except SeqInfoError as error:
        problems.note(file, f"cannot be understood ({error.reason}): not used")
        return SeqInfo(unusable={"seqLength": f"cannot be understood ({error.reason})"})
    for message in info.unusable.values():
        problems.note(file, f"{message}: not used")
    return info


def numbered(tables: Iterable[AnnotationTable]) -> ClassMap | None:
    """Return one class per class number among the rows that count; None if there is only class 1 or none."""
    found: set[int] = set()
    for table in tables:
        found.update(np.unique(table.categories[table.marked & ~table.regions]).tolist())
    numbers = sorted(found - {NO_CATEGORY})
    if numbers in ([], [1]):
        return None
    return ClassMap.of({number: f"class {number}" for number in numbers}, left_out=())


def one_copy_each(names: Many[str], detector: DetectorChoice | None = None) -> list[str]:
    """Return one of MOT17's three copies of each video.

    Args:
        names: sequence names in order; all names unlike ``MOT17-02-SDP`` are kept.
        detector: DPM, FRCNN or SDP selects these copies, ``all`` every copy; None: SDP if it exists, else another.
    """
    if detector == "all":
        return list(names)
    wanted = (detector,) if detector else get_args(Detector)[::-1]  # SDP first
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        match = DETECTOR_COPY.fullmatch(name)
        scene, copy = (match["scene"], match["detector"]) if match else (name, wanted[0])
        if copy in wanted and (scene not in best or wanted.index(copy) < best[scene][0]):
            best[scene] = (wanted.index(copy), name)
    chosen = {name for _, name in best.values()}
    return [name for name in names if name in chosen]


def looks_like_sequence(folder: Path) -> bool:
    """Return whether a folder is a sequence in this layout, complete or not."""
    return (folder / "img1").is_dir() or (folder / "seqinfo.ini").is_file() or (folder / "gt" / "gt.txt").is_file()


def sequences_in(parent: Path, problems: Problems) -> list[Path]:
    """Return the sequences in a folder, or the folder if it is a sequence; report folders of broken sequences."""
    if looks_like_sequence(parent):
        return [parent]
    sequences = []
    for folder in subfolders(parent):
        if looks_like_sequence(folder):
            sequences.append(folder)
        elif not any(folder.iterdir()):
            problems.error(folder, "the folder is empty: copy the sequence again or remove the folder")
        elif images_in(folder):
            problems.error(folder, f"images lie in the sequence's own folder: move them to {folder.name}/img1")
        else:
            problems.note(folder, "holds no img1, gt/gt.txt or seqinfo.ini: left out")
    return sequences


def named_in(seqmap: Path, parent: Path, folders: Many[Path], problems: Problems) -> list[Path]:
    """Return the folders that a seqmap names. Raises UserError like :func:`read_seqmap`."""
    names = set(_known(seqmap, parent, {folder.name for folder in folders}, problems))
    return [folder for folder in folders if folder.name in names]


def _known(seqmap: Path, parent: Path, available: set[str], problems: Problems) -> list[str]:
    """Return the names of a seqmap that are ``available``; report the others as errors."""
    wanted = read_seqmap(seqmap)
    for name, number in wanted.items():
        if name not in available:
            problems.error(seqmap, f"sequence {name} is not in {parent}: copy it there or remove this line", number)
    others = len(available - set(wanted))
    if others:
        problems.note(seqmap, f"does not name {others:,} of the sequences in {parent}: left out")
    return [name for name in wanted if name in available]


def read_seqmap(path: Path) -> dict[str, int]:
    """Read a seqmap: sequence name → line number from 1, in the order of the file.

    Names are in the first column, one per line; a heading ``name`` and blank lines are skipped.

    Raises:
        UserError: the file cannot be read, names no sequence, or has a name that is too long for a folder.
    """
    named: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.split(",")[0].strip()
        if len(name) > LONGEST_NAME:
            raise UserError(f"{path}, line {number}: {brief(name)} is too long for the name of a sequence")
        if name and (named or name != SEQMAP_HEADING):
            named.setdefault(name, number)
    if not named:
        raise UserError(f"{path}: names no sequence; one a line is expected, below the heading {SEQMAP_HEADING!r}")
    return named
