"""Interface of data set formats: the extension point for new formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from memotr.config import MAX_CLASSES, DataFormat, Name, PathText, Settings
from memotr.data.formats.class_map import ClassMap
from memotr.data.formats.frame_files import files_in
from memotr.data.problems import Problems
from memotr.data.sequences import Recording, matching_names
from memotr.errors import UserError
from memotr.io.sinks import Sink
from memotr.vocabulary import Detector

DATASET_FILE = "dataset.yaml"
MAX_SPLITS = 1000
WHOLE = "all"  # name of the only split of a folder that is not divided into splits

DetectorChoice = Literal[Detector, "all"]
"""Choice among the three copies of each MOT17 video, named after detectors."""
T = TypeVar("T")


class DatasetFile(Settings):
    """Content of ``dataset.yaml``. Every key is optional; paths are relative to the folder of the file."""

    format: DataFormat | None = None
    classes: Annotated[tuple[Name, ...] | dict[int | str, Name] | None, Field(min_length=1, max_length=MAX_CLASSES)] = (
        None
    )
    splits: Annotated[dict[Name, PathText], Field(max_length=MAX_SPLITS)] | None = None
    """Name → folder (COCO video: JSON file) of each split."""
    seqmaps: Annotated[dict[Name, PathText], Field(max_length=MAX_SPLITS)] | None = None
    images: PathText | None = None
    """COCO video and CrowdHuman: image folder; ``{split}`` is replaced by the name of the split."""


class AnnotationFiles:
    """Cache of annotation files, so that each is read only once."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Any, Problems]] = {}

    def read(self, file: Path, reader: Callable[[Path, Problems], T], problems: Problems) -> T:
        """Return ``reader(file, problems)``, from the cache if possible; ``problems`` are reported on every call."""
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
        place: folder or file of the split.
        settings: content of the data set's dataset.yaml.
        files: cache of annotation files.
        seqmap: text file that names the sequences to read; None: all sequences.
        detector: choice among the three copies of each MOT17 video; None: one copy, preferably SDP.
        only: patterns of sequence names to read; empty: all.
        images: list the images. If False, an image folder is only read where nothing else gives the length of the
            sequence.
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

    def selects(self, name: str) -> bool:
        """Return whether the sequence of this name is requested."""
        return bool(matching_names([name], self.only))

    def image_folders(self) -> list[Path]:
        """Return candidate folders for the images that an annotation file names, the most likely first."""
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
        suffix: file suffix, such as ``.txt``.
        open: function of the file's path, the name of the sequence, and the number in the file of each of the model's
            classes (None: default numbers); returns the sink that writes the file.
        names_classes: files have class names, and frame numbers as in the annotations (Scalabel); otherwise class
            numbers, and frame numbers from 1.
    """

    suffix: str
    open: Callable[[Path, str, Many[int] | None], Sink]
    names_classes: bool = False

    def file(self, folder: Path, sequence: str) -> Path:
        """Return the path of the result file of a sequence."""
        return folder / f"{sequence}{self.suffix}"


def result_files(folder: Path, suffix: str, sequences: Collection[str]) -> dict[str, Path]:
    """Return sequence name → file for the result files of a folder.

    If the folder has no file of the given sequences, those of its subfolder ``results`` (written by ``memotr eval``) or
    ``data`` (expected by TrackEval) are returned, if they have one.

    Raises:
        UserError: there are no result files.
    """
    places = (folder, folder / "results", folder / "data")
    found = [{file.stem: file for file in files} for place in places if (files := files_in(place, suffix))]
    if not found:
        raise UserError(f"{folder}: no result files (<sequence>{suffix}) in this folder")
    return next((files for files in found if not files.keys().isdisjoint(sequences)), found[0])


class DatasetFormat(ABC):
    """Data set format. To add one, write a module in this folder and add a line to ``FORMATS``.

    Attributes:
        name: name of the format in settings and commands.
        layout: description of the folders, for messages.
        results: format of tracking results on this data.
        rules: name of the :class:`memotr.data.protocols.BenchmarkRules`; None: chosen by the names of the sequences.
        options: optional fields of :class:`memotr.data.datasets.DatasetSpec` that the format supports.
        numbered: files have class numbers; otherwise class names.
        scored: results can be scored on this data.
        by_request: used only if the format is given explicitly, never recognised automatically.
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
        """Return name → folder or file of each split in ``root``, and an explanation for messages.

        There are no splits if ``root`` has another format.
        """

    @abstractmethod
    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        """Yield the sequences of a split; report invalid data to ``problems`` and continue."""

    def classes_found(self, splits: Mapping[str, Path], files: AnnotationFiles) -> ClassMap | None:
        """Return the classes found in all splits, for a format with class numbers; None if there is only class 1."""
        return None
