"""Image folders and MOT sequences."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from memotr.data.formats.frame_files import list_frames
from memotr.data.sequences import Sequence
from memotr.errors import UserError
from memotr.evaluation.scoring import evaluate
from memotr.evaluation.tracking import _source as evaluated
from memotr.io.frames import Frame, Source
from memotr.io.image_files import image_size, read_image
from memotr.io.mot import MotSink
from memotr.io.sources import open_source
from tests.io.results import make_tracks
from tests.io.videos import number_of, numbered


def read(path: Path, **choice: int) -> tuple[Source, list[Frame]]:
    with open_source(path, **choice) as source:  # type: ignore[arg-type]
        return source, list(source)


def write_folder(folder: Path, names: list[str]) -> Path:
    """Image i is numbered frame i."""
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), numbered(i, 24, 32))
    return folder


def write_sequence(folder: Path, count: int, seqinfo: str | None = None, images: str = "img1") -> Path:
    write_folder(folder / images, [f"{i:06d}.png" for i in range(1, count + 1)])
    if seqinfo is not None:
        (folder / "seqinfo.ini").write_text(seqinfo)
    return folder


def test_natural_order_and_every_format(tmp_path: Path) -> None:
    names = ["f1.png", "f2.JPG", "f9.bmp", "f10.webp", "f11.tif", "f12.jpe", "f13.ppm", "f100.jpeg"]
    folder = write_folder(tmp_path / "holiday.v2", names)
    (folder / "notes.txt").write_text("not an image")
    (folder / "._f3.png").write_bytes(b"what macOS leaves on other file systems")
    source, frames = read(folder)
    assert [frame.file_name for frame in frames] == names
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames] == list(range(8))
    assert (source.name, source.kind, source.fps, source.frame_count) == ("holiday.v2", "images", 25, 8)
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(8)])


@pytest.mark.parametrize(
    "names",
    [
        ["1_cam1.png", "2_cam1.png", "10_cam1.png"],  # the last number is the same in all
        ["cam10_f1.png", "cam2_f2.png", "cam1_f10.png"],
        ["a.png", "b2.png", "b10.png"],  # not all have one
    ],
)
def test_tracking_and_training_have_one_order(tmp_path: Path, names: list[str]) -> None:
    folder = write_folder(tmp_path / "f", names)
    _, frames = read(folder)
    assert [frame.file_name for frame in frames] == [file.name for file in list_frames(folder).files] == names


def test_selection(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", [f"{i}.png" for i in range(10)])
    source, frames = read(folder, start=1, end=9, stride=3, max_frames=2)
    assert [(frame.index, number_of(frame.image)) for frame in frames] == [(1, 1), (4, 4)]
    assert source.frame_count == 2
    assert source.fps == Fraction(25, 3)
    assert frames[1].time == pytest.approx(4 / 25)


def test_a_single_image(tmp_path: Path) -> None:
    source, (frame,) = read(write_folder(tmp_path / "f", ["photo.png"]) / "photo.png")
    assert (source.name, frame.file_name, frame.image.shape) == ("photo", "photo.png", (24, 32, 3))


def test_other_kinds_of_pixels(tmp_path: Path) -> None:
    level = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)
    rgb = np.stack([level, level.T.reshape(24, 32), 255 - level], axis=2)
    alpha = np.full((24, 32, 1), 7, np.uint8)
    Image.fromarray(level).save(tmp_path / "grey.png")
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "rgba.png")
    Image.fromarray(rgb).save(tmp_path / "rgb.tif")
    Image.fromarray(rgb).quantize(256).save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "deep.png"), level.astype(np.uint16) * 257)
    grey = np.repeat(level[..., None], 3, axis=2)
    assert np.array_equal(read_image(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_image(tmp_path / "deep.png"), grey)
    assert np.array_equal(read_image(tmp_path / "rgba.png"), rgb)
    assert np.array_equal(read_image(tmp_path / "rgb.tif"), rgb)
    palette = np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    assert np.array_equal(read_image(tmp_path / "palette.png"), palette)


def save_turned(file: Path, orientation: int) -> NDArray[np.uint8]:
    """Write an image that viewers turn or mirror; return its stored pixels."""
    image = np.zeros((24, 32, 3), np.uint8)
    image[:8, :8], image[:8, 24:], image[16:, :8] = 250, 170, 90  # black in the other corner
    if file.suffix == ".tif":
        Image.fromarray(image).save(file, tiffinfo={0x0112: orientation})
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(image).save(file, exif=exif, quality=95)
    return image


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    """As Pillow turns it. What counts as stored is the same in every format."""
    file = tmp_path / f"phone.{suffix}"
    stored = save_turned(file, orientation).astype(int)
    with Image.open(file) as image:
        upright = np.asarray(ImageOps.exif_transpose(image), int)
    for found, expected in ((read_image(file), stored), (read_image(file, upright=True), upright)):
        assert found.shape == expected.shape
        assert np.abs(found - expected).mean() < 8
    assert image_size(file) == (24, 32)


def test_turned_images_of_a_folder_and_of_a_sequence(tmp_path: Path) -> None:
    """Ground truth counts stored pixels: training, evaluation and tracking read the images of a sequence so."""
    photos, images = tmp_path / "photos", tmp_path / "seq" / "img1"
    for folder in (photos, images):
        folder.mkdir(parents=True)
        for i, orientation in ((1, 1), (2, 6)):
            stored = save_turned(folder / f"{i}.jpg", orientation)
    source, frames = read(photos)
    assert [frame.image.shape for frame in frames] == [(24, 32, 3), (32, 24, 3)]
    assert source.notes == [
        "photos: the EXIF rotation of 1 of its images is applied, and boxes are in the turned images (2.jpg)"
    ]
    for path in (tmp_path / "seq", images):
        source, frames = read(path)
        assert np.abs(frames[1].image.astype(int) - stored).mean() < 8
        assert source.notes == ["seq: the EXIF rotation of 1 of its images is ignored, as in data sets (2.jpg)"]
    sequence = Sequence("seq", tuple(sorted(images.iterdir())), None, ("person",))
    with evaluated(sequence) as source:
        assert all(np.array_equal(a.image, b.image) for a, b in zip(source, frames, strict=True))
    assert all(
        np.array_equal(read_image(file), frame.image) for file, frame in zip(sequence.frames, frames, strict=True)
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_that_a_folder_uses_are_scaled_to_8(tmp_path: Path, bits: int) -> None:
    """One rule for all images of a folder: its dark ones stay dark."""
    white = (1 << bits) - 1
    for i, level in enumerate((white // 20, white // 2, white)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((24, 32), level, np.uint16))
    source, frames = read(tmp_path)
    levels = [round(level * 255 / white) for level in (white // 20, white // 2, white)]
    assert [frame.image[3, 4].tolist() for frame in frames] == [[level] * 3 for level in levels]
    assert [read_image(tmp_path / f"{i}.png")[0, 0, 0] for i in range(3)] == levels
    notes = [f"{tmp_path.name}: 3 of its images of 16 bits use {bits}, so {white} is white (0.png, 1.png, 2.png)"]
    assert source.notes == (notes if bits < 16 else [])


def test_numbers_that_are_no_pixels(tmp_path: Path) -> None:
    """What is white in them is not known; they are not damaged."""
    file = tmp_path / "a.tif"
    for pixels, message in (
        (np.full((8, 8), 0.5, np.float32), "its pixels are float32; save it as uint8 or uint16"),
        (np.full((8, 8, 3), 0.5, np.float32), "its pixels are not uint8 or uint16; save it as one of these"),
        (np.full((8, 8), 0.5, np.float64), "its pixels are not uint8 or uint16; save it as one of these"),
        (np.full((8, 8), -5, np.int16), "its pixels are int16"),
        (np.full((8, 8), 70_000, np.int32), "its pixels are int32"),
    ):
        assert cv2.imwrite(str(file), pixels)
        with pytest.raises(UserError, match=message):
            read(file)


def test_sizes_may_change(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", ["1.png"])
    cv2.imwrite(str(folder / "2.png"), numbered(1, 40, 20))
    _, frames = read(folder)
    assert [frame.image.shape for frame in frames] == [(24, 32, 3), (40, 20, 3)]


def test_mot_sequence(tmp_path: Path) -> None:
    """seqLength is that of the full sequence in shortened copies, and so is not believed."""
    info = "[Sequence]\nname=MOT17-02-SDP\nimDir=img1\nframeRate=30\nseqLength=600\nimWidth=1\nimHeight=1\nimExt=.jpg\n"
    folder = write_sequence(tmp_path / "renamed", 5, info)
    for path in (folder, folder / "img1"):
        source, frames = read(path)
        assert (source.name, source.kind, source.fps, source.frame_count) == ("MOT17-02-SDP", "sequence", 30, 5)
        assert [frame.file_name for frame in frames][:2] == ["000001.png", "000002.png"]
        assert [frame.index for frame in frames] == list(range(5))


def test_a_given_rate(tmp_path: Path) -> None:
    """It takes the place of 25, and of a sequence's rate."""
    folder = write_folder(tmp_path / "frames", ["0.png", "1.png", "2.png", "3.png"])
    sequence = write_sequence(tmp_path / "walk", 4, "[Sequence]\nframeRate=30\n")
    for path in (folder, sequence):
        with open_source(path, fps=12.5, stride=3) as source:
            assert [frame.time for frame in source] == [0, pytest.approx(0.24)]
            assert source.fps == Fraction(25, 6)
    with open_source(folder, fps=29.97) as source:
        assert source.fps == Fraction(2997, 100)
    with open_source(folder / "0.png", fps=5) as source:
        assert source.fps == 5


