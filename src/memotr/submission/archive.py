"""The archive that a benchmark's server takes, from a folder of result files.

Servers that hold the ground truth of test splits say little about what is wrong with an archive, and allow few of them:
everything that can be known beforehand is checked here, and an archive that fails is not written.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from memotr.data.formats.mot import DETECTOR_COPY
from memotr.data.sequences import Sequence as Video
from memotr.data.sequences import list_names
from memotr.errors import UserError
from memotr.files import replacing
from memotr.io.seqinfo import read_seqinfo
from memotr.submission.checked_files import CheckedFile, FileCheck, check_bdd, check_mot

SubmissionFormat = Literal["dancetrack", "sportsmot", "mot16", "mot17", "mot20", "bdd100k"]
DETECTORS = ("DPM", "FRCNN", "SDP")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # of zip; the same results make the same archive, byte for byte


@dataclass(frozen=True)
class Server:
    """What is known of a benchmark and its server.

    Attributes:
        title: its name.
        names: what its sequences are called.
        splits: their number in each split; MOT17's by video, not by copy.
        folder: of the files in the archive; empty where they lie at its top.
        suffix: of the files.
        check: of one file.
    """

    title: str
    names: re.Pattern[str]
    splits: Mapping[str, int]
    folder: str = ""
    suffix: str = ".txt"
    check: FileCheck = check_mot

    def member(self, sequence: str) -> str:
        """What a sequence's file is called in the archive."""
        return f"{self.folder}{sequence}{self.suffix}"


