"""MOTChallenge layout: ``<seq>/{img1/*.jpg, gt/gt.txt, seqinfo.ini}``.

DanceTrack, SportsMOT, MOT17, MOT20 and MOTSynth come like this, and it is the easiest layout for own data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memotr.data.formats.box_table import BoxTable
from memotr.data.formats.classes import ClassMap
from memotr.data.formats.frame_files import FrameFiles, images_in, list_frames, size_of, subfolders
from memotr.data.formats.frame_numbers import FrameNumbers
from memotr.data.formats.problems import Problems
from memotr.data.formats.seqmap import read_seqmap
from memotr.data.sequences import FrameBoxes, Sequence
from memotr.documents import DocumentError, brief, read_text
from memotr.io.seqinfo import SeqInfo, SeqInfoError, read_seqinfo

PERSON = ClassMap.of({1: "person"})
COLUMNS = "frame, id, left, top, width, height[, mark, class, visibility]"
NO_CLASS = -1
DETECTOR_COPY = re.compile(r"(?P<scene>MOT17-\d+)-(?P<detector>DPM|FRCNN|SDP)")  # MOT17 has every video three times


@dataclass(frozen=True)
class MotRules:
    """What of a ground-truth file counts. Rows with mark 0 never do.

    Attributes:
        classes: names of the numbers in the class column.
        whole_pixels: left, top, width and height lose what is behind the point (MOT17 as published).
        visible_only: rows of visibility 0 do not count (MOTSynth as published).
    """

    classes: ClassMap = PERSON
    whole_pixels: bool = False
    visible_only: bool = False


@dataclass(frozen=True, eq=False)
class GroundTruthRows:
    """Rows of a gt.txt as they stand there.

    Attributes:
        values: (N, 6 to 10) float64.
        lines: (N,) int64, line numbers from 1.
    """

    values: NDArray[np.float64]
    lines: NDArray[np.int64]

    @property
    def marks(self) -> NDArray[np.float64]:
        """(N,) 0 where a row is to be ignored."""
        return self.values[:, 6] if self.values.shape[1] > 6 else np.ones(len(self.values))

    @property
    def classes(self) -> NDArray[np.int64]:
        """(N,) numbers of classes; −1 where the file has none (10 columns are MOT15: 8 to 10 are world coordinates)."""
        if self.values.shape[1] not in (8, 9):
            return np.full(len(self.values), NO_CLASS)
        return self.values[:, 7].astype(np.int64)

    @property
    def visibility(self) -> NDArray[np.float64]:
        """(N,) in [0, 1]; 1 where the file has none."""
        return self.values[:, 8] if self.values.shape[1] == 9 else np.ones(len(self.values))

    def __getitem__(self, index: NDArray[np.bool_]) -> GroundTruthRows:
        return GroundTruthRows(self.values[index], self.lines[index])


@dataclass(frozen=True, eq=False)
class _Found:
    """A sequence before its boxes are read."""

    folder: Path
    info: SeqInfo
    images: Path
    frames: FrameFiles

    @property
    def truth(self) -> Path:
        return self.folder / "gt" / "gt.txt"


def read_sequences(
    folders: Many[Path],
    rules: MotRules,
    problems: Problems,
    *,
    only: Many[Path] | None = None,
    images: Callable[[Path], Path] | None = None,
) -> Iterator[Sequence]:
    """The sequences of a split, each read when asked for. Those without images are errors and not returned.

    Args:
        folders: all of the split, for they decide together what frames are counted from. Each holds ``gt/gt.txt``
            (without it the sequence has no ground truth), perhaps ``seqinfo.ini``, and images.
        rules: which rows count, and as what.
        problems: takes what is wrong.
        only: those that are returned; None: all.
        images: folder of a sequence's images where that is not ``img1`` (or ``imDir`` of seqinfo.ini) in its own.
    """
    wanted = list(folders if only is None else only)
    found = [_find(folder, images, problems) for folder in wanted]
    others = [_find(folder, images, Problems()) for folder in folders if folder not in set(wanted)]
    numbers = FrameNumbers.of((one.truth for one in found + others), (one.frames for one in found + others))
    annotated = [one.truth for one in found if one.truth.is_file()]
    if numbers.truth != numbers.images and annotated:
        first = f"frame {numbers.truth} is image {numbers.images}"
        message = f"frames are numbered from {numbers.truth}, images from {numbers.images}, in the whole split: {first}"
        problems.note(annotated[0], message)
    for one in found:
        if len(one.frames):
            yield _read(one, rules, numbers, problems)
        else:
            problems.error(one.images, "no images here; copy the images of the sequence to this folder")


def _find(folder: Path, images: Callable[[Path], Path] | None, problems: Problems) -> _Found:
    info = _info_of(folder / "seqinfo.ini", problems)
    place = folder / info.image_folder if images is None else images(folder)
    return _Found(folder, info, place, list_frames(place))


def _read(found: _Found, rules: MotRules, numbers: FrameNumbers, problems: Problems) -> Sequence:
    folder, frames = found.folder, found.frames
    size = size_of(frames.files, problems) or found.info.size
    _compare(found.info, folder / "seqinfo.ini", frames, size, problems)
    boxes = _read_boxes(found.truth, frames, numbers, size, rules, problems) if found.truth.is_file() else None
    return Sequence(
        folder.name or folder.absolute().name,  # "." has none
        frames.files,
        boxes,
        rules.classes.names,
        None if found.info.fps is None else float(found.info.fps),
        size,
        first_frame=int(frames.numbers[0]),
        gapless=numbers.gapless(frames),
    )


def _info_of(file: Path, problems: Problems) -> SeqInfo:
    """What seqinfo.ini says; the images that are there count, so what cannot be understood is only noted."""
    try:
        info = read_seqinfo(file)
    except SeqInfoError as error:
        problems.note(file, f"cannot be understood ({error.reason}): not used")
        return SeqInfo()
    for message in info.unusable.values():
        problems.note(file, f"{message}: not used")
    return info


def _compare(info: SeqInfo, file: Path, frames: FrameFiles, size: tuple[int, int] | None, problems: Problems) -> None:
    """Notes where the images say something else than each other, or than seqinfo.ini (``file``)."""
    missing = int(frames.numbers[-1] - frames.numbers[0]) + 1 - len(frames)
    if missing:
        folder = frames.files[0].parent
        problems.note(folder, f"images missing between the others, which count as neighbours: {missing:,}")
    if info.length is not None and info.length > len(frames):
        message = f"seqLength={info.length}, but there are {len(frames):,} images: those that are there are used"
        problems.note(file, message)
    if info.size is not None and size is not None and info.size != size:
        found, said = f"{size[1]}×{size[0]}", f"{info.size[1]}×{info.size[0]}"
        problems.note(file, f"says {said}, images are {found}: boxes are taken to be in pixels of the images")


def one_copy_each(folders: Many[Path], detector: str | None = None) -> list[Path]:
    """MOT17 has each video three times, for three detectors, with the same images and ground truth: one of each.

    Args:
        folders: sequences, in order; those not named like ``MOT17-02-SDP`` all stay.
        detector: DPM, FRCNN or SDP takes those copies, ``all`` every copy; None: SDP where it is, else another.
    """
    if detector == "all":
        return list(folders)
    wanted = (detector,) if detector else ("SDP", "FRCNN", "DPM")
    best: dict[str, tuple[int, Path]] = {}
    for folder in folders:
        match = DETECTOR_COPY.fullmatch(folder.name)
        scene, copy = (match["scene"], match["detector"]) if match else (folder.name, wanted[0])
        if copy in wanted and (scene not in best or wanted.index(copy) < best[scene][0]):
            best[scene] = (wanted.index(copy), folder)
    chosen = {folder for _, folder in best.values()}
    return [folder for folder in folders if folder in chosen]


def looks_like_sequence(folder: Path) -> bool:
    """Whether a folder is a sequence in this layout, complete or not."""
    return (folder / "img1").is_dir() or (folder / "seqinfo.ini").is_file() or (folder / "gt" / "gt.txt").is_file()


def class_numbers(files: Iterable[Path]) -> set[int]:
    """The class numbers of all rows that count, in all of these gt.txt; −1 for files without such a column."""
    found: set[int] = set()
    for file in files:
        untold = Problems()  # what is wrong is told where the boxes are read
        rows = _whole_numbers(file, read_rows(file, untold), untold)
        found.update(np.unique(rows[rows.marks != 0].classes).tolist())
    return found


def read_rows(file: Path, problems: Problems) -> GroundTruthRows:
    """All rows of a gt.txt that can be understood, whatever their mark and class."""
    try:
        lines = read_text(file).splitlines()
    except DocumentError as error:
        problems.unreadable(file, error)
        lines = []
    numbers = np.array([k for k, line in enumerate(lines, 1) if line and not line.isspace()], np.int64)
    if not len(numbers):
        return GroundTruthRows(np.zeros((0, 9)), numbers)
    if len(numbers) < len(lines):
        lines = [lines[k - 1] for k in numbers.tolist()]
    try:
        values = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return _read_rows_slowly(file, lines, numbers, problems)
    if not 6 <= values.shape[1] <= 10:
        return _read_rows_slowly(file, lines, numbers, problems)
    return GroundTruthRows(values, numbers)


def _read_rows_slowly(file: Path, lines: list[str], numbers: NDArray[np.int64], problems: Problems) -> GroundTruthRows:
    """The good rows among bad ones, each of which is told."""
    good: list[tuple[int, list[float]]] = []
    for number, line in zip(numbers.tolist(), lines, strict=True):
        parts = line.split(",")
        try:
            if not 6 <= len(parts) <= 10:
                raise ValueError(f"expected 6 to 10 values separated by commas ({COLUMNS}), found {len(parts)}")
            if good and len(parts) != len(good[0][1]):
                raise ValueError(f"found {len(parts)} values, line {good[0][0]} has {len(good[0][1])}")
            good.append((number, [_number(part) for part in parts]))
        except ValueError as error:
            problems.error(file, str(error), number)
    width = len(good[0][1]) if good else 9
    values = np.array([row for _, row in good], np.float64).reshape(-1, width)
    return GroundTruthRows(values, np.array([number for number, _ in good], np.int64))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{brief(text.strip())} is not a number; columns are {COLUMNS}") from None


def _read_boxes(
    file: Path,
    frames: FrameFiles,
    numbers: FrameNumbers,
    size: tuple[int, int] | None,
    rules: MotRules,
    problems: Problems,
) -> tuple[FrameBoxes, ...]:
    rows = read_rows(file, problems)
    if not len(rows.values):
        problems.note(file, "no rows: every frame counts as one without objects")
    rows = _whole_numbers(file, rows, problems)
    rows = rows[(rows.marks != 0) & ((rows.visibility > 0) | (not rules.visible_only))]
    rows, labels = _label(file, rows, rules.classes, problems)
    position, with_image = _frame_positions(file, rows.values[:, 0].astype(np.int64), numbers, frames, problems)
    rows, labels = rows[with_image], labels[with_image]
    xywh = np.trunc(rows.values[:, 2:6]) if rules.whole_pixels else rows.values[:, 2:6]
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    lines = rows.lines.tolist()
    table = BoxTable(position, rows.values[:, 1].astype(np.int64), labels, boxes, lambda k: (file, lines[k]))
    return table.by_frame(len(frames), size, problems)


def _whole_numbers(file: Path, rows: GroundTruthRows, problems: Problems) -> GroundTruthRows:
    """Rows whose frame, id and class are whole numbers, and whose mark is a number."""
    checked = {0: "frame", 1: "id"} | ({7: "class"} if rows.values.shape[1] in (8, 9) else {})
    good = np.ones(len(rows.values), bool)
    for column, name in checked.items():
        values = rows.values[:, column]
        whole = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2**53)
        for k in np.flatnonzero(~whole).tolist():
            problems.error(file, f"{name} {values[k]:g} is not a whole number", int(rows.lines[k]))
        good &= whole
    unmarked = ~np.isfinite(rows.marks)
    for k in np.flatnonzero(unmarked).tolist():
        problems.error(file, f"mark {rows.marks[k]:g} (column 7) is not a number", int(rows.lines[k]))
    return rows[good & ~unmarked]


def _label(
    file: Path, rows: GroundTruthRows, classes: ClassMap, problems: Problems
) -> tuple[GroundTruthRows, NDArray[np.int64]]:
    """The rows whose class counts, with their labels (N,)."""
    numbers = rows.classes
    labels = np.full(len(numbers), -1)
    for number in np.unique(numbers).tolist():
        here = numbers == number
        if number in classes.labels:
            labels[here] = classes.labels[number]
        elif number == NO_CLASS and len(classes.names) == 1:
            labels[here] = 0
        elif not classes.drops(number):
            for line in rows.lines[here].tolist():
                message = f"class {number} has no name; the classes are {', '.join(classes.names)} (dataset.yaml)"
                problems.error(file, message, line)
    known = labels >= 0
    return rows[known], labels[known]


def _frame_positions(
    file: Path, frame: NDArray[np.int64], numbers: FrameNumbers, frames: FrameFiles, problems: Problems
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where in the sequence the frames with these numbers stand (of those that have an image), and which have one."""
    position, found = numbers.positions(frame, frames)
    if len(frame) and not found.any():
        images = f"{frames.files[0].name} to {frames.files[-1].name}"
        problems.error(file, f"has frames {frame.min()} to {frame.max()}, none of which is an image ({images})")
    elif not found.all():
        lost = frame[~found]
        span = f"{lost.min()} to {lost.max()}" if lost.min() < lost.max() else f"{lost.min()}"
        problems.note(file, f"{len(lost):,} boxes are of frames without an image (frames {span}): left out")
    return position, found


def missing_ground_truth(folders: Many[Path]) -> list[Path]:
    """The gt.txt that are not there."""
    files = [folder / "gt" / "gt.txt" for folder in folders]
    return [file for file in files if not file.is_file()]


def sequences_in(parent: Path, problems: Problems) -> list[Path]:
    """The sequences in a folder, or the folder where it is one; folders that look like broken sequences are errors."""
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
    """Those of the folders that a seqmap names.

    Raises:
        UserError: as :func:`read_seqmap`.
    """
    wanted = read_seqmap(seqmap)
    there = {folder.name for folder in folders}
    for name, number in wanted.items():
        if name not in there:
            problems.error(seqmap, f"sequence {name} is not in {parent}: copy it there or remove this line", number)
    others = len(there - set(wanted))
    if others:
        problems.note(seqmap, f"does not name {others:,} of the sequences in {parent}: left out")
    return [folder for folder in folders if folder.name in wanted]