@pytest.mark.parametrize("fps", [0, -1, 0.0001, 1001, float("nan"), float("inf")])
def test_rates_that_are_none(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UserError, match=rf"^fps is {fps}; expected a number .* from 0\.001 to 1000"):
        open_source(write_folder(tmp_path / "frames", ["0.png"]), fps=fps)


@pytest.mark.parametrize(
    ("names", "indices", "note"),
    [
        (["1", "2", "4", "5"], [0, 1, 3, 4], "s: its 4 images are numbered 1 to 5; results use these numbers"),
        (["000000", "000001"], [0, 1], None),
        (["0", "2"], [0, 2], "s: its 2 images are numbered 0 to 2; results use these numbers"),
        (["2", "3"], [1, 2], "s: its 2 images are numbered 2 to 3; results use these numbers"),
        (["60", "61"], [59, 60], "s: its 2 images are numbered 60 to 61; results use these numbers"),
        (["a", "b2", "b10"], [0, 1, 2], None),  # not all have a number
        (["1_cam1", "3_cam1"], [0, 1], None),  # two have the same
    ],
)
def test_frames_of_a_sequence_have_the_numbers_of_its_images(
    tmp_path: Path, names: list[str], indices: list[int], note: str | None
) -> None:
    write_folder(tmp_path / "s" / "img1", [f"{name}.png" for name in names])
    source, frames = read(tmp_path / "s")
    assert [frame.index for frame in frames] == indices
    assert [frame.time for frame in frames] == pytest.approx([(index - indices[0]) / 25 for index in indices])
    assert source.notes == ([] if note is None else [note])
    _, later = read(tmp_path / "s", start=1, max_frames=1)
    assert [frame.index for frame in later] == indices[1:2]