SERVERS: Mapping[SubmissionFormat, Server] = {
    "dancetrack": Server(
        "DanceTrack", re.compile(r"dancetrack\d{4}"), {"train": 40, "val": 25, "test": 35}, folder="tracker/"
    ),
    "sportsmot": Server("SportsMOT", re.compile(r"v_.+_c\d+"), {"train": 45, "val": 45, "test": 150}),
    # Both splits together is what MOTChallenge's own server asked for.
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
    """An archive that has been written, read back and found right.

    Attributes:
        path: the archive.
        members: names of its files, in its order.
        boxes: in all of them together.
        notes: what is worth a look, though nothing is wrong with it.
    """

    path: Path
    members: tuple[str, ...]
    boxes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Item:
    """One result file, the sequence it is of, and the names under which it goes into the archive."""

    video: Video
    file: Path
    members: tuple[str, ...]


def submission_format(names: Sequence[str]) -> SubmissionFormat:
    """The benchmark whose sequences have such names.

    Raises:
        UserError: none does.
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
) -> Submission:
    """Check the results of a split, pack them, and check the finished archive; only then does it get its name.

    Args:
        format: whose server it is for.
        sequences: all that are to be in it. Of MOT17's three copies of a video one is enough: no detections are used,
            so its result goes into the archive under all three names, unless each copy has its own.
        results: folder of ``<sequence>.txt`` (MOTChallenge text), for BDD100K ``<sequence>.json``.
        archive: the zip file to write. An older one stays until the new one is found right.
        partial: the sequences need not be a whole split of the benchmark, nor have its names: to try things out.
        progress: told (member, number of steps in all) of every file that is packed, and again when it is verified.

    Raises:
        UserError: other sequences than the benchmark has; a result file is missing or something in it is wrong (named
            with its line); not one box in all of them; the archive cannot be written, or does not read back the same.
    """
    server = SERVERS[format]
    if archive.suffix != ".zip":
        raise UserError(f"{archive}: servers take zip archives; name it {archive.stem}.zip")
    notes = [] if (problem := _not_a_split(server, sequences)) is None else [problem]
    if problem is not None and not partial:
        raise UserError(f"{problem}; complete the data set, or write an archive for trials with --partial")
    files = _files(results, server.suffix)
    plan = _plan_mot17 if format == "mot17" else _plan
    items = plan(server, sequences, files, results)
    steps = 2 * sum(len(item.members) for item in items)
    step = (lambda member: progress(member, steps)) if progress is not None else (lambda member: None)
    with replacing(archive) as beside:
        checked = _pack(beside, items, server.check, step)
        if not any(found.boxes for found in checked):
            raise UserError(f"{results}: not one box in {len(items)} result files")
        _verify(beside, items, checked, step)
    used = {item.file for item in items}
    surplus = [name for name, file in files.items() if file not in used]
    notes += _notes(items, checked, surplus)
    members = tuple(member for item in items for member in item.members)
    boxes = sum(len(item.members) * found.boxes for item, found in zip(items, checked, strict=True))
    return Submission(archive, members, boxes, tuple(notes))


def _not_a_split(server: Server, sequences: Sequence[Video]) -> str | None:
    """What keeps these sequences from being a split of the benchmark."""
    strange = [video.name for video in sequences if not server.names.fullmatch(video.name)]
    if strange:
        return f"{server.title} has no sequence named {list_names(strange)}"
    for video in sequences:
        announced = read_seqinfo(video.frames[0].parent.parent / "seqinfo.ini").length
        if announced is not None and announced > len(video):
            return f"{video.name} has {len(video)} of its {announced} images (seqLength in seqinfo.ini)"
    number = len({_scene(video.name) for video in sequences})
    if number in server.splits.values():
        return None
    splits = ", ".join(f"{count} ({name})" for name, count in server.splits.items())
    return f"{number} sequence{'s' * (number != 1)} to submit, and {server.title} has {splits}"


def _scene(name: str) -> str:
    """The video that a sequence of MOT17 is a copy of; any other is its own."""
    match = DETECTOR_COPY.fullmatch(name)
    return match["scene"] if match else name


def _files(results: Path, suffix: str) -> dict[str, Path]:
    files = {file.stem: file for file in sorted(results.glob(f"*{suffix}"))}
    if not files:
        raise UserError(f"{results}: no result files (<sequence>{suffix}) here")
    return files


def _plan(server: Server, sequences: Sequence[Video], files: Mapping[str, Path], results: Path) -> list[_Item]:
    _refuse_missing([video.name for video in sequences if video.name not in files], len(sequences), results)
    return [_Item(video, files[video.name], (server.member(video.name),)) for video in sequences]


def _plan_mot17(server: Server, sequences: Sequence[Video], files: Mapping[str, Path], results: Path) -> list[_Item]:
    """One item a video where only one of its copies has results, else one a copy."""
    videos = {_scene(video.name): video for video in sequences}
    there = {scene: [name for name in _copies(scene) if name in files] for scene in videos}
    _refuse_missing([scene for scene, names in there.items() if not names], len(videos), results)
    for scene, names in there.items():
        if 1 < len(names) < len(DETECTORS):
            lacking = next(name for name in _copies(scene) if name not in names)
            raise UserError(
                f"{results}: no {lacking}.txt, while there is {' and '.join(names)}; keep one, which then stands for "
                "all three, or have each"
            )
    items = []
    for scene, names in there.items():
        groups = [_copies(scene)] if len(names) == 1 else [(name,) for name in names]
        items += [
            _Item(videos[scene], files[name], tuple(map(server.member, group)))
            for name, group in zip(names, groups, strict=True)
        ]
    return items


def _copies(scene: str) -> tuple[str, ...]:
    return tuple(f"{scene}-{detector}" for detector in DETECTORS)


def _refuse_missing(missing: Sequence[str], number: int, results: Path) -> None:
    if missing:
        raise UserError(f"{results}: no results for {len(missing)} of {number} sequences ({list_names(missing)})")


def _pack(path: Path, items: Sequence[_Item], check: FileCheck, step: Callable[[str], None]) -> list[CheckedFile]:
    """Write the archive; return what was found, with the hash of each text in its place."""
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
    """Raise UserError unless the archive has all members, whole (CRC), and each is the checked text of its file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.namelist() != [member for item in items for member in item.members]:
                raise UserError(f"{path}: has other files than were written to it; is the disk failing?")
            for item, found in zip(items, checked, strict=True):
                for member in item.members:
                    if sha256(archive.read(member)).hexdigest() != found.text:
                        raise UserError(f"{path}: {member} is not what was written to it; is the disk failing?")
                    step(member)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: does not read back ({error}); is the disk failing?") from error


def _notes(items: Sequence[_Item], checked: Sequence[CheckedFile], surplus: Sequence[str]) -> list[str]:
    pairs = list(zip(items, checked, strict=True))
    copied = [_scene(item.video.name) for item in items if len(item.members) > 1]
    empty = [item.file.name for item, found in pairs if not found.boxes]
    shifted = [item.file.name for item, found in pairs if found.shifted]
    outside = [f"{item.file.name} ({found.outside} of {found.boxes})" for item, found in pairs if found.outside]
    found = {
        "one result stands for all three copies of": copied,
        "nothing was found in": empty,
        "ids begin at 0, and are submitted counted from 1": shifted,
        "boxes that lie outside their image; are they in its pixels?": outside,
        "result files of no sequence to submit, left out": surplus,
    }
    return [f"{text}: {list_names(names)}" for text, names in found.items() if names]
