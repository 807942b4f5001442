"""Videos of every odd kind, each against what was put into it."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import av.container
import cv2
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.io.frames import Frame, Source
from memotr.io.mp4 import VideoSink
from memotr.io.sources import open_source
from tests.io.results import make_tracks
from tests.io.videos import number_of, numbered, numbered_video, two_streams, write_video

REAL = Path(os.environ.get("MEMOTR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def read(path: Path | str, **choice: int) -> tuple[Source, list[Frame]]:
    with open_source(path, **choice) as source:  # type: ignore[arg-type]
        return source, list(source)


def numbers(frames: list[Frame]) -> list[int]:
    """The frame numbers, each checked against the picture."""
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames]
    return [frame.index for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.gif", "gif", "gray"),
        ("clip.avi", "mjpeg", "yuvj420p"),
        ("clip.mkv", "ffv1", "bgr0"),
        ("clip.mov", "mpeg4", "yuv420p"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip.mkv", "libx264", "yuv420p10le"),
        ("clip.mkv", "ffv1", "gray16le"),
        ("clip.ts", "libx264", "yuv420p"),
    ],
)
def test_every_frame_of_every_codec(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    source, frames = read(numbered_video(tmp_path / name, 12, codec=codec, pix_fmt=pix_fmt))
    assert numbers(frames) == list(range(12))
    assert (source.name, source.kind, source.fps, source.frame_count, source.notes) == ("clip", "video", 25, 12, [])
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (64, 96, 3) for frame in frames)
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(12)], abs=1e-3)
    assert frames[0].file_name is None


def test_colours(tmp_path: Path) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :32], image[:, 32:64], image[:, 64:] = (250, 20, 10), (20, 240, 30), (10, 20, 230)
    _, (frame,) = read(write_video(tmp_path / "colours.mkv", [image], codec="ffv1", pix_fmt="bgr0"))
    assert np.array_equal(frame.image, image)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"start": 3}, range(3, 12)),
        ({"end": 4}, range(4)),
        ({"stride": 5}, range(0, 12, 5)),
        ({"max_frames": 2}, range(2)),
        ({"start": 2, "end": 11, "stride": 3, "max_frames": 2}, range(2, 8, 3)),
        ({"start": 2, "end": 5, "stride": 3, "max_frames": 9}, range(2, 5, 3)),
        ({"end": 100}, range(12)),
    ],
)
def test_frames_keep_their_number_in_the_source(tmp_path: Path, choice: dict[str, int], expected: range) -> None:
    source, frames = read(numbered_video(tmp_path / "clip.mp4", 12), **choice)
    assert numbers(frames) == list(expected)
    assert source.frame_count == len(expected)
    assert source.fps == Fraction(25, choice.get("stride", 1))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in expected])


def test_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 510, 1000, 1900]
    video = numbered_video(tmp_path / "v.mkv", 7, times=times, time_base=Fraction(1, 1000))
    source, frames = read(video)
    assert numbers(frames) == list(range(7))
    assert [frame.time for frame in frames] == pytest.approx([t / 1000 for t in times])
    assert source.notes == []


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video")])
def test_joined_segments(tmp_path: Path, suffix: str, codec: str) -> None:
    """Time stamps begin anew in each, and MPEG-TS loses count of its packets there, which is no damage."""
    counts = (24, 20, 5)
    segments = [numbered_video(tmp_path / f"{n}.{suffix}", n, codec=codec) for n in counts]
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(b"".join(segment.read_bytes() for segment in segments))
    source, frames = read(joined)
    if suffix == "ts":
        assert [number_of(frame.image) for frame in frames] == [i for n in counts for i in range(n)]
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(49)], abs=1e-3)
    assert source.frame_count is None, "the time stamps tell no length"
    assert source.notes == [
        f"{joined}: time stamps do not increase, or jump, at 2 frames (first at frame 24); there times advance by one "
        "frame interval (0.04 s)"
    ]
    with VideoSink(tmp_path / "annotated.mp4", fps=source.fps) as sink:
        for frame in frames:
            sink.write(frame, make_tracks([], frame=frame.index))
    _, again = read(tmp_path / "annotated.mp4")
    assert [frame.time for frame in again] == pytest.approx([i / 25 for i in range(49)], abs=3e-3)
    _, later = read(joined, start=40, end=49, stride=3)
    assert [(frame.index, frame.time) for frame in later] == [(i, pytest.approx(i / 25)) for i in range(40, 49, 3)]


def shifted(video: Path, target: Path, ticks: Callable[[int], int]) -> Path:
    """Copy a video with other time stamps, given those it has."""
    with av.open(str(video)) as before, av.open(str(target), "w") as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream)
        for packet in before.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts, packet.dts, packet.stream = ticks(packet.pts), ticks(packet.dts), copy
            after.mux(packet)
    return target


@pytest.mark.parametrize(("gap", "second"), [(0.96, 0.96), (8, 8.0), (30, 0.96)])
def test_a_gap_in_a_format_that_can_be_concatenated(tmp_path: Path, gap: float, second: float) -> None:
    """Up to 10 seconds it is a gap, as FFmpeg sees it, beyond another segment."""
    first = numbered_video(tmp_path / "a.ts", 24)
    other = shifted(first, tmp_path / "b.ts", lambda stamp: stamp + round(gap * 90_000))
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + other.read_bytes())
    source, frames = read(tmp_path / "joined.ts")
    assert [frame.time for frame in frames[23:26]] == pytest.approx([23 / 25, second, second + 1 / 25], abs=1e-3)
    assert len(source.notes) == (gap > 10)


def test_a_gap_in_a_file_of_one_piece(tmp_path: Path) -> None:
    """A time lapse may have a frame an hour."""
    times = [0, 40, 3_600_000, 3_600_040]
    source, frames = read(numbered_video(tmp_path / "v.mkv", 4, times=times, time_base=Fraction(1, 1000)))
    assert [frame.time for frame in frames] == pytest.approx([t / 1000 for t in times])
    assert source.notes == []


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuvj420p"), ("ffv1", "bgr0")])
def test_equal_time_stamps(tmp_path: Path, codec: str, pix_fmt: str, step: int) -> None:
    """Some writers add a tick to each, because formats ask for rising ones."""
    video = numbered_video(tmp_path / "v.mkv", 30, codec=codec, pix_fmt=pix_fmt)
    stamps = iter(range(100))
    source, frames = read(shifted(video, tmp_path / "equal.mkv", lambda _: next(stamps) // 2 * step))
    assert numbers(frames) == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(30)])
    assert source.fps == 25
    (note,) = source.notes
    assert "time stamps do not increase, or jump, at 29 frames (first at frame 1)" in note


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_joined_mp4_files(tmp_path: Path, options: dict[str, str]) -> None:
    """Of most, only the first can be read, which must not go without a word."""
    film = numbered_video(tmp_path / "film.mp4", 10, muxer_options=options)
    source, frames = read(film)
    assert (numbers(frames), source.notes) == (list(range(10)), [])
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(film.read_bytes() * 3)
    source, frames = read(joined)
    assert numbers(frames) == list(range(10))
    assert source.notes == [
        f"{joined} is 3 MP4 files one after another, and possibly only the first is read; join them "
        "with `ffmpeg -f concat`"
    ]


@pytest.mark.parametrize(("suffix", "codec"), [(".flv", "flv"), (".wmv", "wmv2"), (".ivf", "libvpx")])
def test_joined_files_of_which_only_the_first_is_read(tmp_path: Path, suffix: str, codec: str) -> None:
    film = numbered_video(tmp_path / f"film{suffix}", 10, codec=codec)
    source, frames = read(film)
    assert (len(frames), source.notes) == (10, [])
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(film.read_bytes() * 2)
    source, frames = read(joined)
    assert len(frames) == 10
    assert source.notes == [
        f"{joined} is several files one after another, and only the first was read; join them with `ffmpeg -f concat`"
    ]


def test_hdr_is_noted(tmp_path: Path) -> None:
    video = tmp_path / "hdr.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.colorspace = 16, 9  # PQ, BT.2020
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(numbered(i, 64, 96), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p10le")))
        container.mux(stream.encode(None))
    source, frames = read(video)
    assert len(frames) == 3
    (note,) = source.notes
    assert note.startswith(f"{video} is HDR video (PQ), read without tone mapping")


def test_lost_packets_are_damage(tmp_path: Path) -> None:
    video = noisy_video(tmp_path / "lossy.ts", codec="mpeg2video")
    data = video.read_bytes()
    middle = len(data) // 376 * 188
    video.write_bytes(data[:middle] + data[middle + 3 * 188 :])
    source, _ = read(video)
    assert "lossy.ts is damaged or cut short" in source.notes[0]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_cover_pictures_and_thumbnails_are_not_the_film(tmp_path: Path, name: str) -> None:
    film = ("libx264", 9, 64)
    for cover in (True, False):
        source, frames = read(two_streams(tmp_path / name, ("mjpeg", 1, 128), film, cover=cover))
        assert numbers(frames) == list(range(9))
        assert source.frame_count == 9


def test_a_cover_picture_alone(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    with av.open(str(song), "w") as container:
        sound, cover = container.add_stream("libmp3lame", rate=16000), container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(numbered(3, 32, 32), format="rgb24")))
        for _ in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(UserError, match=r"no video in .*song\.mp3, only a cover picture"):
        read(song)


def test_several_films_in_one_file(tmp_path: Path) -> None:
    """As in a recording of two cameras."""
    video = two_streams(tmp_path / "v.mkv", ("libx264", 5, 32), ("libx264", 9, 64))
    source, frames = read(video)
    assert [number_of(frame.image) for frame in frames] == list(range(20, 25))
    assert source.notes == [
        f"{video} has several video streams, 0 (32 x 32), 1 (64 x 64): stream 0 is used; choose another with --stream"
    ]
    source, frames = read(video, stream=1)
    assert numbers(frames) == list(range(9))
    assert source.notes == []
    with pytest.raises(UserError, match=r"no video stream 2 in .*v\.mkv; available are 0 \(32 x 32\), 1 \(64 x 64\)"):
        read(video, stream=2)
    with pytest.raises(UserError, match="is not a video and has no streams; leave out --stream"):
        read(tmp_path, stream=0)


def test_a_video_that_does_not_begin_at_0_is_whole(tmp_path: Path) -> None:
    times = [4000 + 40 * i for i in range(10)]
    source, frames = read(numbered_video(tmp_path / "v.mkv", 10, times=times, time_base=Fraction(1, 1000)))
    assert numbers(frames) == list(range(10))
    assert source.notes == []
    assert source.frame_count == pytest.approx(10, abs=1)


def test_an_estimated_length_refuses_no_start(tmp_path: Path) -> None:
    times = [10 * i for i in range(30)]  # more frames than its rate and its length say
    video = numbered_video(tmp_path / "v.mkv", 30, times=times, time_base=Fraction(1, 1000))
    _, frames = read(video, start=29)
    assert numbers(frames) == [29]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation(tmp_path: Path, degrees: int, mirror: bool) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48] = 250  # the corner that tells where up and left went
    image[:32, 48:] = 120
    _, (frame,) = read(write_video(tmp_path / "r.mp4", [image], rotate=degrees, mirror=mirror))
    expected = np.rot90(image, degrees // 90)  # counterclockwise
    if mirror:
        expected = expected[:, ::-1]
    assert frame.image.shape == expected.shape
    assert frame.image.flags.c_contiguous
    assert np.abs(frame.image.astype(int) - expected).mean() < 6


def test_other_angles_are_left_alone(tmp_path: Path) -> None:
    _, (frame,) = read(write_video(tmp_path / "r.mp4", [numbered(3, 64, 96)], rotate=30))
    assert frame.image.shape == (64, 96, 3)


def test_one_frame(tmp_path: Path) -> None:
    source, frames = read(numbered_video(tmp_path / "one.mp4", 1))
    assert numbers(frames) == [0]
    assert source.frame_count == 1
    assert 0 < source.fps <= 1000


@pytest.mark.parametrize("size", [(1, 1), (63, 95), (2, 500), (33, 17)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    _, frames = read(
        numbered_video(tmp_path / "odd.mkv", 3, height=size[0], width=size[1], codec="ffv1", pix_fmt="bgr0")
    )
    assert numbers(frames) == [0, 1, 2]
    assert frames[0].image.shape == (*size, 3)


def test_audio_is_ignored(tmp_path: Path) -> None:
    source, frames = read(numbered_video(tmp_path / "loud.mp4", 5, audio=True))
    assert numbers(frames) == list(range(5))
    assert source.notes == []


def test_oblong_pixels_stay_stored_pixels(tmp_path: Path) -> None:
    source, frames = read(numbered_video(tmp_path / "pal.mp4", 2, aspect=Fraction(16, 11)))
    assert source.pixel_aspect == Fraction(16, 11)
    assert frames[0].image.shape == (64, 96, 3)
    turned, _ = read(numbered_video(tmp_path / "turned.mp4", 2, aspect=Fraction(16, 11), rotate=90))
    assert turned.pixel_aspect == Fraction(11, 16)


def test_ntsc_rate_is_exact(tmp_path: Path) -> None:
    source, _ = read(numbered_video(tmp_path / "ntsc.mp4", 20, rate=Fraction(30000, 1001)), stride=2)
    assert source.fps == Fraction(15000, 1001)


def test_a_video_inside_an_edit_list_is_whole(tmp_path: Path) -> None:
    """Phones trim without encoding anew: the file holds more frames than are to be shown, which is no damage."""
    whole, trimmed = numbered_video(tmp_path / "whole.mp4", 20), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as before, av.open(str(trimmed), "w") as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream)
        for packet in before.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            cut = round(8 / 25 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - cut, packet.dts - cut, copy
            after.mux(packet)
    source, frames = read(trimmed)
    assert [number_of(frame.image) for frame in frames] == list(range(8, 20))
    assert (source.frame_count, source.notes) == (12, [])


def cut(video: Path, share: float) -> Path:
    data = video.read_bytes()
    video.write_bytes(data[: int(len(data) * share)])
    return video


def noisy_video(path: Path, **options: object) -> Path:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(40)]
    return write_video(path, images, **options)  # type: ignore[arg-type]


def test_truncated_video_is_read_to_its_end_with_a_note(tmp_path: Path) -> None:
    video = cut(noisy_video(tmp_path / "cut.mp4", muxer_options={"movflags": "+faststart"}), 0.6)
    source, frames = read(video)
    assert 15 < len(frames) < 40
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert source.notes == [f"{video} is damaged or cut short: {len(frames)} of 40 frames could be read"]


def test_truncated_video_without_a_frame_count(tmp_path: Path) -> None:
    source, frames = read(cut(noisy_video(tmp_path / "cut.mkv"), 0.6))
    assert 15 < len(frames) < 40
    (note,) = source.notes
    assert "cut short" in note
    assert "of 1.6 seconds" in note


def test_truncated_before_any_frame(tmp_path: Path) -> None:
    video = noisy_video(tmp_path / "cut.mp4", muxer_options={"movflags": "+faststart"})
    data = video.read_bytes()
    video.write_bytes(data[: data.index(b"mdat") + 40])
    with pytest.raises(UserError, match=r"cut\.mp4.*damaged, cut short"):
        read(video)


def test_truncated_before_its_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cut\.mp4: it is not a video, or was cut short before its index"):
        read(cut(noisy_video(tmp_path / "cut.mp4"), 0.6))


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    video = noisy_video(tmp_path / "hurt.mp4", muxer_options={"movflags": "+faststart"})
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    video.write_bytes(data)
    source, frames = read(video)
    assert len(frames) > 30
    assert "damaged" in source.notes[0]


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video at all\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("notes.mp4", "empty.mp4"):
        with pytest.raises(UserError, match=rf"{name}: it is not a video"):
            read(tmp_path / name)


def test_tags_that_are_not_utf_8(tmp_path: Path) -> None:
    """Players show them with question marks."""
    video = tmp_path / "tagged.mkv"
    with av.open(str(video), "w") as container:
        container.metadata["title"] = "Zwei Gaenge"
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        stream.metadata["title"] = "Zwei Gaenge"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(0, 64, 96), format="rgb24")))
        container.mux(stream.encode(None))
    data = video.read_bytes()
    assert data.count(b"Zwei Gaenge") == 2
    video.write_bytes(data.replace(b"Zwei Gaenge", b"Zwei G\xe4\xffnge"))
    _, frames = read(video)
    assert len(frames) == 1


def test_a_codec_without_a_decoder(tmp_path: Path) -> None:
    video = numbered_video(tmp_path / "odd.avi", 3, codec="mjpeg", pix_fmt="yuvj420p")
    video.write_bytes(video.read_bytes().replace(b"MJPG", b"Q0Q0"))
    with pytest.raises(UserError, match=r"no decoder for the video in .*odd\.avi"):
        read(video)


def test_frames_of_an_impossible_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before one is decoded where the container says so, else by the codec."""
    video = numbered_video(tmp_path / "large.mp4", 3)
    other = numbered_video(tmp_path / "large.mkv", 3, codec="mjpeg", pix_fmt="yuvj420p")
    monkeypatch.setattr("memotr.io.video.MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(UserError, match=r"large\.mp4 has 96 x 64 pixels; at most 6,143 pixels"):
        read(video)
    with pytest.raises(UserError, match=r"large\.mkv can be decoded: it is damaged, .* or larger than 6,143 pixels"):
        read(other)
    # The container says little, the frames themselves are large.
    data = bytearray(video.read_bytes())
    at = data.index(b"avc1", data.index(b"stsd")) + 28
    assert data[at : at + 4] == bytes([0, 96, 0, 64])
    data[at : at + 4] = bytes([0, 16, 0, 16])
    video.write_bytes(data)
    with pytest.raises(UserError, match=r"large\.mp4"):
        read(video)


def test_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"no video in .*sound\.mp4"):
        read(tmp_path / "sound.mp4")


