"""Benchmark: the sequences of a split to track, and their ground truth."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

from memotr.config import DataFormat
from memotr.data.datasets import find_truth, half_of, sequence_of
from memotr.data.formats.dataset_format import AnnotationFiles, ResultFormat
from memotr.data.problems import Problems
from memotr.data.protocols import BDD100K_CATEGORIES
from memotr.data.sequences import Sequence, list_names
from memotr.errors import UserError
from memotr.evaluation.ground_truth import GroundTruth, ground_truth_of
from memotr.vocabulary import Protocol


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Sequences to track, with their ground truth.

    Attributes:
        sequences: sequences, the longest first.
        truth: ground truth of the same sequences; None for test splits.
        results: format of the results.
    """

    sequences: tuple[Sequence, ...]
    truth: GroundTruth | None
    results: ResultFormat

    @property
    def num_frames(self) -> int:
        """Number of frames of all sequences."""
        return sum(map(len, self.sequences))

    def class_numbers(self, classes: Many[str]) -> tuple[int, ...] | None:
        """Return the number of each of a model's classes in MOTChallenge results; None for the default of results.

        Raises:
            UserError: the benchmark has several classes, and the model has a class that is none of them.
        """
        known = self._class_names()
        if known is None:
            one = self.truth is not None and len(classes) > 1
            return (-1,) * len(classes) if one else None
        strange = [name for name in classes if name not in known]
        if strange:
            raise UserError(
                f"the checkpoint's classes {list_names(strange)} are none of the data's ({', '.join(known)}); "
                "classes are matched by name: rename those of your own data in its dataset.yaml"
            )
        return tuple(known[name] for name in classes)

    def unknown_to(self, classes: Many[str]) -> list[str]:
        """Return the benchmark's classes that a model with these ``classes`` does not have."""
        return [name for name in self._class_names() or () if name not in classes]

    def _class_names(self) -> dict[str, int] | None:
        """Return class name → number in results, or None for a benchmark without separate classes."""
        if self.results.names_classes:
            return {name: k for k, name in enumerate(BDD100K_CATEGORIES)}
        if self.truth is None or self.truth.numbers is None:
            return None
        numbers = {self.truth.classes[label]: number for number, label in reversed(list(self.truth.numbers.items()))}
        return {name: numbers[name] for name in self.truth.classes}


def load_benchmark(
    path: Path,
    *,
    split: str | None = None,
    seqmap: Path | None = None,
    only: Many[str] = (),
    half: bool = False,
    format: Protocol = "auto",
    layout: DataFormat = "auto",
    scored: bool = True,
    files: AnnotationFiles | None = None,
) -> Benchmark:
    """Find the images of a split, and read its ground truth if it is scored.

    Args:
        path: as this and the next six in :func:`memotr.evaluation.ground_truth.load_ground_truth`.
        split: see ``path``.
        seqmap: see ``path``.
        only: see ``path``. Of MOT17's three copies of a video, one that matches is used.
        half: see ``path``.
        format: see ``path``.
        layout: see ``path``.
        scored: read the ground truth.
        files: cache of annotation files.

    Raises:
        UserError: images or ground truth are missing or broken, or do not match.
    """
    if format == "bdd100k" and layout == "auto":
        layout = "bdd100k"
    split = "val_half" if half and split is None else split
    found = find_truth(
        path, split=split, seqmap=seqmap, only=tuple(only), detector=None, format=layout, images=True, files=files
    )
    half = half or found.half == "val_half"
    problems = Problems(stop=True)
    recordings = list(found.recordings(problems))
    truth = None
    if scored:  # read before tracking, which may take hours
        truth = ground_truth_of(path, found, recordings, format, problems, half=half)
    elif not recordings:
        raise UserError(f"{path}: no sequences here")
    if any(recording.still for recording in recordings):
        raise UserError(f"{path}: holds still images; only videos can be tracked")
    whole = [sequence_of(recording, (), problems) for recording in recordings]
    sequences = [sequence for sequence in whole if sequence is not None]
    if half:
        sequences = [half_of(sequence, "val_half") for sequence in sequences]
    if truth is not None:
        truth = truth.select([sequence.name for sequence in sequences])
        _check_lengths(sequences, truth)
    for sequence in sequences:
        _check_images(sequence)
    results = found.layout.reader.results
    return Benchmark(tuple(sorted(sequences, key=len, reverse=True)), truth, results)


def join_benchmarks(parts: Many[Benchmark]) -> Benchmark:
    """Join several splits of one data set, without their ground truth."""
    sequences = [sequence for part in parts for sequence in part.sequences]
    return Benchmark(tuple(sorted(sequences, key=len, reverse=True)), None, parts[0].results)


def _check_lengths(sequences: Many[Sequence], truth: GroundTruth) -> None:
    """Raise UserError if images are missing, because results would number the frames after them wrongly."""
    lengths = {one.name: len(one.frames) for one in truth.sequences}
    for sequence in sequences:
        if len(sequence) != lengths[sequence.name]:
            raise UserError(
                f"{sequence.frames[0].parent}: has {len(sequence):,} images for the {lengths[sequence.name]:,} frames "
                f"of {sequence.name} that are scored; copy the missing ones, or correct seqLength in its seqinfo.ini"
            )


def _check_images(sequence: Sequence) -> None:
    """Raise UserError if the position of a frame in the sequence is not its number in results."""
    if not sequence.gapless:
        folder = sequence.frames[0].parent
        raise UserError(
            f"{folder}: the numbers of its images have gaps or do not begin with that of the split (0 or 1), so that "
            "results would number frames differently than ground truth; copy the missing images, or renumber them"
        )
