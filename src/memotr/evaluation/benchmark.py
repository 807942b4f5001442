"""A benchmark: the sequences of a split to be tracked, and the ground truth that they are judged by."""

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
    """What is to be tracked.

    Attributes:
        sequences: the longest first.
        truth: of the same sequences; None for test splits.
        results: how results are written.
    """

    sequences: tuple[Sequence, ...]
    truth: GroundTruth | None
    results: ResultFormat

    @property
    def num_frames(self) -> int:
        return sum(map(len, self.sequences))

    def class_numbers(self, classes: Many[str]) -> tuple[int, ...] | None:
        """What MOTChallenge results say of each of a model's classes; None: what they say where nobody asks.

        Raises:
            UserError: the benchmark tells classes apart, and the model has others.
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
        """Classes that are told apart here, and that a model of these ``classes`` does not know."""
        return [name for name in self._class_names() or () if name not in classes]

    def _class_names(self) -> dict[str, int] | None:
        """Name → number in results, where classes are told apart."""
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
    """Read the images of a split and, to be scored, their ground truth.

    Args:
        path, split, seqmap, only, half, format, layout: as in
            :func:`memotr.evaluation.ground_truth.load_ground_truth`; of those of MOT17's three copies of a video that
            ``only`` fits one is taken.
        scored: ground truth is needed.
        files: annotation files that were read before, and those that are read now.

    Raises:
        UserError: images or ground truth are missing or broken, or do not belong together.
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
    if scored:  # quick to read, and where it is absent nothing should be tracked for hours
        truth = ground_truth_of(path, found, recordings, format, half=half)
    elif not recordings:
        raise UserError(f"{path}: no sequences here")
    if any(recording.still for recording in recordings):
        raise UserError(f"{path}: holds single images; what can be tracked are videos")
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
    """Return several splits of one data set, without ground truth, as one."""
    sequences = [sequence for part in parts for sequence in part.sequences]
    return Benchmark(tuple(sorted(sequences, key=len, reverse=True)), None, parts[0].results)


def _check_lengths(sequences: Many[Sequence], truth: GroundTruth) -> None:
    """Raise UserError where images are missing: frames would be counted wrongly from there on."""
    lengths = {one.name: len(one.frames) for one in truth.sequences}
    for sequence in sequences:
        if len(sequence) != lengths[sequence.name]:
            raise UserError(
                f"{sequence.frames[0].parent}: has {len(sequence):,} images for the {lengths[sequence.name]:,} frames "
                f"of {sequence.name} that are scored; copy the missing ones, or correct seqLength in its seqinfo.ini"
            )


def _check_images(sequence: Sequence) -> None:
    """Raise UserError where a frame's place in the sequence is not its number, which results say."""
    if not sequence.gapless:
        folder = sequence.frames[0].parent
        raise UserError(
            f"{folder}: the numbers of its images have gaps or begin elsewhere than those of the split (0 or 1), and "
            "results would count frames otherwise than ground truth does; copy the missing images, or number them anew"
        )
