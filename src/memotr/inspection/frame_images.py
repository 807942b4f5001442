"""Image files of the frames of scored sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from memotr.data.formats.frame_files import FrameFiles, list_frames
from memotr.data.sequences import list_names
from memotr.data.truth import SequenceTruth
from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth
from memotr.io.seqinfo import SeqInfoError, read_seqinfo

FrameImages = Mapping[int, Path]
"""Frame number, counted from 0 in the scored frames → image file. Frames without an image are missing."""


def find_images(truth: GroundTruth, root: Path | None = None) -> tuple[dict[str, FrameImages], list[str]]:
    """Find the images of every sequence.

    Args:
        truth: ground truth of the sequences.
        root: folder that contains the sequences' folders, or folder of one sequence; None: the data set's folders.

    Returns:
        Name of sequence → images, for the sequences that have any; and notes about the others.

    Raises:
        UserError: the folder does not exist.
    """
    if root is not None and not root.is_dir():
        raise UserError(f"{root}: no such folder; --images names the one that holds the folders of the sequences")
    found: dict[str, FrameImages] = {}
    notes = []
    listed = [_listed(truth, sequence, root) for sequence in truth.sequences]
    first_image = 0 if any(f is not None and f.named and f.numbers[0] == 0 for f in listed) else 1
    from_zero = truth.results.names_classes
    for sequence, frames in zip(truth.sequences, listed, strict=True):
        if frames is None:
            continue
        if named := _by_name(sequence, frames):
            found[sequence.name] = named
        elif len(frames) > sequence.length:
            notes.append(
                f"{frames.files[0].parent} has {len(frames):,} images for the {sequence.length:,} frames of "
                f"{sequence.name}; they cannot be assigned to frames, so they are not shown"
            )
        else:
            found[sequence.name] = _by_number(sequence, frames, first_image, from_zero=from_zero)
    without = [name for name in truth.names if name not in found]
    if without:
        notes.insert(0, f"no images found of {list_names(without)}; --images names the folder that holds their folders")
    return found, notes


def _listed(truth: GroundTruth, sequence: SequenceTruth, root: Path | None) -> FrameFiles | None:
    """Return the images in the first folder of a sequence that has any, or None."""
    return next((f for folder in _folders(truth, sequence, root) if len(f := list_frames(folder))), None)


def _folders(truth: GroundTruth, sequence: SequenceTruth, root: Path | None) -> Iterator[Path]:
    """Yield folders that may hold the images of a sequence, the likeliest first."""
    if root is not None:
        yield from _inside(root / sequence.name)
        if root.name == sequence.name or len(truth.sequences) == 1:
            yield from _inside(root)
    elif sequence.folder is not None:
        yield from _inside(sequence.folder)


def _inside(folder: Path) -> Iterator[Path]:
    with suppress(SeqInfoError):
        yield folder / read_seqinfo(folder / "seqinfo.ini").image_folder
    yield folder / "img1"
    yield folder


def _by_name(sequence: SequenceTruth, frames: FrameFiles) -> FrameImages:
    """Match images and frames by the file names in the ground truth."""
    files = {file.name: file for file in frames.files}
    names = [name.rpartition("/")[2] for name in sequence.images[-len(sequence.frames) :]]  # a half is the second one
    return {k: files[name] for k, name in enumerate(names) if name in files}


def _by_number(sequence: SequenceTruth, frames: FrameFiles, first_image: int, *, from_zero: bool) -> FrameImages:
    """Match images and frames by the numbers in the images' names.

    If every frame has an image and the numbers begin later, as in a part cut from a longer video, they are matched by
    position.

    Args:
        sequence: the scored sequence.
        frames: its images.
        first_image: number of the first image in sequences of the split.
        from_zero: True if frames count from 0, as in BDD100K; in MOTChallenge they count from 1.
    """
    if len(frames) == sequence.length and (from_zero or not frames.named or frames.numbers[0] > 1):
        every = sequence.frames if from_zero else range(1, sequence.length + 1)
        files = dict(zip(every, frames.files, strict=True))
    else:
        shift = int(not from_zero) - (first_image if frames.named else 1)
        files = dict(zip((frames.numbers + shift).tolist(), frames.files, strict=True))
    return {sequence.frames.index(number): file for number, file in files.items() if number in sequence.frames}
