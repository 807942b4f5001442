"""Image files of several frames, each frame at its time, whatever its format."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from memotr.errors import UserError
from memotr.io.frames import Frame, Source
from memotr.io.sources import open_source
from tests.io.videos import number_of, numbered


def read(path: Path, **choice: int) -> tuple[Source, list[Frame]]:
    with open_source(path, **choice) as source:  # type: ignore[arg-type]
        return source, list(source)


def save(path: Path, count: int = 10, **options: object) -> Path:
    first, *others = [Image.fromarray(numbered(i, 24, 32)) for i in range(count)]
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("suffix", ["webp", "png", "gif", "avif"])
def test_every_frame_of_an_animation_at_its_time(tmp_path: Path, suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    durations = [100] * 10 if suffix == "avif" else [100] * 5 + [40] * 5
    source, frames = read(save(tmp_path / f"a.{suffix}", duration=durations, quality=100))
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx(np.cumsum([0, *durations[:-1]]) / 1000)
    assert frames[0].file_name is None
    assert (source.name, source.kind, source.notes) == ("a", "video", [])
    _, chosen = read(tmp_path / f"a.{suffix}", start=3, end=8, stride=2)
    assert [(frame.index, number_of(frame.image)) for frame in chosen] == [(3, 3), (5, 5), (7, 7)]


def test_a_webp_knows_its_length_and_rate(tmp_path: Path) -> None:
    source, frames = read(save(tmp_path / "a.webp", duration=[50, 50, 0, 50] + [50] * 6, lossless=True))
    assert (source.frame_count, float(source.fps)) == (10, pytest.approx(10 / 0.55, rel=1e-3))
    assert [frame.time for frame in frames[:5]] == pytest.approx([0, 0.05, 0.1, 0.2, 0.25]), (
        "0 is 0.1 s, as in browsers"
    )


@pytest.mark.parametrize("deep", [False, True])
def test_every_page_of_a_tiff(tmp_path: Path, deep: bool) -> None:
    """One scale for all, also where the first ones are dark."""
    white = 4095 if deep else 255
    pages = [np.full((24, 32, 3), white * i // 9, np.uint16 if deep else np.uint8) for i in range(10)]
    assert cv2.imwritemulti(str(tmp_path / "stack.tif"), pages)
    source, frames = read(tmp_path / "stack.tif")
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(10)])
    assert [frame.image[0, 0].tolist() for frame in frames] == [
        [round(white * i // 9 * 255 / white)] * 3 for i in range(10)
    ]
    assert source.frame_count == 10
    with open_source(tmp_path / "stack.tif", fps=10) as slower:
        assert [frame.time for frame in slower][:3] == pytest.approx([0, 0.1, 0.2])


def test_previews_and_levels_of_a_pyramid_are_no_frames(tmp_path: Path) -> None:
    file = tmp_path / "slide.tif"
    pages = [Image.fromarray(numbered(i, *size)) for i, size in enumerate([(24, 32), (24, 32), (12, 16)])]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    source, frames = read(file)
    assert [number_of(frame.image) for frame in frames] == [0, 1]
    assert source.notes == [f"{file}: 1 of its 3 pages are left out: previews, masks, or of another size"]


def test_pages_behind_a_preview_may_not_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "slide.tif"
    preview, page = (Image.fromarray(numbered(i, *size)) for i, size in enumerate([(2, 3), (24, 32)]))
    preview.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    preview.save(file, save_all=True, append_images=[page])
    _, (frame,) = read(file)
    assert number_of(frame.image) == 1
    monkeypatch.setattr("memotr.io.animations.MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(UserError, match="its pages have more than 767 pixels"):
        read(file)


def test_in_a_folder_each_file_is_a_frame(tmp_path: Path) -> None:
    """The others are not dropped without a word."""
    folder = tmp_path / "f"
    folder.mkdir()
    save(folder / "1.webp", lossless=True)
    Image.fromarray(numbered(7, 24, 32)).save(folder / "2.png")
    source, frames = read(folder)
    assert [number_of(frame.image) for frame in frames] == [0, 7]
    assert source.notes == [
        "f: 1 of its images have several frames or pages, and only the first is read; give such a file alone to track "
        "all of it (1.webp)"
    ]


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_an_animation_that_is_cut_short(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    first, *others = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(10)]
    file = tmp_path / f"a.{suffix}"
    first.save(file, save_all=True, append_images=others)
    file.write_bytes(file.read_bytes()[:-3000])
    if suffix == "png":  # FFmpeg reads the frames before
        source, frames = read(file)
        assert len(frames) == 8
        assert source.notes == [f"{file} is damaged or cut short: 8 frames could be read"]
    else:
        with pytest.raises(UserError, match=rf"a\.{suffix}: it is damaged, cut short"):
            read(file)
