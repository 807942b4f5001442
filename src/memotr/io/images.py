"""Sources of image files: folders, sequence folders in the MOTChallenge layout, single images."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from fractions import Fraction
from pathlib import Path

from memotr.errors import UserError
from memotr.filenames import unusable
from memotr.io.frames import DEFAULT_FPS, Frame, Selection, Source
from memotr.io.image_files import IMAGE_SUFFIXES, LoadedImage, in_order, load_image
from memotr.io.seqinfo import read_seqinfo

MAX_NAMED = 5  # skipped files that a closing note lists by name


class ImageSource(Source):
    """Source of image files in the given order, one frame each.

    Images of a sequence are read as stored, without the rotation in their EXIF data, as in training and evaluation,
    because ground truth refers to stored pixels. Other images are turned upright, as in viewers. A note reports either.

    Args:
        files: the image files.
        name: see :class:`Source`.
        kind: see :class:`Source`.
        fps: see :class:`Source`.
        selection: see :class:`Source`.
        skip_bad: skip files that cannot be read; None: raise an error that does not suggest --skip-bad.
        indices: ascending ``Frame.index`` of each file; None: its position. The selection counts positions.
    """

    def __init__(
        self,
        files: list[Path],
        *,
        name: str,
        kind: str,
        fps: Fraction,
        selection: Selection,
        skip_bad: bool | None,
        indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__(name, kind, fps, len(files), selection)
        self._indices = range(len(files)) if indices is None else indices
        self._upright = kind != "sequence"
        self._files = files
        self._native_fps = fps
        self._skip_bad = skip_bad

    def __iter__(self) -> Generator[Frame, None, None]:
        skipped: list[str] = []
        oddities = _Oddities(self.name, self._upright)
        chosen = self.selection.indices(len(self._files))
        for position in chosen:
            file, index = self._files[position], self._indices[position]
            try:
                image = load_image(file, upright=self._upright)
            except UserError as error:
                if not self._skip_bad:
                    can_skip = self._skip_bad is not None and len(chosen) > 1
                    remedy = ", or skip such files with --skip-bad" if can_skip else ""
                    raise UserError(f"{error}{remedy}") from error
                skipped.append(file.name)
                continue
            oddities.add(file.name, image)
            yield Frame(index, image.pixels, float((index - self._indices[0]) / self._native_fps), file.name)
        self.notes += oddities.notes()
        if not skipped:
            return
        names = _listed(skipped)
        if len(skipped) == len(chosen):
            raise UserError(f"none of the selected images in {self._files[0].parent} can be read ({names})")
        self.notes.append(f"{self.name}: {len(skipped)} of {len(chosen)} images could not be read ({names})")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")


class _Oddities:
    """Images of a source that were turned, scaled or not read completely, for its notes."""

    def __init__(self, source: str, upright: bool) -> None:
        self._source, self._upright = source, upright
        self._turned: list[str] = []
        self._several: list[str] = []
        self._deep: dict[int, list[str]] = {}  # by the number of bits

    def add(self, name: str, image: LoadedImage) -> None:
        if image.header.orientation != 1:
            self._turned.append(name)
        if image.header.frames > 1:
            self._several.append(name)
        if image.bits is not None and image.bits < 16:
            self._deep.setdefault(image.bits, []).append(name)

    def notes(self) -> list[str]:
        """Return a sentence for each kind of oddity."""
        found = []
        if self._turned:
            outcome = "applied, and boxes are in the turned images" if self._upright else "ignored, as in data sets"
            found.append(
                f"the EXIF rotation of {len(self._turned)} of its images is {outcome} ({_listed(self._turned)})"
            )
        if self._several:
            found.append(
                f"{len(self._several)} of its images have several frames or pages, and only the first is read; give "
                f"such a file alone to track all of it ({_listed(self._several)})"
            )
        for bits, names in self._deep.items():
            found.append(
                f"{len(names)} of its images of 16 bits use {bits}, so {(1 << bits) - 1} is white ({_listed(names)})"
            )
        return [f"{self._source}: {sentence}" for sentence in found]


def open_image(file: Path, selection: Selection, fps: Fraction | None = None) -> ImageSource:
    """Open a single image as a source of one frame."""
    if not file.is_file():  # opening a pipe would wait
        raise UserError(f"cannot read image {file}: it is not a file")
    return ImageSource(
        [file], name=file.stem, kind="images", fps=fps or DEFAULT_FPS, selection=selection, skip_bad=False
    )


def open_folder(folder: Path, selection: Selection, *, skip_bad: bool, fps: Fraction | None = None) -> ImageSource:
    """Open a folder of images, sorted by number (2 before 10), or a MOT sequence folder (``img1/``, ``seqinfo.ini``).

    Frames of a MOT sequence are numbered by the names of its images, as in its ground truth, so a missing image leaves
    a gap in the numbers. Frames of other folders are numbered without gaps. ``fps`` takes the place of the sequence's
    rate, and of 25 in other folders.

    Raises:
        UserError: there is no image in the folder, or ``seqinfo.ini`` cannot be read.
    """
    # An img1 folder stands for its sequence: results named "img1" would overwrite each other.
    sequence = folder.resolve().parent if folder.resolve().name == "img1" else folder
    info_file = sequence / "seqinfo.ini"
    if not info_file.is_file() and not (sequence / "img1").is_dir():
        images, numbers = _images_in(folder)
        source = ImageSource(
            images,
            name=folder.resolve().name,
            kind="images",
            fps=fps or DEFAULT_FPS,
            selection=selection,
            skip_bad=skip_bad,
        )
        if numbers[0] <= 1 and numbers[-1] - numbers[0] >= len(images):
            _note_numbers(source, numbers, "results number the frames without gaps")
        return source
    info = read_seqinfo(info_file)
    for key in ("frameRate", "imDir"):
        if key in info.unusable:
            raise UserError(f"{info_file}: {info.unusable[key]}; correct it, or remove the line")
    # seqLength is not used: in shortened copies of a data set it is still the full sequence's length.
    images, numbers = _images_in(sequence / info.image_folder)
    first = min(1, numbers[0])  # images are numbered from 0 or 1
    source = ImageSource(
        images,
        name=sequence.resolve().name if info.name is None or unusable(info.name) else info.name,
        kind="sequence",
        fps=fps or info.fps or DEFAULT_FPS,
        selection=selection,
        skip_bad=skip_bad,
        indices=[number - first for number in numbers],
    )
    if numbers[-1] - first >= len(images):
        _note_numbers(source, numbers, "results use these numbers")
    return source


def _note_numbers(source: ImageSource, numbers: Sequence[int], outcome: str) -> None:
    span = f"{numbers[0]} to {numbers[-1]}"
    source.notes.append(f"{source.name}: its {len(numbers):,} images are numbered {span}; {outcome}")


def _images_in(folder: Path) -> tuple[list[Path], Sequence[int]]:
    """Return the images in order and their numbers, which are those in their names or, if not usable, 1, 2, …."""
    if not folder.is_dir():
        raise UserError(f"no image folder {folder}; set imDir in seqinfo.ini to its name")
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    images, numbers = in_order(e.name for e in entries if e.suffix.lower() in IMAGE_SUFFIXES and e.is_file())
    if images:
        return [folder / name for name in images], numbers or range(1, len(images) + 1)
    sequences = sorted(entry.name for entry in entries if (entry / "img1").is_dir())
    if sequences:
        raise UserError(f"{folder} contains {len(sequences)} sequences ({sequences[0]}, …); pass one of them")
    raise UserError(
        f"no image in {folder} (suffixes: {', '.join(sorted(IMAGE_SUFFIXES))}); to track a video, pass its file"
    )
