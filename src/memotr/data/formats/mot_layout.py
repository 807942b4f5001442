"""MOTChallenge layout ``<seq>/{img1/*.jpg, gt/gt.txt, seqinfo.ini}`` and its variants MOT17 and MOTSynth.

DanceTrack, SportsMOT and MOT20 have this layout, too, and it is the easiest one for your own data.
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
from memotr.data.formats.frame_files import FrameFiles, files_in, images_in, list_frames, subfolders
from memotr.data.formats.mot_text import MOT_RESULTS, read_truth
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, list_names
from memotr.documents import brief, read_text
from memotr.errors import UserError
from memotr.io.seqinfo import SeqInfo, SeqInfoError, read_seqinfo
from memotr.vocabulary import Detector

DETECTOR_COPY = re.compile(rf"(?P<scene>MOT17-\d+)-(?P<detector>{'|'.join(get_args(Detector))})")
"""Name of one of the three copies of a MOT17 video."""
SEQMAP_HEADING = "name"
MAX_NAME_LENGTH = 255  # characters; file systems allow no more
TRUTH_FILES = ("gt/gt.txt", "gt.txt")  # relative to the folder of a sequence


class Mot(DatasetFormat):
    """MOTChallenge: one folder per sequence, with or without a folder per split."""

    name = "mot"
    options = frozenset({"classes", "seqmap", "detector"})
    numbered = True
    layout = "<split>/<sequence>/img1 with gt/gt.txt (MOTChallenge)"
    results = MOT_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        if is_sequence_folder(root):
            return {WHOLE: root}, "one sequence in the MOTChallenge layout"
        if any(is_sequence_folder(folder) for folder in subfolders(root)):
            return {WHOLE: root}, "a folder of sequences in the MOTChallenge layout"
        for base in (root, root / "images"):
            splits = {f.name: f for f in subfolders(base) if any(map(is_sequence_folder, subfolders(f)))}
            if splits:
                places = ", ".join(f"{base.name}/{split}" for split in splits)
                return splits, f"sequences in the MOTChallenge layout in {places}"
        return {}, ""

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        folders = sequences_in(request.place, problems)
        if request.seqmap is not None:
            folders = folders_in_seqmap(request.seqmap, request.place, folders, problems)
        sequences = [_find_files(folder, with_images=request.images) for folder in folders]
        wanted = choose_copies(_selected(sequences, request), request.detector)
        yield from _read(sequences, wanted, request.files, problems)

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        folders = [folder for split in splits.values() for folder in [split, *subfolders(split)]]
        truths = [truth for folder in folders if (truth := truth_file_in(folder)) is not None]
        tables = [files.read(truth, read_truth, Problems()) for truth in truths]  # problems are reported by read()
        return classes_by_number(table for table in tables)


class Mot17(Mot):
    """MOT17: three copies of each video, named after detectors, with identical images and ground truth."""

    name = "mot17"
    rules = "mot17"

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        splits, explanation = super().splits(root)
        names = [root.name] + [folder.name for split in splits.values() for folder in subfolders(split)]
        if not any(DETECTOR_COPY.fullmatch(name) for name in names):
            return {}, ""
        return splits, f"MOT17: {explanation}, named after detectors"


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
        sequences = [
            _find_files(request.place / folder.name, folder / "rgb", with_images=request.images) for folder in folders
        ]
        yield from _read(sequences, _selected(sequences, request), request.files, problems)


class MotTruth(Mot):
    """MOTChallenge ground truth without images, for scoring: ``<name>.txt``, ``<name>/gt.txt``, or one such file."""

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        return ({WHOLE: root}, "MOTChallenge text without images") if _bare_truth(root) else ({}, "")

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        sequences = _bare_truth(request.place)
        names = {sequence.name for sequence in sequences}
        if request.seqmap is not None:
            names &= set(_known(request.seqmap, request.place, names, problems))
            sequences = [sequence for sequence in sequences if sequence.name in names]
        yield from _read(sequences, _selected(sequences, request), request.files, problems)


@dataclass(frozen=True, eq=False)
class _SequenceFiles:
    """Files of a sequence whose annotations have not been read yet.

    Attributes:
        name: name of the sequence.
        folder: folder of the sequence; None if its ground truth is in a folder with that of other sequences.
        truth: ground truth file, if any.
        images: image folder.
        frames: image files.
        info: content of seqinfo.ini.
        problems: notes about seqinfo.ini.
    """

    name: str
    folder: Path | None
    truth: Path | None
    images: Path
    frames: FrameFiles
    info: SeqInfo
    problems: Problems


def _find_files(folder: Path, images: Path | None = None, *, with_images: bool = False) -> _SequenceFiles:
    """Find the files of a sequence.

    Args:
        folder: folder of its ground truth and seqinfo.ini.
        images: image folder; None: the subfolder that seqinfo.ini names, or ``img1``.
        with_images: list the images even if seqinfo.ini has their number.
    """
    problems = Problems()
    info = _info_of(folder / "seqinfo.ini", problems)
    images = folder / info.image_folder if images is None else images
    name = folder.name or folder.absolute().name  # the name of "." is empty
    frames = list_frames(images) if with_images or info.length is None else FrameFiles.empty()
    return _SequenceFiles(name, folder, truth_file_in(folder), images, frames, info, problems)


def truth_file_in(folder: Path) -> Path | None:
    """Return the ground truth file in the folder of a sequence; None if there is none."""
    return next((folder / name for name in TRUTH_FILES if (folder / name).is_file()), None)


def _bare_truth(path: Path) -> list[_SequenceFiles]:
    """Return sequences given by ground truth files alone; none if the folder has sequences in the full layout."""
    if path.is_file() and path.suffix == ".txt":
        if path.name != "gt.txt":
            return [_bare_file(path)]
        folder = path.absolute().parent
        folder = folder.parent if folder.name == "gt" else folder
        return [_find_files(folder)]
    if (path / "gt.txt").is_file():
        return [_find_files(path)]
    if any(map(is_sequence_folder, [path, *subfolders(path)])):
        return []
    inside = [folder for folder in subfolders(path) if (folder / "gt.txt").is_file()]
    if inside or any(subfolders(path)) or files_in(path, ".json"):
        return [_find_files(folder) for folder in inside]
    return [_bare_file(file) for file in files_in(path, ".txt") if "seqmap" not in file.name]


def _bare_file(file: Path) -> _SequenceFiles:
    return _SequenceFiles(file.stem, None, file, file.parent, FrameFiles.empty(), SeqInfo(), Problems())


def _selected(sequences: Many[_SequenceFiles], request: SplitRequest) -> list[str]:
    return [sequence.name for sequence in sequences if request.selects(sequence.name)]


def _read(
    sequences: Many[_SequenceFiles], wanted: Many[str], files: AnnotationFiles, problems: Problems
) -> Iterator[Recording]:
    """Yield the sequences of a split whose names are in ``wanted``.

    Whether frames and images are numbered from 0 or 1 is decided for the whole split, because the first frame of a
    single sequence may have no objects or no image.
    """
    chosen = [sequence for sequence in sequences if sequence.name in wanted]
    missing = [sequence for sequence in chosen if sequence.truth is None]
    if 0 < len(missing) < len(chosen):
        names = list_names(sequence.name for sequence in missing)
        message = f"no gt/gt.txt for {len(missing)} of {len(chosen)} sequences ({names})"
        folder = (missing[0].folder or missing[0].images).parent
        problems.error(
            folder, f"{message}; copy these files, or select the other sequences with a seqmap or --sequences"
        )
        chosen = [sequence for sequence in chosen if sequence.truth is not None]
    tables = {
        sequence.name: _table(sequence, files, problems if sequence in chosen else Problems()) for sequence in sequences
    }
    from_0 = [table.origin.files[0] for table in tables.values() if table is not None and (table.frames == 0).any()]
    first = 0 if from_0 else 1
    named = [sequence.frames for sequence in sequences if sequence.frames.named and len(sequence.frames)]
    first_image = 0 if any(frames.numbers[0] == 0 for frames in named) else 1
    annotated = [sequence.truth for sequence in chosen if sequence.truth is not None]
    if first != first_image and annotated and any(len(sequence.frames) for sequence in chosen):
        message = f"in this split, frames are numbered from {first} and images from {first_image}: "
        problems.note(annotated[0], f"{message}frame {first} is image {first_image}")
    elif from_0 and not any(len(sequence.frames) for sequence in chosen):
        message = "has frame 0: frames are numbered from 0 in the whole split, and from 1 in results"
        problems.note(from_0[0], message)
    found_rules = {table.origin.rules for table in tables.values() if table is not None and len(table)}
    rules = found_rules.pop() if len(found_rules) == 1 else None
    if rules is not None and annotated:
        message = "columns 7 to 10 are those of VisDrone, whose classes and ignored regions apply"
        problems.note(annotated[0], f"{message}, unless dataset.yaml names other classes")
    for sequence in chosen:
        if problems.rejects_name((sequence.folder or sequence.images).parent, "sequence", sequence.name):
            continue
        problems.extend(sequence.problems)
        yield _recording(sequence, tables.pop(sequence.name), first, first_image, rules, problems)


def _table(sequence: _SequenceFiles, files: AnnotationFiles, problems: Problems) -> AnnotationTable | None:
    return None if sequence.truth is None else files.read(sequence.truth, read_truth, problems)


def _recording(
    sequence: _SequenceFiles,
    table: AnnotationTable | None,
    first: int,
    first_image: int,
    rules: str | None,
    problems: Problems,
) -> Recording:
    if table is not None:
        early = table.frames < first
        table.report(early, f"frame {{frame}}: frames are numbered from {first}", problems)
        table = table[~early] if early.any() else table
    known = sequence.info.length or len(sequence.frames)
    last = first - 1 if table is None else int(table.frames.max(initial=first - 1))
    first_name = first_image if sequence.frames.named else 1
    counted = np.arange(first_name, first_name + len(sequence.frames))
    return Recording(
        sequence.name,
        sequence.truth or sequence.folder or sequence.images,
        sequence.frames.files,
        sequence.frames.numbers - first_name + first,
        range(first, first + known if known else last + 1),
        table,
        folder=sequence.folder,
        image_folder=sequence.images,
        first_image=int(sequence.frames.numbers[0]) if len(sequence.frames) else first_image,
        fps=None if sequence.info.fps is None else float(sequence.info.fps),
        gapless=bool((sequence.frames.numbers == counted).all()),
        info=sequence.info,
        length_known=known > 0,
        rules=rules,
    )


def _info_of(file: Path, problems: Problems) -> SeqInfo:
    """Read a seqinfo.ini; report invalid values, in place of which the existing images are used."""
    try:
        info = read_seqinfo(file)
    except SeqInfoError as error:
        problems.note(file, f"cannot be parsed ({error.reason}): not used")
        return SeqInfo(unusable={"seqLength": f"cannot be parsed ({error.reason})"})
    for message in info.unusable.values():
        problems.note(file, f"{message}: not used")
    return info


def classes_by_number(tables: Iterable[AnnotationTable]) -> ClassMap | None:
    """Return one class per class number in the rows that count; None if there is only class 1, or no class."""
    found: set[int] = set()
    for table in tables:
        found.update(np.unique(table.categories[table.marked & ~table.regions]).tolist())
    numbers = sorted(found - {NO_CATEGORY})
    if numbers in ([], [1]):
        return None
    return ClassMap.from_pairs({number: f"class {number}" for number in numbers}, dropped=())


def choose_copies(names: Many[str], detector: DetectorChoice | None = None) -> list[str]:
    """Choose one of the three copies of each MOT17 video, and return the remaining names in order.

    Args:
        names: sequence names in order; names that are not like ``MOT17-02-SDP`` are kept.
        detector: DPM, FRCNN or SDP keeps only these copies, ``all`` every copy; None: SDP, else FRCNN, else DPM.
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


