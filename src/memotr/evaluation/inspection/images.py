"""Where the images of a sequence are, for those who have its ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from memotr.data.formats.frame_files import FrameFiles, list_frames
from memotr.data.formats.frame_numbers import first_in_images
from memotr.errors import UserError
from memotr.evaluation.names import shortened
from memotr.evaluation.truth import GroundTruth, SequenceTruth
from memotr.io.seqinfo import SeqInfoError, read_seqinfo

FrameImages = Mapping[int, Path]
"""Frame, counted from 0 in what is scored → image file; frames without an image are not in it."""


def find_images(truth: GroundTruth, root: Path | None = None) -> tuple[dict[str, FrameImages], list[str]]:
    """Image files of every sequence that has any, and notes about the others.

    Args:
        truth: the sequences.
        root: folder of the sequences' folders, or of one sequence; None: where they lie in the data set.

    Raises:
        UserError: there is no such folder.
    """
    if root is not None and not root.is_dir():
        raise UserError(f"{root}: no such folder; --images names the one that holds the folders of the sequences")
    found: dict[str, FrameImages] = {}
    notes = []
    listed = [_listed(truth, sequence, root) for sequence in truth.sequences]
    first_image = first_in_images(frames for frames in listed if frames is not None)
    for sequence, frames in zip(truth.sequences, listed, strict=True):
        if frames is None:
            continue
        if sequence.images:
            found[sequence.name] = _by_name(sequence, frames)
        elif len(frames) > sequence.length:
            notes.append(
                f"{frames.files[0].parent} has {len(frames):,} images for the {sequence.length:,} frames of "
                f"{sequence.name}: which belong together is not known, so they are not shown"
            )
        else:
            found[sequence.name] = _by_number(sequence, frames, first_image, from_zero=truth.videos is not None)
    without = [name for name in truth.names if name not in found]
    if without:
        notes.insert(0, f"no images found of {shortened(without)}; --images names the folder that holds their folders")
    return found, notes


def _listed(truth: GroundTruth, sequence: SequenceTruth, root: Path | None) -> FrameFiles | None:
    """The images of a sequence, in the first folder that has any."""
    return next((f for folder in _folders(truth, sequence, root) if len(f := list_frames(folder))), None)


def _folders(truth: GroundTruth, sequence: SequenceTruth, root: Path | None) -> Iterator[Path]:
    """Where the images may be, the likeliest first."""
    if root is not None:
        yield from _inside(root / sequence.name)
        if root.name == sequence.name or len(truth.sequences) == 1:
            yield from _inside(root)
    elif sequence.folder is not None:
        yield from _inside(sequence.folder)
    elif truth.videos is not None and len(truth.path.parents) > 2:  # labels/box_track_20/<split>
        yield truth.path.parents[2] / "images" / "track" / truth.path.name / sequence.name


def _inside(folder: Path) -> Iterator[Path]:
    with suppress(SeqInfoError):
        yield folder / read_seqinfo(folder / "seqinfo.ini").image_folder
    yield folder / "img1"
    yield folder


def _by_name(sequence: SequenceTruth, frames: FrameFiles) -> FrameImages:
    """Those that the ground truth names."""
    files = {file.name: file for file in frames.files}
    names = (sequence.images[number - 1] for number in sequence.frames)
    return {k: files[name] for k, name in enumerate(names) if name in files}


def _by_number(sequence: SequenceTruth, frames: FrameFiles, first_image: int, *, from_zero: bool) -> FrameImages:
    """By the numbers in the images' names; by position where all are there and are numbered as part of a longer video.

    Args:
        sequence: what is scored.
        frames: the images.
        first_image: what the images of the split count from.
        from_zero: frames do, as BDD100K's; MOTChallenge's count from 1.
    """
    if len(frames) == sequence.length and (from_zero or not frames.named or frames.numbers[0] > 1):
        every = sequence.frames if from_zero else range(1, sequence.length + 1)
        files = dict(zip(every, frames.files, strict=True))
    else:
        shift = int(not from_zero) - (first_image if frames.named else 1)
        files = dict(zip((frames.numbers + shift).tolist(), frames.files, strict=True))
    return {sequence.frames.index(number): file for number, file in files.items() if number in sequence.frames}
