"""The extension point of data sets: what a format has to offer, and what it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from memotr.config import MOST_CLASSES, DataFormat, Name, PathText, Settings
from memotr.data.formats.classes import ClassMap
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, matching_names
from memotr.io.sinks import Sink

DATASET_FILE = "dataset.yaml"
MOST_SPLITS = 1000
WHOLE = "all"  # the split of a folder that is not divided

Detector = Literal["DPM", "FRCNN", "SDP", "all"]
T = TypeVar("T")


class DatasetFile(Settings):
    """``dataset.yaml`` beside the data says what cannot be seen. Every key is optional; paths start at its folder."""

    format: DataFormat | None = None
    classes: Annotated[
        tuple[Name, ...] | dict[int | str, Name] | None, Field(min_length=1, max_length=MOST_CLASSES)
    ] = None
    splits: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    """Folder (COCO video: JSON) of each split."""
    seqmaps: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    images: PathText | None = None
    """COCO video and CrowdHuman: folder of the images; ``{split}`` stands for the split."""


class AnnotationFiles:
    """Annotation files as they were read, so that each is opened once, however many ask for it."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Any, Problems]] = {}

    def read(self, file: Path, reader: Callable[[Path, Problems], T], problems: Problems) -> T:
        """Return what ``reader`` makes of a file; every caller gets the problems that were found in it."""
        if file not in self._read:
            found = Problems()
            self._read[file] = reader(file, found), found
        content: T = self._read[file][0]
        problems.extend(self._read[file][1])
        return content

    def forget(self) -> None:
        """Drop everything: what is asked for later is read again."""
        self._read.clear()


@dataclass(frozen=True, eq=False)
class SplitRequest:
    """A split to be read.

    Attributes:
        root: folder of the data set.
        split: name of the split.
        place: its folder or file.
        settings: of the data set's dataset.yaml.
        files: what was read before.
        seqmap: text file that names its sequences; None: all of them.
        detector: which of MOT17's three copies of a video; None: one, SDP where it is.
        only: patterns of names of sequences; empty: all.
        images: images are needed; otherwise folders of images are only looked into where nothing else says how long
            a sequence is.
    """

    root: Path
    split: str
    place: Path
    settings: DatasetFile = field(default_factory=DatasetFile)
    files: AnnotationFiles = field(default_factory=AnnotationFiles)
    seqmap: Path | None = None
    detector: Detector | None = None
    only: tuple[str, ...] = ()
    images: bool = True

    def wants(self, name: str) -> bool:
        """Return whether a sequence of this name is to be read."""
        return bool(matching_names([name], self.only))

    def image_folders(self) -> list[Path]:
        """Return where images named by a file of annotations may be, the likeliest folder first."""
        split = self.place.stem if self.split == WHOLE else self.split
        base = self.root if self.root.is_dir() else self.place.parent
        if self.settings.images is not None:
            return [base / self.settings.images.replace("{split}", split)]
        tops = dict.fromkeys([base, self.place.parent, self.place.parent.parent])
        inner = [f"images/{split}", split, "Images", "images", "data", "."]
        return [top / name for name in inner for top in tops]


@dataclass(frozen=True)
class ResultFormat:
    """How results of trackers are written for a data set.

    Attributes:
        suffix: of a sequence's file.
        open: what takes frames and tracks and makes the file of them, given its path, the name of the sequence, and
            what the file says of each of the model's classes where it numbers them.
        names_classes: the files name classes, and count frames as annotations do (Scalabel); else they number both.
    """

    suffix: str
    open: Callable[[Path, str, Many[int] | None], Sink]
    names_classes: bool = False

    def file(self, folder: Path, sequence: str) -> Path:
        """Return where the results of a sequence lie once it is tracked."""
        return folder / f"{sequence}{self.suffix}"


class DatasetFormat(ABC):
    """A format of data sets: one file in this folder, and one line in ``FORMATS``.

    Attributes:
        name: as settings and commands have it.
        layout: what a folder of it looks like, for messages.
        results: how results of trackers are written for it.
        rules: name of its :class:`memotr.data.protocols.BenchmarkRules`; None: by the names of the sequences.
        options: settings of :class:`memotr.data.datasets.DatasetSpec` that have a meaning for it.
        numbered: its files number classes; otherwise they name them.
        scored: trackers can be scored on it.
        by_request: only read where it is named, never recognised.
    """

    name: ClassVar[str]
    layout: ClassVar[str]
    results: ClassVar[ResultFormat]
    rules: ClassVar[str | None] = None
    options: ClassVar[frozenset[str]] = frozenset()
    numbered: ClassVar[bool] = False
    scored: ClassVar[bool] = True
    by_request: ClassVar[bool] = False

    @abstractmethod
    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        """Return name → folder or file of the splits in a folder, and what was recognised, in words.

        There are none where the folder has another format.
        """

    @abstractmethod
    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        """Yield the sequences of a split, with or without their images; ``problems`` takes what is wrong."""

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        """Return the classes of all splits together, of a format that numbers them; None: there is but class 1."""
        return None
