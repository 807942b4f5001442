"""The annotated video, read back."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.io.frames import Frame
from memotr.io.mp4 import VideoSink, fit
from memotr.io.sources import open_source
from tests.io.results import make_frame, make_tracks
from tests.io.videos import number_of, numbered

FPS = Fraction(25, 2)


def write(path: Path, frames: list[Frame], *, fps: Fraction = FPS) -> None:
    with VideoSink(path, fps=fps) as sink:
        for frame in frames:
            sink.write(frame, make_tracks([], frame=frame.index))


def numbered_frames(indices: list[int], height: int = 64, width: int = 96, rate: Fraction = FPS) -> list[Frame]:
    return [Frame(i, numbered(i, height, width), i / float(rate)) for i in indices]


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def test_videos_play_in_browsers(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", numbered_frames(list(range(12))))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (96, 64, 12)
        assert stream.average_rate == FPS
        assert "mp4" in container.format.name
        assert [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)] == list(range(12))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), (
        "the index comes first, so that playing starts before the end is there"
    )


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(25, 2), Fraction(1, 4), Fraction(5, 3), Fraction(240)])
def test_every_rate_is_constant(tmp_path: Path, fps: Fraction) -> None:
    write(tmp_path / "a.mp4", numbered_frames(list(range(20)), rate=fps), fps=fps)
    shown = times(tmp_path / "a.mp4")
    assert [float(t) for t in shown] == pytest.approx([i / float(fps) for i in range(20)], rel=1e-3, abs=1e-4)


def test_lost_frames_leave_their_time_behind(tmp_path: Path) -> None:
    """Started at 4 with stride 2, frame 8 could not be read: frame 10 comes two steps after frame 6."""
    write(tmp_path / "a.mp4", numbered_frames([4, 6, 10, 12], rate=2 * FPS))
    assert [t * FPS for t in times(tmp_path / "a.mp4")] == [0, 1, 3, 4]


def test_a_variable_rate_stays_one(tmp_path: Path) -> None:
    seconds = [3.0, 3.02, 3.1, 5.0, 5.5, 5.5, 4.0]  # the last two cannot be shown when they say
    frames = [Frame(i, numbered(i, 64, 96), time) for i, time in enumerate(seconds)]
    write(tmp_path / "a.mp4", frames)
    tick = 1 / (16 * float(FPS))
    shown = [0, 0.02, 0.1, 2.0, 2.5, 2.5 + tick, 2.5 + 2 * tick]
    assert [float(t) for t in times(tmp_path / "a.mp4")] == pytest.approx(shown, abs=tick / 2 + 1e-4)


@pytest.mark.parametrize("size", [(1, 1), (63, 96), (64, 95), (33, 17), (2, 640)])
def test_odd_sizes_grow_by_at_most_one_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    write(tmp_path / "a.mp4", numbered_frames([0, 1, 2], *size))
    with open_source(tmp_path / "a.mp4") as source:
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)


def test_colours_survive(tmp_path: Path) -> None:
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (30, 160, 220)], np.uint8)
    image = np.repeat(np.repeat(colours[None], 32, axis=1), 64, axis=0)
    write(tmp_path / "a.mp4", [Frame(i, image, 0.0) for i in range(3)])
    with open_source(tmp_path / "a.mp4") as source:
        frame = next(iter(source))
    assert np.abs(frame.image[32, 16::32].astype(int) - colours).max() <= 4


def test_tracks_are_drawn(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4", fps=FPS) as sink:
        for i in range(3):
            sink.write(make_frame(i, height=200, width=300), make_tracks([[60, 60, 200, 180]], frame=i))
    with open_source(tmp_path / "a.mp4") as source:
        image = list(source)[-1].image.astype(int)
    assert np.abs(image[120, 100:160] - 100).max() < 12  # inside the box
    assert np.abs(image[120, 58:63] - 100).max() > 60  # its left side
    assert np.abs(image[5:30] - 100).max() < 12  # far from it


def test_pixel_aspect_is_passed_on(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4", fps=FPS, pixel_aspect=Fraction(16, 11)) as sink:
        sink.write(make_frame(), make_tracks([]))
    with open_source(tmp_path / "a.mp4") as source:
        assert source.pixel_aspect == Fraction(16, 11)


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    frames = [*numbered_frames([5]), Frame(6, numbered(20, 128, 96), 0.0), Frame(7, numbered(20, 32, 96), 0.0)]
    write(tmp_path / "a.mp4", frames)
    with open_source(tmp_path / "a.mp4") as source:
        first, tall, wide = (frame.image.astype(int) for frame in source)
    assert first.shape == tall.shape == wide.shape == (64, 96, 3)
    assert np.abs(tall[:, 30:66] - 160).max() < 8  # 48 columns of 96 are picture, the rest is bars
    assert tall[:, :20].max() < 8
    assert np.abs(wide[20:44] - 160).max() < 8
    assert wide[:12].max() < 8


def test_fit() -> None:
    image = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    assert fit(image, 3, 5) is image
    padded = fit(image, 4, 6)
    assert np.array_equal(padded[:3, :5], image)
    assert np.array_equal(padded[3], padded[2])
    assert np.array_equal(padded[:, 5], padded[:, 4])


def test_stopping_half_way_leaves_a_whole_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older run")
    sink = VideoSink(path, fps=FPS)
    assert sink.replaces
    for frame in numbered_frames([0, 1, 2]):
        sink.write(frame, make_tracks([], frame=frame.index))
    assert path.read_bytes() == b"an older run"
    sink.close()
    sink.close()
    with open_source(path) as source:
        assert [number_of(frame.image) for frame in source] == [0, 1, 2]
    assert source.notes == []
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_mean_something_to_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colon names a protocol, and %d a series of files."""
    monkeypatch.chdir(tmp_path)
    names = ["cam: 10:30.mp4", "http:x.mp4", "a%03d.mp4", "pipe:1.mp4", "a?b#c.mp4", "it's.mp4"]
    for name in names:
        write(Path(name), numbered_frames([0, 1, 2]))
        assert len(times(tmp_path / name)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_without_a_frame_an_older_video_stays(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"an older run")
    VideoSink(tmp_path / "a.mp4", fps=FPS).close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an older run"]


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memotr.io.mp4.ENCODERS", {"no_such_encoder": {}})
    with pytest.raises(UserError, match=r"has no H\.264 encoder"):
        VideoSink(tmp_path / "a.mp4", fps=FPS)
    assert list(tmp_path.iterdir()) == []