def test_start_behind_the_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip has 5 frames, numbered from 0; start 5 is beyond the last one"):
        read(numbered_video(tmp_path / "clip.mp4", 5), start=5)


def test_start_behind_the_end_of_a_video_that_does_not_know_its_length(tmp_path: Path) -> None:
    video = noisy_video(tmp_path / "cut.mp4", muxer_options={"movflags": "+faststart"})
    with pytest.raises(UserError, match=r"ends after \d+ frames; start 35"):
        read(cut(video, 0.5), start=35)


def test_names_that_mean_something_to_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("frame%03d.mp4", "concat:b.mp4", "-", "ünï çödé #1.mp4"):
        numbered_video(Path("plain.mp4"), 3).rename(name)
        assert numbers(read(name)[1]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "count", "fps", "size"),
    [
        ("intel_sample_videos/car-detection.mp4", 377, Fraction(25, 2), (432, 768)),
        ("intel_sample_videos/people-detection.gif", 23, Fraction(25, 2), (270, 480)),
        ("mmtracking/demo.mp4", 8, Fraction(3), (1080, 1920)),
        ("supervision_walking/walking.mp4", 341, Fraction(25), (720, 1280)),
    ],
)
def test_real_videos_against_opencv(name: str, count: int, fps: Fraction, size: tuple[int, int]) -> None:
    path = REAL / "videos" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with open_source(path, stride=5) as source:
        frames = list(source)
    assert (len(frames), source.fps, frames[0].image.shape[:2]) == (-(-count // 5), fps / 5, size)
    assert source.notes == []
    capture = cv2.VideoCapture(str(path))
    for index in range(frames[1].index + 1):
        _, image = capture.read()
        if index in (0, 5):  # the same pictures but for the rounding of another colour conversion
            other = frames[index // 5].image[..., ::-1].astype(int)
            assert np.abs(image - other).mean() < 4
