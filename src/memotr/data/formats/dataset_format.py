"""Interface of data set formats, the extension point for new ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from memotr.config import MOST_CLASSES, DataFormat, Name, PathText, Settings
from memotr.data.formats.class_map import ClassMap
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, matching_names
from memotr.io.sinks import Sink
from memotr.vocabulary import Detector

DATASET_FILE = "dataset.yaml"
MOST_SPLITS = 1000
WHOLE = "all"  # the split of a folder that is not divided

DetectorChoice = Literal[Detector, "all"]
"""Which of MOT17's three copies of a video."""
T = TypeVar("T")


class DatasetFile(Settings):
    """Content of ``dataset.yaml``. Every key is optional; paths are relative to its folder."""

    format: DataFormat | None = None
    classes: Annotated[
        tuple[Name, ...] | dict[int | str, Name] | None, Field(min_length=1, max_length=MOST_CLASSES)
    ] = None
    splits: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    """Folder (COCO video: JSON) of each split."""
    seqmaps: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    images: PathText | None = None
    """COCO video and CrowdHuman: image folder; ``{split}`` stands for the split."""


class AnnotationFiles:
    """Cache of annotation files, so that each is read only once."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Any, Problems]] = {}

    def read(self, file: Path, reader: Callable[[Path, Problems], T], problems: Problems) -> T:
        """Return ``reader(file, problems)``, from the cache if it was read before; problems are reported every time."""
        if file not in self._read:
            found = Problems()
            self._read[file] = reader(file, found), found
        content: T = self._read[file][0]
        problems.extend(self._read[file][1])
        return content

    def forget(self) -> None:
        """Empty the cache."""
        self._read.clear()


@dataclass(frozen=True, eq=False)
class SplitRequest:
    """Request to read a split.

    Attributes:
        root: folder of the data set.
        split: name of the split.
        place: its folder or file.
        settings: settings of the data set's dataset.yaml.
        files: cache of annotation files.
        seqmap: text file that names its sequences; None: all sequences.
        detector: which of MOT17's three copies of a video; None: one, preferably SDP.
        only: patterns of sequence names; empty: all.
        images: images are needed; otherwise folders of images are only looked into where nothing else says how long
            a sequence is.
    """

    root: Path
    split: str
    place: Path
    settings: DatasetFile = field(default_factory=DatasetFile)
    files: AnnotationFiles = field(default_factory=AnnotationFiles)
    seqmap: Path | None = None
    detector: DetectorChoice | None = None
    only: tuple[str, ...] = ()
    images: bool = True

    def wants(self, name: str) -> bool:
        """Return whether a sequence of this name is requested."""
        return bool(matching_names([name], self.only))

    def image_folders(self) -> list[Path]:
        """Return the folders that may hold images named by an annotation file, the likeliest first."""
        split = self.place.stem if self.split == WHOLE else self.split
        base = self.root if self.root.is_dir() else self.place.parent
        if self.settings.images is not None:
            return [base / self.settings.images.replace("{split}", split)]
        tops = dict.fromkeys([base, self.place.parent, self.place.parent.parent])
        inner = [f"images/{split}", split, "Images", "images", "data", "."]
        return [top / name for name in inner for top in tops]


@dataclass(frozen=True)
class ResultFormat:
    """Format of tracking results for a data set.

    Attributes:
        suffix: suffix of a sequence's file.
        open: returns the sink that writes the file, given its path, the name of the sequence, and the number of each of
            the model's classes in files that number classes.
        names_classes: files name classes and count frames as annotations do (Scalabel); otherwise they number both.
    """

    suffix: str
    open: Callable[[Path, str, Many[int] | None], Sink]
    names_classes: bool = False

    def file(self, folder: Path, sequence: str) -> Path:
        """Return the file for the results of a sequence."""
        return folder / f"{sequence}{self.suffix}"


class DatasetFormat(ABC):
    """Data set format: one module in this folder, and one line in ``FORMATS``.

    Attributes:
        name: name in settings and commands.
        layout: description of its folders, for messages.
        results: format of tracking results.
        rules: name of its :class:`memotr.data.protocols.BenchmarkRules`; None: chosen by the names of the sequences.
        options: fields of :class:`memotr.data.datasets.DatasetSpec` that it supports.
        numbered: its files number classes; otherwise they name them.
        scored: results can be scored on it.
        by_request: read only if named, never recognised.
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
        """Return name → folder or file of each split in a folder, and an explanation for messages.

        Return no splits if the folder has another format.
        """

    @abstractmethod
    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        """Yield the sequences of a split, with or without their images; ``problems`` collects problems."""

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        """Return the classes of all splits if the format numbers classes; None if there is only class 1."""
        return None