def test_frames_of_other_folders_are_counted(tmp_path: Path) -> None:
    for names, note in (
        (["1", "3"], ["1: its 2 images are numbered 1 to 3; results number the frames without gaps"]),
        ("57", []),
    ):
        source, frames = read(write_folder(tmp_path / names[0], [f"{name}.png" for name in names]))
        assert [frame.index for frame in frames] == [0, 1]
        assert source.notes == note


def test_a_missing_image_of_a_sequence_is_a_miss(tmp_path: Path) -> None:
    """Results of its tracking are scored as those of the other frames."""
    folder = write_folder(tmp_path / "gt" / "s" / "img1", [f"{number:06d}.png" for number in range(1, 11)])
    (folder / "000005.png").unlink()
    (folder.parent / "seqinfo.ini").write_text("[Sequence]\nseqLength=10\n")
    (folder.parent / "gt.txt").write_text("".join(f"{n},1,{10 * n},5,20,20,1,1,1\n" for n in range(1, 11)))
    (tmp_path / "results").mkdir()
    with open_source(folder.parent) as source, MotSink(tmp_path / "results" / "s.txt") as sink:
        for frame in source:
            left = 10 * (number_of(frame.image) + 1)
            sink.write(frame, make_tracks([[left, 5, left + 20, 25]], frame=frame.index))
    found = evaluate(tmp_path / "gt", tmp_path / "results").combined
    assert (found["CLR_TP"], found["CLR_FN"], found["CLR_FP"]) == (9, 1, 0)
    assert found["HOTA"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("info", "images", "name", "fps"),
    [
        (None, "img1", "seq", 25),
        ("[Sequence]\nframeRate=14\n", "img1", "seq", 14),
        ("\ufeff[Sequence]\r\nName=abc\r\nFRAMERATE=12.5\r\nimDir=frames\r\n", "frames", "abc", Fraction(25, 2)),
        ("[Sequence]\nframeRate=29.97002997\n", "img1", "seq", Fraction(30000, 1001)),
        ("[Sequence]\nframeRate=30000/1001\n", "img1", "seq", Fraction(30000, 1001)),
        ("[Sequence]\nname=../../evil\n", "img1", "seq", 25),  # it becomes a file name
        ("[Sequence]\nname=..\n", "img1", "seq", 25),
    ],
)
def test_incomplete_seqinfo(tmp_path: Path, info: str | None, images: str, name: str, fps: Fraction) -> None:
    source, frames = read(write_sequence(tmp_path / "seq", 2, info, images))
    assert (source.name, source.fps, len(frames)) == (name, fps, 2)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("[Sequence]\nframeRate=fast\n", r"seqinfo\.ini: frameRate=fast is not a number"),
        ("[Sequence]\nframeRate=1e999999999\n", r"seqinfo\.ini: frameRate=1e999999999 is not"),
        ("[Sequence]\nframeRate=0\n", r"seqinfo\.ini: frameRate=0 is not"),
        ("frameRate=20\n", r"cannot read .*seqinfo\.ini: File contains no section headers"),
        ("[Other]\nframeRate=20\n", r"cannot read .*seqinfo\.ini: no section 'Sequence'"),
        ("[Sequence]\nimDir=elsewhere\n", r"no image folder .*elsewhere; set imDir in seqinfo\.ini"),
    ],
)
def test_broken_seqinfo(tmp_path: Path, info: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write_sequence(tmp_path / "seq", 2, info))


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
    with open_source(folder) as source:
        frames = iter(source)
        assert next(frames).index == 0
        with pytest.raises(UserError, match=r"2\.png: it is damaged, .*skip such files with --skip-bad"):
            next(frames)


def test_skipping_unreadable_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", [f"{i}.png" for i in range(9)])
    for i in range(2, 9):
        (folder / f"{i}.png").write_bytes(b"" if i == 2 else b"no image")
    with open_source(folder, skip_bad=True) as source:
        assert [frame.index for frame in source] == [0, 1]
    assert source.notes == ["f: 7 of 9 images could not be read (2.png, 3.png, 4.png, 5.png, 6.png, …)"]


def test_nothing_but_unreadable_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", ["1.png"])
    (folder / "1.png").write_bytes(b"")
    with (
        open_source(folder, skip_bad=True) as source,
        pytest.raises(UserError, match=r"none of the selected images in .*f can be read \(1\.png\)"),
    ):
        list(source)
    assert not source.notes, "what is wrong is said once"


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="no image in"):
        read(tmp_path)
    for name in ("seq2", "seq1"):
        write_sequence(tmp_path / name, 1)
    with pytest.raises(UserError, match=r"contains 2 sequences \(seq1, …\); pass one of them"):
        read(tmp_path)
