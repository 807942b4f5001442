"""Where the ground truth of every sequence lies: MOTChallenge folders as data sets come, and one's own flatter ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memotr.config import DataFormat
from memotr.data.formats.frame_files import images_in, subfolders
from memotr.data.formats.frame_numbers import first_in_truth
from memotr.data.formats.mot import looks_like_sequence
from memotr.data.formats.seqmap import read_seqmap
from memotr.data.layouts import WHOLE, Layout, recognise
from memotr.errors import UserError
from memotr.evaluation.names import fits, shortened
from memotr.io.seqinfo import read_seqinfo

TRUTH_FILES = ("gt/gt.txt", "gt.txt")  # in the folder of a sequence


@dataclass(frozen=True)
class TruthFile:
    """One sequence on disk.

    Attributes:
        name: of the sequence, and so of its result file.
        file: its ground truth.
        folder: of the sequence, with ``seqinfo.ini`` or ``img1`` perhaps; None where one folder has all ground truth.
    """

    name: str
    file: Path
    folder: Path | None

    def length(self) -> int | None:
        """Number of frames: ``seqLength`` of seqinfo.ini, else the number of images; None where neither is there.

        Raises:
            UserError: seqinfo.ini cannot be read, or its seqLength is no number of frames.
        """
        if self.folder is None:
            return None
        file = self.folder / "seqinfo.ini"
        info = read_seqinfo(file)
        for key in ("seqLength", "imDir"):
            if key in info.unusable:
                raise UserError(f"{file}: {info.unusable[key]}; correct it, or remove the line to count the images")
        return info.length or len(images_in(self.folder / info.image_folder)) or None


@dataclass(frozen=True)
class TruthFolder:
    """The sequences of one split.

    Attributes:
        path: folder they lie in.
        files: name → ground truth, by name; None for sequences that have none.
        layout: what the folder was recognised as; None for flat ones.
        first_frame: what the files count frames from, 0 or 1.
    """

    path: Path
    files: Mapping[str, TruthFile | None]
    layout: Layout | None
    first_frame: int = 1


def find_truth(
    path: Path, *, split: str | None, seqmap: Path | None, only: Sequence[str], layout: DataFormat = "auto"
) -> tuple[TruthFolder, list[str]]:
    """Files of ground truth.

    Args:
        path: a data set (``split`` says which part), a folder of sequences (``<name>/gt/gt.txt``, ``<name>/gt.txt`` or
            ``<name>.txt``), one sequence, or its file.
        split: a part of the data set, such as ``val``.
        seqmap: text file that names the sequences to score; None: ``<split>_seqmap.txt`` of the data set, else all.
        only: patterns of names (``MOT17-*-SDP``): sequences that none of them fits are left out; empty: all.
        layout: how the files lie, where that is not to be seen from the folder.

    Returns:
        The folder, and the names of the sequences to score; each of them has a file.

    Raises:
        UserError: there is no such folder, split or sequence, or no ground truth for a sequence.
    """
    folder = _flat(path) if split is None else None
    if folder is None:
        folder, usual = _recognised(path, split, layout)
        seqmap = seqmap or usual
    names = list(folder.files) if seqmap is None else _named_in(seqmap, folder)
    # Before patterns choose among them: one sequence cannot tell what the split counts from.
    truths = [file.file for name in names if (file := folder.files[name]) is not None]
    folder = replace(folder, first_frame=first_in_truth(truths))
    names = fits(names, only)
    if not names:
        raise UserError(f"{folder.path}: no sequence is named {' or '.join(only)}; there are {shortened(folder.files)}")
    missing = [name for name in names if folder.files[name] is None]
    if missing and not any(folder.files.values()):
        raise UserError(
            f"{folder.path}: ground truth (gt/gt.txt) is absent for this split; test splits are scored by their servers"
        )
    if missing:
        raise UserError(
            f"{folder.path}: no gt/gt.txt for {len(missing)} of {len(names)} sequences ({shortened(missing)}); "
            "name those to score with --seqmap or --sequences"
        )
    return folder, names


def _named_in(seqmap: Path, folder: TruthFolder) -> list[str]:
    named = read_seqmap(seqmap)
    for name, number in named.items():
        if name not in folder.files:
            raise UserError(f"{seqmap}, line {number}: {name} is not in {folder.path}")
    return list(named)


def _flat(path: Path) -> TruthFolder | None:
    """The layouts of one's own that are not of a data set: ``<name>.txt``, or ``<name>/gt.txt``."""
    if path.is_file():
        name = path.stem
        folder: Path | None = None
        if path.name == "gt.txt":
            folder = path.absolute().parent
            folder = folder.parent if folder.name == "gt" else folder
            name = folder.name
        return TruthFolder(path, {name: TruthFile(name, path, folder)}, None)
    if (path / "gt.txt").is_file():
        name = _name(path)
        return TruthFolder(path, {name: TruthFile(name, path / "gt.txt", path)}, None)
    if any(map(looks_like_sequence, [path, *subfolders(path)])):
        return None
    inside = [folder for folder in subfolders(path) if (folder / "gt.txt").is_file()]
    if inside:
        return TruthFolder(path, _in_folders(inside), None)
    files = sorted(file for file in path.glob("*.txt") if "seqmap" not in file.name)
    files = [] if any(subfolders(path)) else files
    return TruthFolder(path, {file.stem: TruthFile(file.stem, file, None) for file in files}, None) if files else None


def _recognised(path: Path, split: str | None, format: DataFormat) -> tuple[TruthFolder, Path | None]:
    """A folder of the data set's layout, and the seqmap of the split where there is one."""
    layout = recognise(path, format)
    if split is None:
        if len(layout.splits) > 1:
            raise UserError(f"{path}: has the splits {', '.join(layout.splits)}; say which with --split")
        split = next(iter(layout.splits))
    elif WHOLE in layout.splits and path.name == split:
        split = WHOLE
    if split not in layout.splits:
        there = "is not divided into splits" if WHOLE in layout.splits else f"has {', '.join(layout.splits)}"
        raise UserError(f"{path}: no split {split!r}; it {there}")
    folder = layout.splits[split]
    named = (layout.settings.seqmaps or {}).get(split)
    usual = path / (named or f"{split}_seqmap.txt")
    sequences = [folder] if looks_like_sequence(folder) else [f for f in subfolders(folder) if looks_like_sequence(f)]
    return TruthFolder(folder, _in_folders(sequences), layout), usual if usual.is_file() or named else None


def _in_folders(folders: Sequence[Path]) -> dict[str, TruthFile | None]:
    files: dict[str, TruthFile | None] = {}
    for folder in folders:
        name = _name(folder)
        there = [folder / file for file in TRUTH_FILES if (folder / file).is_file()]
        files[name] = TruthFile(name, there[0], folder) if there else None
    return files


def _name(folder: Path) -> str:
    """Also of ``.``; of a link its own."""
    return folder.name or folder.resolve().name
