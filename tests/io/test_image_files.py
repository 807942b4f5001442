"""Image files: always (H, W, 3) uint8 RGB, as stored or upright, or one line that names the file."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from memotr.errors import UserError
from memotr.io.image_files import ImageError, image_size, read_header, read_image, spread, used_bits

RED = (200, 30, 10)


def red(shape=(20, 30)) -> np.ndarray:
    return np.full((*shape, 3), RED, np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "jpg", "jp2", "ppm", "jfif"])
def test_red_stays_red(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"é.{suffix}"
    Image.fromarray(red()).save(file)
    image = read_image(file)
    assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)
    np.testing.assert_allclose(image.astype(int), red(), atol=6)
    assert image_size(file) == (20, 30)


@pytest.mark.parametrize(("largest", "bits"), [(0, 8), (255, 8), (256, 10), (511, 10), (1024, 12), (65535, 16)])
def test_bits_in_use_are_those_of_a_camera(largest: int, bits: int) -> None:
    assert used_bits([np.zeros((2, 2), np.uint16), np.full((2, 2), largest, np.uint16)]) == bits


@pytest.mark.parametrize(("count", "numbers"), [(0, []), (1, [0]), (4, [0, 1, 2, 3]), (13, [0, 4, 8, 12])])
def test_a_sample_has_the_first_and_the_last(count: int, numbers: list[int]) -> None:
    assert spread(count, 4) == numbers


def test_other_kinds_of_pixels(tmp_path: Path) -> None:
    deep = np.full((4, 6), 0x8040, np.uint16)
    for name, pixels, expected in (
        ("grey", np.full((4, 6), 99, np.uint8), (99, 99, 99)),
        ("alpha", np.dstack([red((4, 6))[..., ::-1], np.full((4, 6), 9, np.uint8)]), RED),
        ("deep", deep, (128, 128, 128)),
        ("deep colour", np.dstack([deep] * 3), (128, 128, 128)),
    ):
        file = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(file), pixels)
        np.testing.assert_array_equal(read_image(file), np.full((4, 6, 3), expected, np.uint8), err_msg=name)


def test_exif_rotation_is_obeyed_on_request(tmp_path: Path) -> None:
    """Annotations are in stored pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(red()).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(red()).save(tmp_path / "plain.jpg")
    assert read_image(tmp_path / "turned.jpg").shape == (20, 30, 3)
    assert read_image(tmp_path / "turned.jpg", upright=True).shape == (30, 20, 3)
    assert image_size(tmp_path / "turned.jpg") == (20, 30)
    assert [read_header(tmp_path / name).orientation for name in ("turned.jpg", "plain.jpg")] == [6, 1]


def test_the_size_of_an_image_that_pillow_takes_for_a_bomb(tmp_path: Path) -> None:
    file, limit = png_header(tmp_path / "large.png", 20_000, 10_000), Image.MAX_IMAGE_PIXELS
    assert (image_size(file), read_header(file).orientation) == ((10_000, 20_000), 1)
    assert limit == Image.MAX_IMAGE_PIXELS


def png_header(path: Path, width: int, height: int) -> Path:
    """The beginning of a PNG of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def test_a_few_bytes_that_announce_too_many_pixels(tmp_path: Path) -> None:
    """Nothing is decoded, whatever the format is that OpenCV would recognise."""
    file = png_header(tmp_path / "bomb.png", 20_000, 10_001)
    with pytest.raises(ImageError, match=r"20000 x 10001 pixels, more than 200,000,000; make it smaller"):
        read_image(file)
    radiance = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n"
    for header, reason in ((b"P6 30000 30000 255\n", "it has 30000 x 30000 pixels"), (radiance, "not an image")):
        (tmp_path / "disguised.jpg").write_bytes(header + b"pixels")
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / "disguised.jpg")


def test_a_file_of_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "padded.png"
    Image.fromarray(red()).save(file)
    monkeypatch.setattr("memotr.io.image_files.MAX_BYTES", file.stat().st_size)
    assert read_image(file).shape == (20, 30, 3)
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(ImageError, match="larger than"):
        read_image(file)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "jpg"])
def test_damaged_headers(tmp_path: Path, suffix: str) -> None:
    """Pillow's parsers raise errors of every kind; each is one line here."""
    file, rng = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    Image.fromarray(red()).save(file)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    for _ in range(60):
        data = whole.copy()
        where = rng.integers(0, min(120, len(data)), 4)
        data[where] = rng.integers(0, 256, 4)
        file.write_bytes(data.tobytes())
        for read in (read_image, image_size):
            with suppress(ImageError):
                read(file)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_cut_short(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "a.jpg"
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match=f"cannot read image {file}: it is "):
        read_image(file)
    with pytest.raises(ImageError, match=f"cannot read image {file}: it is "):
        image_size(file)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("after", [bytes(512), bytes(100_000), b"\0\0\0\x18ftypmp42" + b"\xff\x07film" * 20_000])
def test_bytes_after_a_jpeg_are_legal(tmp_path: Path, after: bytes, progressive: bool) -> None:
    """Padding, and the films that phones append. They hide no missing part of the image itself."""
    file, rng = tmp_path / "a.jpg", np.random.default_rng(0)
    exif = Image.Exif()
    thumbnail = b"\xff\xd8 thumbnail \xff\xd9"
    pixels = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, exif=exif, comment=thumbnail, progressive=progressive)
    image = file.read_bytes()
    expected = read_image(file)
    file.write_bytes(image + after)
    np.testing.assert_array_equal(read_image(file), expected)
    assert image_size(file) == (90, 120)
    for cut in (len(image) - 1, len(image) // 2):
        file.write_bytes(image[:cut] + after)
        for read in (read_image, image_size):
            with pytest.raises(ImageError, match="cut short"):
                read(file)


def test_missing_and_no_image(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(UserError, match=r"cannot read image .*missing.jpg: No such file"):
            read(tmp_path / "missing.jpg")
        (tmp_path / "text.png").write_text("not an image" * 10)
        with pytest.raises(UserError, match=r"cannot read image .*text.png: it is damaged"):
            read(tmp_path / "text.png")
