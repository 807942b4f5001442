"""Ground truth of a split for scoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memotr.config import DataFormat
from memotr.data.datasets import Split, find_truth
from memotr.data.formats.class_map import ClassMap
from memotr.data.formats.dataset_format import ResultFormat
from memotr.data.formats.mot_layout import classes_by_number
from memotr.data.formats.mot_text import IGNORED_REGION
from memotr.data.problems import Problems
from memotr.data.protocols import OBJECTS
from memotr.data.sequences import Recording, list_names
from memotr.data.truth import SequenceTruth
from memotr.errors import UserError
from memotr.vocabulary import Protocol


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth of the sequences of a split.

    Attributes:
        path: path that the ground truth was read from.
        sequences: ground truth of each sequence, in order.
        classes: names of the scored classes.
        results: format of tracking results.
        numbers: class number in results → label; None if there is only one class, or results have class names.
        only_class: with only one class, its allowed numbers in results; other numbers above 0 are errors, as in
            TrackEval. Empty if there are several classes, or results have class names.
        unscored: numbers of the benchmark's other classes; results with these are left out.
        notes: notes about the files, for the user.
    """

    path: Path
    sequences: tuple[SequenceTruth, ...]
    classes: tuple[str, ...]
    results: ResultFormat
    numbers: Mapping[int, int] | None = None
    only_class: frozenset[int] = frozenset()
    unscored: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences."""
        return tuple(sequence.name for sequence in self.sequences)

    def select(self, names: Sequence[str]) -> GroundTruth:
        """Return the ground truth of the named sequences only."""
        return replace(self, sequences=tuple(s for s in self.sequences if s.name in names))

    def class_agnostic(self) -> GroundTruth:
        """Return the ground truth with all classes merged into one."""
        return replace(self, sequences=tuple(s.class_agnostic() for s in self.sequences), classes=OBJECTS, numbers=None)


def load_ground_truth(
    path: Path,
    *,
    split: str | None = None,
    seqmap: Path | None = None,
    only: Sequence[str] = (),
    half: bool = False,
    format: Protocol = "auto",
    layout: DataFormat = "auto",
) -> GroundTruth:
    """Read the ground truth of a split, including all three copies of each MOT17 video.

    Args:
        path: a data set, a folder of sequences, a sequence, or a ground truth file; docs/data.md lists the layouts.
        split: name of a split, such as ``val``; ``val_half`` is ``half`` of ``train``, or of an undivided folder.
        seqmap: text file that names the sequences to score; None: ``<split>_seqmap.txt`` of the data set if it exists,
            else all sequences.
        only: patterns of sequence names to score (``MOT17-*-SDP``); empty: all.
        half: score the second half of every sequence: frames n // 2 + 2 to n of n, counted from 1.
        format: benchmark whose rules apply. ``auto``: chosen by the names of the sequences (MOT16-…, MOT17-…, MOT20-…);
            those of BDD100K for its JSON; else ``mot``, which scores every row with a mark other than 0.
        layout: format of the files; ``auto``: recognised by the files.

    Raises:
        UserError: the ground truth is missing or has an error; the message names file and line.
    """
    if format == "bdd100k" and layout == "auto":
        layout = "bdd100k"
    found = find_truth(path, split=split, seqmap=seqmap, only=tuple(only), format=layout)
    problems = Problems(stop=True)
    return ground_truth_of(path, found, list(found.recordings(problems)), format, problems, half=half)


def ground_truth_of(
    path: Path, split: Split, recordings: Sequence[Recording], format: Protocol, problems: Problems, *, half: bool
) -> GroundTruth:
    """Return the ground truth of the recordings of a split; see :func:`load_ground_truth`.

    ``problems`` must raise errors, and have the notes from reading the recordings.
    """
    if not recordings:
        raise UserError(_empty_selection(path, split))
    _check_all_annotated(recordings, split.request.place)
    half = half or split.half is not None
    if split.half == "train_half":
        raise UserError(f"{path}: train_half is for training; score val_half")
    rules = [split.rules_of(recording, format) for recording in recordings]
    if half and any(rule.frame_index for rule in rules):
        raise UserError(f"{path}: --half does not apply to BDD100K, only to MOTChallenge text and COCO video")
    fixed = [rule for rule in rules if rule.scored_classes is not None]
    classes = fixed[0].scored_classes if fixed else _own_classes(split, recordings)
    assert classes is not None
    sequences = tuple(
        rule.scored(recording, classes, problems, half=half) for rule, recording in zip(rules, recordings, strict=True)
    )
    if all(sequence.objects.ignore.all() for sequence in sequences):
        problems.note(path, "no object is scored, so every result is a false positive")
    reader = split.layout.reader
    named = reader.results.names_classes
    own = () if fixed else (number for number in classes.labels if isinstance(number, int))
    only_class = frozenset({1, *own} if not named and len(classes.names) == 1 else ())
    numbers = None if named else _numbers(reader.numbered, classes)
    unscored = frozenset(fixed[0].known or () if fixed else ()) - {IGNORED_REGION, *classes.labels}
    return GroundTruth(
        path, sequences, classes.names, reader.results, numbers, only_class, unscored, problems.brief_notes()
    )


def _check_all_annotated(recordings: Sequence[Recording], place: Path) -> None:
    """Raise UserError if sequences have no ground truth."""
    missing = [recording.name for recording in recordings if recording.table is None]
    if len(missing) == len(recordings):
        raise UserError(
            f"{place}: no ground truth for this split; test splits are scored by the server of the benchmark"
        )
    if missing:
        raise UserError(
            f"{place}: no ground truth for {len(missing)} of {len(recordings)} sequences ({list_names(missing)}); copy "
            "these files, or select the other sequences with --sequences"
        )


def _numbers(numbered: bool, classes: ClassMap) -> dict[int, int] | None:
    """Return class number in results → label, with the numbers of the data if any, else 1, 2, …; None for one class."""
    if len(classes.names) < 2:
        return None
    return dict(classes.labels) if numbered else {label + 1: label for label in range(len(classes.names))}


def _own_classes(split: Split, recordings: Iterable[Recording]) -> ClassMap:
    """Return the classes given by dataset.yaml, or else those found in these sequences."""
    named = split.named_classes()
    if named is not None:
        return named
    if not split.layout.reader.numbered:
        names = dict.fromkeys(name for recording in recordings for name in recording.categories.values())
        return ClassMap.from_pairs({name: name for name in names})
    found = classes_by_number(recording.table for recording in recordings if recording.table is not None)
    if found is None or len(found.names) < 2:
        return ClassMap(OBJECTS, dict.fromkeys([1] if found is None else found.labels, 0))
    return found


def _empty_selection(path: Path, split: Split) -> str:
    """Return the error message for a selection that contains no sequences."""
    request = replace(split.request, only=())
    available = [recording.name for recording in split.layout.reader.read(request, Problems())]
    if not split.request.only:
        return f"{path}: no sequences in this folder"
    return f"{path}: no sequence is named {' or '.join(split.request.only)}; available are {list_names(available)}"


def describe_truth(
    path: Path, format: str, split: str | None, seqmap: Path | None, sequences: list[str] | None, half: bool
) -> dict[str, Any]:
    """Return the options that select the ground truth, as values for JSON."""
    return {
        "ground_truth": str(path.absolute()),
        "format": format,
        "split": split,
        "seqmap": str(seqmap.absolute()) if seqmap else None,
        "sequences": sequences,
        "half": half,
    }
