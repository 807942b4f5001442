"""Archive of result files for a benchmark's server.

Servers limit the number of uploads and report few details of errors. Therefore everything that can be checked is
checked here, and an archive with an error is not written.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import get_args

from memotr.data.formats.dataset_format import result_files
from memotr.data.formats.mot_layout import DETECTOR_COPY
from memotr.data.sequences import Sequence as Video
from memotr.data.sequences import list_names
from memotr.errors import UserError
from memotr.files import replacing
from memotr.io.seqinfo import read_seqinfo
from memotr.submission.checked_files import CheckedFile, FileCheck, check_bdd, check_mot
from memotr.vocabulary import Detector, SubmissionFormat

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Time of all archive members, the earliest in zip files. It is constant, so that equal results give equal archives."""


@dataclass(frozen=True)
class Server:
    """Requirements of a benchmark's server.

    Attributes:
        title: name of the benchmark.
        names: pattern of its sequence names.
        splits: split → number of sequences; MOT17's copies of a video count once.
        folder: folder of the files in the archive, with a slash; empty: top level.
        suffix: suffix of the files.
        check: function that checks one file.
    """

    title: str
    names: re.Pattern[str]
    splits: Mapping[str, int]
    folder: str = ""
    suffix: str = ".txt"
    check: FileCheck = check_mot

    def member(self, sequence: str) -> str:
        """Return the name of a sequence's file in the archive."""
        return f"{self.folder}{sequence}{self.suffix}"


SERVERS: Mapping[SubmissionFormat, Server] = {
    "dancetrack": Server(
        "DanceTrack", re.compile(r"dancetrack\d{4}"), {"train": 40, "val": 25, "test": 35}, folder="tracker/"
    ),
    "sportsmot": Server("SportsMOT", re.compile(r"v_.+_c\d+"), {"train": 45, "val": 45, "test": 150}),
    # MOTChallenge's server required both splits in one archive.
    "mot16": Server("MOT16", re.compile(r"MOT16-\d\d"), {"train": 7, "test": 7, "train and test": 14}),
    "mot17": Server("MOT17", DETECTOR_COPY, {"train": 7, "test": 7, "train and test": 14}),
    "mot20": Server("MOT20", re.compile(r"MOT20-\d\d"), {"train": 4, "test": 4, "train and test": 8}),
    "bdd100k": Server(
        "BDD100K",
        re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}"),
        {"train": 1400, "val": 200, "test": 400},
        suffix=".json",
        check=check_bdd,
    ),
}


@dataclass(frozen=True)
class Submission:
    """Archive that has been written, read back and verified.

    Attributes:
        path: path of the archive.
        members: names of its files in order.
        boxes: number of boxes in all files.
        notes: notes for the user about results that are unusual, but no errors.
    """

    path: Path
    members: tuple[str, ...]
    boxes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Item:
    """Result file, its sequence and its names in the archive."""

    video: Video
    file: Path
    members: tuple[str, ...]


def submission_format(names: Sequence[str]) -> SubmissionFormat:
    """Return the benchmark whose sequences have these names.

    Raises:
        UserError: no benchmark has them.
    """
    for format, server in SERVERS.items():
        if names and all(map(server.names.fullmatch, names)):
            return format
    raise UserError(f"sequences named {list_names(names)} are of no benchmark with a server: {', '.join(SERVERS)}")


def write_submission(
    format: SubmissionFormat,
    sequences: Sequence[Video],
    results: Path,
    archive: Path,
    *,
    partial: bool = False,
    progress: Callable[[str, int], None] | None = None,
    if_empty: str = "",
) -> Submission:
    """Check the results of a split, pack them, and verify the archive before it gets its name.

    Args:
        format: benchmark whose server the archive is for.
        sequences: all sequences of the archive. One of MOT17's three copies of a video is enough: unless all copies
            have results, one result is packed under all three names.
        results: folder with ``<sequence>.txt`` (MOTChallenge text), or ``<sequence>.json`` for BDD100K; or the output
            folder of ``memotr eval``.
        archive: zip file to write. An existing one is replaced only by a verified one.
        partial: accept sequences that are not a complete split of the benchmark or have other names, for trials.
        progress: called with (member, total number of steps) when a file is packed, and again when it is verified.
        if_empty: explanation for the error if there is no box in any file.

    Raises:
        UserError: the sequences are not those of the benchmark, a result file is missing or has an error (with its
            line), no file has a box, or the archive cannot be written or read back.
    """
    server = SERVERS[format]
    if archive.suffix != ".zip":
        raise UserError(f"{archive}: servers take zip archives; name it {archive.stem}.zip")
    notes = check_split(format, sequences, partial=partial)
    names = {name for video in sequences for name in (video.name, *_copies(_scene(video.name)))}
    files = result_files(results, server.suffix, names)
    plan = _plan_mot17 if format == "mot17" else _plan
    items = plan(server, sequences, files, results)
    steps = 2 * sum(len(item.members) for item in items)
    step = (lambda member: progress(member, steps)) if progress is not None else (lambda member: None)
    with replacing(archive) as draft:
        checked = _pack(draft, items, server.check, step)
        if not any(found.boxes for found in checked):
            message = f"{results}: no boxes in any of {len(items)} result files"
            raise UserError(f"{message}: {if_empty}" if if_empty else message)
        _verify(draft, items, checked, step)
    used = {item.file for item in items}
    surplus = [name for name, file in files.items() if file not in used]
    notes += _notes(items, checked, surplus)
    members = tuple(member for item in items for member in item.members)
    boxes = sum(len(item.members) * found.boxes for item, found in zip(items, checked, strict=True))
    return Submission(archive, members, boxes, tuple(notes))


