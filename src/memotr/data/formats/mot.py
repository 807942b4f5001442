"""MOTChallenge layout: ``<seq>/{img1/*.jpg, gt/gt.txt, seqinfo.ini}``, and its relatives MOT17 and MOTSynth.

DanceTrack, SportsMOT, MOT17, MOT20 and MOTSynth come like this, and it is the easiest layout for own data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memotr.data.annotations import NO_CATEGORY, AnnotationTable
from memotr.data.formats.classes import ClassMap
from memotr.data.formats.dataset_format import WHOLE, AnnotationFiles, DatasetFormat, Detector, SplitRequest
from memotr.data.formats.frame_files import FrameFiles, images_in, list_frames, subfolders
from memotr.data.formats.mot_text import MOT_RESULTS, read_truth
from memotr.data.formats.seqmap import read_seqmap
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, list_names
from memotr.io.seqinfo import SeqInfo, SeqInfoError, read_seqinfo

DETECTOR_COPY = re.compile(r"(?P<scene>MOT17-\d+)-(?P<detector>DPM|FRCNN|SDP)")  # MOT17 has every video three times
TRUTH_FILES = ("gt/gt.txt", "gt.txt")  # in the folder of a sequence


class Mot(DatasetFormat):
    """Folders of sequences, in folders of splits or not."""

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
        every = [_find(folder, folder, request.images) for folder in folders]
        wanted = one_copy_each([one.name for one in every if request.wants(one.name)], request.detector)
        yield from _read(every, set(wanted), request.files, problems)

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        folders = [folder for split in splits.values() for folder in [split, *subfolders(split)]]
        truths = [truth for folder in folders if (truth := truth_in(folder)) is not None]
        tables = [files.read(truth, read_truth, Problems()) for truth in truths]  # problems are reported by read()
        return numbered(table for table in tables)


class Mot17(Mot):
    """MOT17: sequences named for one of three detectors, all three with the same images and ground truth."""

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
        every = [_find(request.place / folder.name, folder / "rgb", request.images) for folder in folders]
        yield from _read(every, {one.name for one in every if request.wants(one.name)}, request.files, problems)


class MotTruth(Mot):
    """Ground truth without images, as only scoring takes it: ``<name>.txt``, ``<name>/gt.txt``, or one such file."""

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
class _Found:
    """A sequence before its annotations are read.

    Attributes:
        name: of the sequence.
        folder: of the sequence; None where one folder has the ground truth of many.
        truth: its ground truth; None where it has none.
        images: folder of its images.
        frames: images in it.
        info: of its seqinfo.ini.
        problems: notes about that.
    """

    name: str
    folder: Path | None
    truth: Path | None
    images: Path
    frames: FrameFiles
    info: SeqInfo
    problems: Problems


def _find(folder: Path, images: Path, needed: bool = False) -> _Found:
    """Look at a sequence.

    Args:
        folder: of its ground truth and seqinfo.ini.
        images: the same where images are in ``img1`` or the folder that seqinfo.ini names; else their own folder.
        needed: list the images even if seqinfo.ini says how many there are.
    """
    problems = Problems()
    info = _info_of(folder / "seqinfo.ini", problems)
    place = folder / info.image_folder if images is folder else images
    name = folder.name or folder.absolute().name  # "." has none
    frames = list_frames(place) if needed or info.length is None else FrameFiles((), np.zeros(0, np.int64))
    return _Found(name, folder, truth_in(folder), place, frames, info, problems)


def truth_in(folder: Path) -> Path | None:
    """Return the ground truth of a sequence, if it has any."""
    return next((folder / name for name in TRUTH_FILES if (folder / name).is_file()), None)


def _truth_alone(path: Path) -> list[_Found]:
    """Return what there is of ground truth without the folders of a data set, none where there is such a folder."""
    if path.is_file() and path.suffix == ".txt":
        if path.name != "gt.txt":
            return [_file_alone(path)]
        folder = path.absolute().parent
        folder = folder.parent if folder.name == "gt" else folder
        return [_find(folder, folder)]
    if (path / "gt.txt").is_file():
        return [_find(path, path)]
    if any(map(looks_like_sequence, [path, *subfolders(path)])):
        return []
    inside = [folder for folder in subfolders(path) if (folder / "gt.txt").is_file()]
    if inside or any(subfolders(path)) or any(path.glob("*.json")):
        return [_find(folder, folder) for folder in inside]
    return [_file_alone(file) for file in sorted(path.glob("*.txt")) if "seqmap" not in file.name]


def _file_alone(file: Path) -> _Found:
    return _Found(file.stem, None, file, file.parent, list_frames(file), SeqInfo(), Problems())


def _read(every: Many[_Found], wanted: set[str], files: AnnotationFiles, problems: Problems) -> Iterator[Recording]:
    """Yield those of the sequences of a split that are wanted.

    All of them decide together what frames and images are counted from: the first or last frame of a single one may be
    without objects, or without its image.
    """
    chosen = [one for one in every if one.name in wanted]
    missing = [one for one in chosen if one.truth is None]
    if 0 < len(missing) < len(chosen):
        what = f"no gt/gt.txt for {len(missing)} of {len(chosen)} sequences ({list_names(one.name for one in missing)})"
        folder = (missing[0].folder or missing[0].images).parent
        problems.error(folder, f"{what}; copy them, or name the others in a seqmap or by --sequences")
        chosen = [one for one in chosen if one.truth is not None]
    tables = {one.name: _table(one, files, problems if one in chosen else Problems()) for one in every}
    first = 0 if any((table.frames == 0).any() for table in tables.values() if table is not None) else 1
    first_image = 0 if any(one.frames.named and len(one.frames) and one.frames.numbers[0] == 0 for one in every) else 1
    annotated = [one.truth for one in chosen if one.truth is not None]
    if first != first_image and annotated and any(len(one.frames) for one in chosen):
        message = f"frames are numbered from {first}, images from {first_image}, in the whole split: "
        problems.note(annotated[0], f"{message}frame {first} is image {first_image}")
    for one in chosen:
        if problems.refuses_name((one.folder or one.images).parent, "sequence", one.name):
            continue
        problems.extend(one.problems)
        yield _recording(one, tables.pop(one.name), first, first_image, problems)


def _table(one: _Found, files: AnnotationFiles, problems: Problems) -> AnnotationTable | None:
    return None if one.truth is None else files.read(one.truth, read_truth, problems)


def _recording(
    one: _Found, table: AnnotationTable | None, first: int, first_image: int, problems: Problems
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
    )


def _info_of(file: Path, problems: Problems) -> SeqInfo:
    """Return what seqinfo.ini says; what cannot be understood is only noted, for the images that are there count."""
    try:
        info = read_seqinfo(file)
    except SeqInfoError as error:
        problems.note(file, f"cannot be understood ({error.reason}): not used")
        return SeqInfo(unusable={"seqLength": f"cannot be understood ({error.reason})"})
    for message in info.unusable.values():
        problems.note(file, f"{message}: not used")
    return info


def numbered(tables: Iterable[AnnotationTable]) -> ClassMap | None:
    """Return a class for each number of rows that count; None where there is but 1, or none at all."""
    found: set[int] = set()
    for table in tables:
        found.update(np.unique(table.categories[table.marked]).tolist())
    numbers = sorted(found - {NO_CATEGORY})
    if numbers in ([], [1]):
        return None
    return ClassMap.of({number: f"class {number}" for number in numbers}, left_out=())


def one_copy_each(names: Many[str], detector: Detector | None = None) -> list[str]:
    """Return one of MOT17's three copies of each video, which have the same images and ground truth.

    Args:
        names: of sequences, in order; those not named like ``MOT17-02-SDP`` all stay.
        detector: DPM, FRCNN or SDP takes those copies, ``all`` every copy; None: SDP where it is, else another.
    """
    if detector == "all":
        return list(names)
    wanted = (detector,) if detector else ("SDP", "FRCNN", "DPM")
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
    """Return the sequences in a folder, or the folder where it is one; folders like broken sequences are errors."""
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
    """Return those of the folders that a seqmap names. Raises UserError as :func:`read_seqmap`."""
    names = set(_known(seqmap, parent, {folder.name for folder in folders}, problems))
    return [folder for folder in folders if folder.name in names]


def _known(seqmap: Path, parent: Path, there: set[str], problems: Problems) -> list[str]:
    """Return the names in a seqmap; those that are not ``there`` are errors."""
    wanted = read_seqmap(seqmap)
    for name, number in wanted.items():
        if name not in there:
            problems.error(seqmap, f"sequence {name} is not in {parent}: copy it there or remove this line", number)
    others = len(there - set(wanted))
    if others:
        problems.note(seqmap, f"does not name {others:,} of the sequences in {parent}: left out")
    return [name for name in wanted if name in there]
