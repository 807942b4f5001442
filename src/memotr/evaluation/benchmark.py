"""Benchmark: sequences of a split to track, and their ground truth."""

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
        sequences: sequences to track, the longest first.
        truth: ground truth of the same sequences; None if they are not scored (test splits).
        results: format of the result files.
    """

    sequences: tuple[Sequence, ...]
    truth: GroundTruth | None
    results: ResultFormat

    @property
    def num_frames(self) -> int:
        """Number of frames of all sequences."""
        return sum(map(len, self.sequences))

    def class_numbers(self, classes: Many[str]) -> tuple[int, ...] | None:
        """Return the number in MOTChallenge results of each of a model's classes; None for the default numbers.

        If the benchmark has one class, as those of all servers, the classes of the model count as that one: -1.

        Raises:
            UserError: the benchmark has several classes, and the model has a class that is not among them.
        """
        known = self._class_names()
        if known is None:
            return (-1,) * len(classes) if len(classes) > 1 else None
        unknown = [name for name in classes if name not in known]
        if unknown:
            raise UserError(
                f"the model's classes {list_names(unknown)} are not in the data, which has {', '.join(known)}; "
                "classes are matched by name, so rename those of your own data in its dataset.yaml"
            )
        return tuple(known[name] for name in classes)

    def missing_classes(self, classes: Many[str]) -> list[str]:
        """Return the classes of the benchmark that are not among the ``classes`` of a model."""
        return [name for name in self._class_names() or () if name not in classes]

    def _class_names(self) -> dict[str, int] | None:
        """Return class name → number in results; None if the benchmark does not distinguish classes."""
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
    """Load the sequences of a split, and its ground truth if it is scored.

    Args:
        path: see :func:`memotr.evaluation.ground_truth.load_ground_truth`, also for the next six arguments.
        split: name of the split.
        seqmap: text file that names the sequences.
        only: patterns of sequence names. Of the three copies of a MOT17 video, one that matches is used.
        half: use the second half of every sequence.
        format: benchmark whose rules apply.
        layout: format of the files.
        scored: read the ground truth; False for test splits.
        files: cache of annotation files.

    Raises:
        UserError: images or ground truth are missing or invalid, or do not match each other.
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
        raise UserError(f"{path}: no sequences in this folder")
    if any(recording.still for recording in recordings):
        raise UserError(f"{path}: contains still images, but only videos can be tracked")
    whole = [sequence_of(recording, (), problems) for recording in recordings]
    sequences = [sequence for sequence in whole if sequence is not None]
    if half:
        sequences = [half_of(sequence, "val_half") for sequence in sequences]
    if truth is not None:
        truth = truth.select([sequence.name for sequence in sequences])
        _check_lengths(sequences, truth)
    for sequence in sequences:
        _check_gapless(sequence)
    results = found.layout.reader.results
    return Benchmark(tuple(sorted(sequences, key=len, reverse=True)), truth, results)


def join_benchmarks(parts: Many[Benchmark]) -> Benchmark:
    """Join several splits of one data set into a benchmark without ground truth."""
    sequences = [sequence for part in parts for sequence in part.sequences]
    return Benchmark(tuple(sorted(sequences, key=len, reverse=True)), None, parts[0].results)


def _check_lengths(sequences: Many[Sequence], truth: GroundTruth) -> None:
    """Raise UserError if a sequence has not as many images as scored frames: its results would be numbered wrongly."""
    lengths = {scored.name: len(scored.frames) for scored in truth.sequences}
    for sequence in sequences:
        if len(sequence) != lengths[sequence.name]:
            raise UserError(
                f"{sequence.frames[0].parent}: has {len(sequence):,} images, but {lengths[sequence.name]:,} frames of "
                f"{sequence.name} are scored; copy the missing images, or correct seqLength in its seqinfo.ini"
            )


def _check_gapless(sequence: Sequence) -> None:
    """Raise UserError if images are missing between others: results would be numbered wrongly."""
    if not sequence.gapless:
        folder = sequence.frames[0].parent
        raise UserError(
            f"{folder}: image numbers have gaps or do not begin with the first of the split (0 or 1), so results would "
            "number frames differently from the ground truth; copy the missing images, or renumber them"
        )
