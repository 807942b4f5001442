"""Which layout a folder has, and which splits: seen from its files, or said by the ``dataset.yaml`` in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from memotr.config import MOST_CLASSES, DataFormat, Name, PathText, Settings
from memotr.data.formats import generated, mot
from memotr.data.formats.frame_files import subfolders
from memotr.documents import read_yaml
from memotr.errors import UserError

Format = Literal["mot", "mot17", "motsynth", "crowdhuman", "bdd100k", "coco-video", "generated"]

DATASET_FILE = "dataset.yaml"
MOST_SPLITS = 1000
WHOLE = "all"  # the split of a folder that is not divided
UNDERSTOOD = (
    "<split>/<sequence>/img1 with gt/gt.txt (MOTChallenge), annotation_<split>.odgt with images/<split> (CrowdHuman), "
    "labels/box_track_20 with images/track (BDD100K), annotations/<split>.json with videos (COCO)"
)


class DatasetFile(Settings):
    """``dataset.yaml`` beside the data says what cannot be seen. Every key is optional; paths start at its folder."""

    format: Format | None = None
    classes: Annotated[
        tuple[Name, ...] | dict[int | str, Name] | None, Field(min_length=1, max_length=MOST_CLASSES)
    ] = None
    splits: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    """Folder (COCO video: JSON) of each split."""
    seqmaps: Annotated[dict[Name, PathText], Field(max_length=MOST_SPLITS)] | None = None
    images: PathText | None = None
    """COCO video and CrowdHuman: folder of the images; ``{split}`` stands for the split."""


@dataclass(frozen=True)
class Layout:
    """What a folder was recognised as.

    Attributes:
        root: the folder.
        format: how it is read.
        splits: where each split is; ``all`` alone where the folder is not divided.
        explanation: what it was recognised by.
        settings: of its dataset.yaml.
    """

    root: Path
    format: Format
    splits: Mapping[str, Path]
    explanation: str
    settings: DatasetFile


def recognise(root: Path, format: DataFormat = "auto") -> Layout:
    """What layout a folder has.

    Raises:
        UserError: there is no such folder or nothing in it is understood; where its subfolders are, they are named.
    """
    root = root.parent if root.name == DATASET_FILE else root
    if not root.exists():
        raise UserError(f"{root}: no such file or folder")
    settings = _read_settings(root / DATASET_FILE)
    wanted = (settings.format or "auto") if format == "auto" else format
    if settings.splits:
        splits = {name: root / path for name, path in settings.splits.items()}
        kind = _format_of(splits) if wanted == "auto" else wanted
        return Layout(root, kind, splits, f"splits that {DATASET_FILE} names", settings)
    layout = _look(root, wanted, settings)
    if layout is None:
        raise UserError(_nothing_found(root, wanted))
    return layout


def _read_settings(file: Path) -> DatasetFile:
    if not file.is_file():
        return DatasetFile()
    try:
        return DatasetFile.model_validate(read_yaml(file) or {})
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "settings"
        raise UserError(f"{file}: {place}: {problem['msg']}; keys are {', '.join(DatasetFile.model_fields)}") from None


def _format_of(splits: Mapping[str, Path]) -> Format:
    by_suffix: dict[str, Format] = {".json": "coco-video", ".odgt": "crowdhuman"}
    return by_suffix.get(next(iter(splits.values())).suffix, "mot")


def _look(root: Path, wanted: DataFormat, settings: DatasetFile) -> Layout | None:
    """The folder in the wanted format; for ``auto`` in the first that fits."""
    for kind, look in _LOOKS.items():
        if wanted == kind or (wanted == "auto" and kind != "generated"):
            splits, explanation = look(root)
            if splits:
                return Layout(root, kind, splits, explanation, settings)
    return None


def _nothing_found(root: Path, wanted: DataFormat) -> str:
    """Why, and where something is: people name the folder above, or another format."""
    layouts = (_look(folder, wanted, DatasetFile()) for folder in subfolders(root))
    inside = [layout.root.name for layout in layouts if layout]
    if inside:
        return f"{root}: holds several data sets or parts of one ({', '.join(inside)}); name one of them"
    if wanted != "auto":
        other = _look(root, "auto", DatasetFile())
        return f"{root}: is not in the format {wanted}" + (f" but {other.format}" if other else "")
    if generated.find_splits(root):
        return f"{root}: holds text of the published scripts but no ground truth; the format 'generated' reads it"
    return f"{root}: no data set recognised; understood are {UNDERSTOOD}"


# One function a format: the splits it finds in a folder, none where it does not fit, and what it saw.


def _look_for_crowdhuman(root: Path) -> tuple[dict[str, Path], str]:
    files = sorted(root.glob("annotation_*.odgt"))
    return {file.stem.removeprefix("annotation_"): file for file in files}, "CrowdHuman: annotation_*.odgt"


def _look_for_bdd100k(root: Path) -> tuple[dict[str, Path], str]:
    labels, images = root / "labels" / "box_track_20", root / "images" / "track"
    names = {folder.name for folder in subfolders(labels) + subfolders(images)}
    return {name: labels / name for name in sorted(names)}, "BDD100K: labels/box_track_20 and images/track"


def _look_for_mot(root: Path) -> tuple[dict[str, Path], str]:
    if mot.looks_like_sequence(root):
        return {WHOLE: root}, "one sequence in the MOTChallenge layout"
    if any(mot.looks_like_sequence(folder) for folder in subfolders(root)):
        return {WHOLE: root}, "a folder of sequences in the MOTChallenge layout"
    for base in (root, root / "images"):
        splits = {f.name: f for f in subfolders(base) if any(map(mot.looks_like_sequence, subfolders(f)))}
        if splits:
            return splits, f"sequences in the MOTChallenge layout in {', '.join(f'{base.name}/{s}' for s in splits)}"
    return {}, ""


def _look_for_mot17(root: Path) -> tuple[dict[str, Path], str]:
    splits, explanation = _look_for_mot(root)
    names = [root.name] + [folder.name for split in splits.values() for folder in subfolders(split)]
    if not any(mot.DETECTOR_COPY.fullmatch(name) for name in names):
        return {}, ""
    return splits, f"MOT17: {explanation}, named for a detector"


def _look_for_motsynth(root: Path) -> tuple[dict[str, Path], str]:
    found = any((folder / "rgb").is_dir() for folder in subfolders(root / "frames"))
    return {WHOLE: root / "gts"} if found else {}, "MOTSynth: frames/*/rgb and gts"


def _look_for_coco_video(root: Path) -> tuple[dict[str, Path], str]:
    if root.suffix == ".json" and root.is_file():
        return {WHOLE: root}, "a COCO-video JSON"
    files = sorted((root / "annotations").glob("*.json")) or sorted(root.glob("*.json"))
    return {file.stem: file for file in files}, f"COCO-video JSON: {', '.join(file.name for file in files)}"


def _look_for_generated(root: Path) -> tuple[dict[str, Path], str]:
    splits = {name: split.texts for name, split in generated.find_splits(root).items()}
    return splits, "text made by the published scripts (gts or filter_labels)"


_LOOKS: dict[Format, Callable[[Path], tuple[dict[str, Path], str]]] = {
    "crowdhuman": _look_for_crowdhuman,
    "bdd100k": _look_for_bdd100k,
    "motsynth": _look_for_motsynth,
    "mot17": _look_for_mot17,
    "mot": _look_for_mot,
    "coco-video": _look_for_coco_video,  # behind mot: other trackers leave such JSON beside MOT sequences
    "generated": _look_for_generated,
}