def check_split(format: SubmissionFormat, sequences: Sequence[Video], *, partial: bool) -> list[str]:
    """Return a note if the sequences are not a split of the benchmark, or raise UserError unless ``partial``."""
    problem = _not_a_split(SERVERS[format], sequences)
    if problem is not None and not partial:
        raise UserError(f"{problem}; complete the data set, or write an archive for trials with --partial")
    return [] if problem is None else [problem]


def _not_a_split(server: Server, sequences: Sequence[Video]) -> str | None:
    """Return why these sequences are not a split of the benchmark; None if they are one."""
    unknown = [video.name for video in sequences if not server.names.fullmatch(video.name)]
    if unknown:
        return f"{server.title} has no sequence named {list_names(unknown)}"
    for video in sequences:
        declared = read_seqinfo(video.frames[0].parent.parent / "seqinfo.ini").length
        if declared is not None and declared > len(video):
            return f"{video.name} has {len(video)} of its {declared} images (seqLength in seqinfo.ini)"
    number = len({_scene(video.name) for video in sequences})
    if number in server.splits.values():
        return None
    splits = ", ".join(f"{count} ({name})" for name, count in server.splits.items())
    return f"{number} sequence{'s' * (number != 1)} to submit, and {server.title} has {splits}"


def _scene(name: str) -> str:
    """Return a sequence name without the detector of MOT17's copies; other names do not change."""
    match = DETECTOR_COPY.fullmatch(name)
    return match["scene"] if match else name


def _plan(server: Server, sequences: Sequence[Video], files: Mapping[str, Path], results: Path) -> list[_Item]:
    _refuse_missing([video.name for video in sequences if video.name not in files], len(sequences), results)
    return [_Item(video, files[video.name], (server.member(video.name),)) for video in sequences]


def _plan_mot17(server: Server, sequences: Sequence[Video], files: Mapping[str, Path], results: Path) -> list[_Item]:
    """Return one item per video if only one of its copies has results, else one per copy."""
    videos = {_scene(video.name): video for video in sequences}
    copies = {scene: [name for name in _copies(scene) if name in files] for scene in videos}
    _refuse_missing([scene for scene, names in copies.items() if not names], len(videos), results)
    for scene, names in copies.items():
        if 1 < len(names) < len(get_args(Detector)):
            lacking = next(name for name in _copies(scene) if name not in names)
            raise UserError(
                f"{results}: no {lacking}.txt, but {' and '.join(names)}; keep one, which is then used for all three "
                "copies, or add the missing ones"
            )
    items = []
    for scene, names in copies.items():
        groups = [_copies(scene)] if len(names) == 1 else [(name,) for name in names]
        items += [
            _Item(videos[scene], files[name], tuple(map(server.member, group)))
            for name, group in zip(names, groups, strict=True)
        ]
    return items


def _copies(scene: str) -> tuple[str, ...]:
    return tuple(f"{scene}-{detector}" for detector in get_args(Detector))


def _refuse_missing(missing: Sequence[str], number: int, results: Path) -> None:
    if missing:
        raise UserError(f"{results}: no results for {len(missing)} of {number} sequences ({list_names(missing)})")


def _pack(path: Path, items: Sequence[_Item], check: FileCheck, step: Callable[[str], None]) -> list[CheckedFile]:
    """Write the archive, and return the checked files with a hash instead of their texts."""
    checked = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            found = check(item.file, item.video)
            for member in item.members:
                info = zipfile.ZipInfo(member, EARLIEST)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                info.create_system = 3  # Unix, on every platform
                archive.writestr(info, found.text.encode("ascii"))
                step(member)
            checked.append(replace(found, text=sha256(found.text.encode("ascii")).hexdigest()))
    return checked


def _verify(path: Path, items: Sequence[_Item], checked: Sequence[CheckedFile], step: Callable[[str], None]) -> None:
    """Raise UserError unless the archive has all members, each equal to the checked text of its file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.namelist() != [member for item in items for member in item.members]:
                raise UserError(f"{path}: its files are not those that were written; is the disk failing?")
            for item, found in zip(items, checked, strict=True):
                for member in item.members:
                    if sha256(archive.read(member)).hexdigest() != found.text:
                        raise UserError(f"{path}: {member} differs from what was written; is the disk failing?")
                    step(member)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be read back ({error}); is the disk failing?") from error


def _notes(items: Sequence[_Item], checked: Sequence[CheckedFile], surplus: Sequence[str]) -> list[str]:
    pairs = list(zip(items, checked, strict=True))
    copied = [_scene(item.video.name) for item in items if len(item.members) > 1]
    empty = [item.file.name for item, found in pairs if not found.boxes]
    shifted = [item.file.name for item, found in pairs if found.shifted]
    outside = [f"{item.file.name} ({found.outside} of {found.boxes})" for item, found in pairs if found.outside]
    found = {
        "one result is used for all three copies of": copied,
        "no boxes in": empty,
        "ids begin at 0, so 1 is added to them": shifted,
        "boxes outside their image; is their unit pixels?": outside,
        "result files that belong to no sequence of the split, left out": surplus,
    }
    return [f"{text}: {list_names(names)}" for text, names in found.items() if names]