def is_sequence_folder(folder: Path) -> bool:
    """Return whether a folder is a sequence in this layout, even an incomplete one."""
    return (folder / "img1").is_dir() or (folder / "seqinfo.ini").is_file() or (folder / "gt" / "gt.txt").is_file()


def sequences_in(parent: Path, problems: Problems) -> list[Path]:
    """Return the sequence folders in ``parent``, or ``parent`` if it is one; report folders that are no sequence."""
    if is_sequence_folder(parent):
        return [parent]
    sequences = []
    for folder in subfolders(parent):
        if is_sequence_folder(folder):
            sequences.append(folder)
        elif not any(folder.iterdir()):
            problems.error(folder, "the folder is empty: copy the sequence again or remove the folder")
        elif images_in(folder):
            problems.error(folder, f"has images outside img1: move them to {folder.name}/img1")
        else:
            problems.note(folder, "has no img1, gt/gt.txt or seqinfo.ini: left out")
    return sequences


def folders_in_seqmap(seqmap: Path, parent: Path, folders: Many[Path], problems: Problems) -> list[Path]:
    """Return the folders whose names are in a seqmap. Raises UserError like :func:`read_seqmap`."""
    names = set(_known(seqmap, parent, {folder.name for folder in folders}, problems))
    return [folder for folder in folders if folder.name in names]


def _known(seqmap: Path, parent: Path, available: set[str], problems: Problems) -> list[str]:
    """Return the names of a seqmap that are ``available``; report the others as errors."""
    wanted = read_seqmap(seqmap)
    for name, number in wanted.items():
        if name not in available:
            problems.error(seqmap, f"sequence {name} is not in {parent}: copy it there, or remove this line", number)
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
        if len(name) > MAX_NAME_LENGTH:
            raise UserError(
                f"{path}, line {number}: sequence name {brief(name)} is longer than {MAX_NAME_LENGTH} characters"
            )
        if name and (named or name != SEQMAP_HEADING):
            named.setdefault(name, number)
    if not named:
        raise UserError(f"{path}: no sequence names; expected one per line, below the heading {SEQMAP_HEADING!r}")
    return named
