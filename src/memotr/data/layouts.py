"""Recognition of a folder's format and splits, from its files or its ``dataset.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from memotr.config import DataFormat
from memotr.data.formats import FORMATS, known_format
from memotr.data.formats.bdd100k import ScalabelLabels
from memotr.data.formats.coco_video import CocoFile, read_annotations
from memotr.data.formats.dataset_format import DATASET_FILE, WHOLE, AnnotationFiles, DatasetFile, DatasetFormat
from memotr.data.formats.frame_files import subfolders
from memotr.data.formats.mot_layout import MotTruth
from memotr.data.problems import Problems
from memotr.documents import read_yaml
from memotr.errors import UserError

LEVELS_ABOVE = 4  # from a folder of frames up to its data set (gts/train/<sequence>/img1)


@dataclass(frozen=True)
class Layout:
    """Recognised format and splits of a folder.

    Attributes:
        root: the folder.
        reader: format of the folder.
        splits: name → folder or file of each split; only ``all`` in an undivided folder.
        explanation: reason why the format was recognised, for messages.
        settings: content of its dataset.yaml.
    """

    root: Path
    reader: DatasetFormat
    splits: Mapping[str, Path]
    explanation: str
    settings: DatasetFile

    @property
    def format(self) -> str:
        """Name of the format."""
        return self.reader.name


def recognise(root: Path, format: DataFormat = "auto") -> Layout:
    """Recognise the layout of a folder.

    Raises:
        UserError: the folder does not exist or is not recognised; the message names subfolders that are data sets.
    """
    root = root.parent if root.name == DATASET_FILE else root
    if not root.exists():
        raise UserError(f"{root}: no such file or folder")
    settings = read_settings(root / DATASET_FILE)
    wanted = (settings.format or "auto") if format == "auto" else format
    try:
        known_format(wanted)
    except ValueError as error:
        raise UserError(f"{root if format == wanted else root / DATASET_FILE}: {error}") from None
    if settings.splits:
        splits = {name: root / path for name, path in settings.splits.items()}
        kind = _format_of(splits) if wanted == "auto" else wanted
        reader = next(one for one in FORMATS if one.name == kind)
        return Layout(root, reader, splits, f"splits given by {DATASET_FILE}", settings)
    layout = _match_format(root, wanted, settings)
    if layout is None:
        raise UserError(_unrecognised_message(root, wanted))
    return layout


def recognise_truth(path: Path, split: str | None, format: DataFormat, files: AnnotationFiles) -> Layout:
    """Recognise the layout of ground truth for scoring, with or without images.

    Args:
        path: a folder as for :func:`recognise`, or a file or folder of ground truth alone.
        split: name of the split to score, if any.
        format: name of a format; ``auto``: recognised by the files.
        files: cache of annotation files; JSON is read, because its content determines the format.

    Raises:
        UserError: as for :func:`recognise`.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if format in ("auto", "mot"):
        alone = MotTruth()
        splits, explanation = alone.splits(path)
        if splits:
            return Layout(path, alone, splits, explanation, DatasetFile())
    labels = ScalabelLabels()
    if format == "bdd100k" and _match_format(path, format, DatasetFile()) is None:
        return Layout(path, labels, {WHOLE: path}, "labels of BDD100K", DatasetFile())
    layout = recognise(path, format)
    if layout.format == "coco-video" and layout.settings.splits is None:
        file = next(
            (layout.splits[name] for name in splits_with_part(layout.splits, split)), next(iter(layout.splits.values()))
        )
        content = files.read(file, read_annotations, Problems())
        splits, explanation = labels.splits(path)
        if splits and not isinstance(content, CocoFile):
            return Layout(path, labels, splits, explanation, layout.settings)
    return layout


def read_settings(file: Path) -> DatasetFile:
    """Read a dataset.yaml; return defaults if it does not exist. Raises UserError that names an invalid key."""
    if not file.is_file():
        return DatasetFile()
    try:
        return DatasetFile.model_validate(read_yaml(file) or {})
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "settings"
        raise UserError(f"{file}: {place}: {problem['msg']}; keys are {', '.join(DatasetFile.model_fields)}") from None


def splits_with_part(splits: Iterable[str], name: str | None) -> list[str]:
    """Return the splits of which ``name`` is a part, such as ``instances_train`` for ``train``."""
    return [split for split in splits if name in split.replace("-", "_").split("_")]


def _format_of(splits: Mapping[str, Path]) -> str:
    by_suffix = {".json": "coco-video", ".odgt": "crowdhuman"}
    return by_suffix.get(next(iter(splits.values())).suffix, "mot")


def _match_format(root: Path, wanted: DataFormat, settings: DatasetFile) -> Layout | None:
    """Return the layout of the folder in the wanted format; for ``auto``, in the first format that matches."""
    for reader in FORMATS:
        if wanted == reader.name or (wanted == "auto" and not reader.by_request):
            splits, explanation = reader.splits(root)
            if splits:
                return Layout(root, reader, splits, explanation, settings)
    return None


def on_request_hint(root: Path) -> str:
    """Return a hint if ``root`` or a folder above it has a format that is read only on request; else an empty text."""
    for folder in (root, *root.absolute().parents[:LEVELS_ABOVE]):
        for reader in FORMATS:
            if reader.by_request and reader.splits(folder)[0]:
                return f"{folder} has {reader.layout}; to read it, set the format to '{reader.name}'"
    return ""


def _unrecognised_message(root: Path, wanted: DataFormat) -> str:
    """Return the message for an unrecognised folder, with data sets in subfolders or another format that matches."""
    layouts = (_match_format(folder, wanted, DatasetFile()) for folder in subfolders(root))
    inside = [layout.root.name for layout in layouts if layout]
    if inside:
        return f"{root}: contains data sets or parts of one ({', '.join(inside)}); choose one of these folders"
    if wanted != "auto":
        other = _match_format(root, "auto", DatasetFile())
        return f"{root}: is not in the format {wanted}" + (f", but in {other.format}" if other else "")
    if hint := on_request_hint(root):
        return f"{root}: no ground truth in this folder; {hint}"
    known = dict.fromkeys(reader.layout for reader in FORMATS if not reader.by_request)
    return f"{root}: no data set recognised; known layouts are {', '.join(known)}"
