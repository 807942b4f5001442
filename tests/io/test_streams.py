"""Streams that end in an error: every frame that came, at a time of its own, and one note that says where it broke."""

import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.io.frames import Frame, Source
from memotr.io.sources import open_source
from memotr.io.video import MAX_GAP, _Joints, _Times
from tests.io.streams import Answer, serving
from tests.io.videos import numbered_video, write_video

COUNT = 40
KINDS: dict[str, dict[str, object]] = {
    "a.ts": {},
    "a.mkv": {},
    "a.mp4": {"muxer_options": {"movflags": "+faststart"}},
    "fragments.mp4": {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Forty noisy frames in a container of that name."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(COUNT)]

    def made(name: str) -> bytes:
        file = folder / name
        if not file.is_file():
            write_video(file, images, **KINDS[name])  # type: ignore[arg-type]
        return file.read_bytes()

    return made


def read(address: str) -> tuple[Source, list[Frame]]:
    """All frames, with times that rise from 0."""
    with open_source(address) as source:
        frames = list(source)
    times = [frame.time for frame in frames]
    assert times[0] == 0
    assert all(math.isfinite(time) for time in times)
    assert all(later - earlier > 1e-6 for earlier, later in pairwise(times))
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return source, frames


@pytest.mark.parametrize("length", ["none", "true"])
@pytest.mark.parametrize("name", KINDS)
def test_a_whole_stream(video: Callable[[str], bytes], name: str, length: str) -> None:
    """Without a length, FFmpeg takes the end of the connection for an error."""
    with serving(Answer(video(name), length=length)) as host:
        source, frames = read(f"http://{host}/{name}")
    assert len(frames) == COUNT
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(COUNT)], abs=1e-3)
    assert (source.notes, source.broke_off) == ([], False)


@pytest.mark.parametrize("length", ["none", "true"])
@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "fragments.mp4", "a.avi"])
def test_a_stream_that_is_cut(video: Callable[[str], bytes], name: str, length: str) -> None:
    with serving(Answer(video(name), share=0.6, length=length)) as host:
        source, frames = read(f"http://{host}/{name}")
    assert COUNT // 2 <= len(frames) < 0.65 * COUNT
    assert source.broke_off
    (note,) = source.notes
    assert note.startswith(f"http://{host}/{name} broke off (the connection was closed): {len(frames)} ")


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_a_server_that_announces_too_much(video: Callable[[str], bytes], name: str) -> None:
    with serving(Answer(video(name), length="lie")) as host:
        source, frames = read(f"http://{host}/{name}")
    assert len(frames) == COUNT
    assert source.broke_off
    assert "broke off (the connection was closed): 40 " in source.notes[0]


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_a_connection_that_is_reset(video: Callable[[str], bytes], name: str) -> None:
    answer = Answer(video(name), share=0.9, length="true", reset=True)
    with serving(answer) as host, suppress(UserError):  # the reset may overtake all that was sent
        source, frames = read(f"http://{host}/{name}")
        assert 0 < len(frames) < COUNT
        assert source.broke_off
        assert len(source.notes) == 1


def test_a_camera_of_single_images() -> None:
    """multipart/x-mixed-replace, as cameras serve their pictures; the last one is cut off in the middle."""
    image = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(image)
    data = (part + image + b"\r\n") * 12 + part + image[: len(image) // 2]
    headers = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
    with serving(Answer(data, headers=headers)) as host:
        _, frames = read(f"http://{host}/video")
    assert len(frames) in (12, 13)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(b"", status=404), "404"),
        (Answer(b"", status=500), "5XX"),
        (Answer(b""), "closed the connection at once"),
        (Answer(b"<html><body>Please sign in</body></html>" * 2000, length="true"), "not a video"),
        (Answer(b"#EXTM3U\n#EXTINF:4,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", length="true"), ""),
        (Answer(b"", status=302, headers={"Location": "http://u:s3cr3t@127.0.0.1:9/x?s3cr3t"}), "refused"),
        (Answer(b"", status=302, headers={"Location": "file:///etc/hostname"}), ""),
    ],
)
def test_answers_without_video_are_refused(answer: Answer, message: str) -> None:
    with serving(answer) as host, pytest.raises(UserError, match=message) as refused:
        read(f"http://user:s3cr3t@{host}/x.ts?token=s3cr3t")
    shown = f"{refused.value!r} {refused.value.__cause__!r}"
    assert f"http://{host}/x.ts" in shown
    assert "s3cr3t" not in shown


def test_a_stream_too_short_for_one_frame(video: Callable[[str], bytes]) -> None:
    with (
        serving(Answer(video("a.mkv"), share=0.01)) as host,
        pytest.raises(UserError, match=r"no frame of http://127.* decoded: the connection was closed"),
    ):
        read(f"http://{host}/a.mkv")


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([5.0, 5.25, 5.5], [0, 0.25, 0.5]),
        ([None, None, None], [0, 0.04, 0.08]),
        ([None, 7.0, 7.5], [0, 0.04, 0.54]),
        ([0.0, 0.5, 0.5, 0.5, 1.0], [0, 0.5, 0.54, 0.58, 1.0]),
        ([0.0, 0.5, 0.1, math.nan, math.inf, 0.9], [0, 0.5, 0.54, 0.58, 0.62, 0.9]),
        ([0.0, 1e18, 0.1], [0, 0.04, 0.1]),
        ([0.0, -1e18, 1e-9], [0, 0.04, 0.08]),
        ([math.nan, 3.0], [0, 0.04]),
        (
            [0.0, 0.5, 0.0, 0.1, 0.3, 0.8],
            [0, 0.5, 0.54, 0.64, 0.84, 1.34],
        ),  # another segment begins, and keeps its pace
        ([0.0, 0.5, 0.0, 0.1, 2.0], [0, 0.5, 0.54, 0.64, 2.54]),  # a gap in it, too, is by its own stamps
        ([0.0, 0.5, 0.0, 0.6], [0, 0.5, 0.54, 0.6]),  # one wrong stamp
        ([3.0, 3.0, 3.0], [0, 0.04, 0.08]),
        ([0.0, 1 / 90_000, 2 / 90_000], [0, 0.04, 0.08]),  # a tick each, as writers bend equal ones
    ],
)
def test_times(stamps: list[float | None], times: list[float]) -> None:
    clock = _Times(Fraction(25), Fraction(1, 90_000), MAX_GAP)
    assert [clock.of(i, stamp) for i, stamp in enumerate(stamps)] == pytest.approx(times)


@pytest.mark.parametrize(
    ("keys", "damaged"),
    [
        ("K..?K....", False),  # a segment begins after the packet that is marked
        ("K..?.K...", False),
        ("K..?..K..", True),  # too late for a joint
        ("KKK!KKKKK", True),  # in a video of key frames only, the next one says nothing
        ("K..?", True),
    ],
)
def test_lost_packets_that_no_joint_explains(keys: str, damaged: bool) -> None:
    joints = _Joints(Fraction(1, 25), MAX_GAP)
    for dts, kind in enumerate(keys):
        packet = SimpleNamespace(is_keyframe=kind in "K!", is_corrupt=kind in "?!", dts=dts)
        joints.add(packet)
    assert joints.damaged == damaged


def test_frames_that_the_decoder_held_keep_their_time_stamps(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 500, 510, 1000, 1900]
    video = numbered_video(tmp_path / "v.mkv", 7, times=stamps, time_base=Fraction(1, 1000))
    with serving(video) as host:
        _, frames = read(f"http://{host}/v.mkv")
    assert [frame.time for frame in frames] == pytest.approx([stamp / 1000 for stamp in stamps])


def test_a_frame_in_an_hour(tmp_path: Path) -> None:
    _, frames = read(str(numbered_video(tmp_path / "slow.mp4", 4, rate=Fraction(1, 3600))))
    assert [frame.time for frame in frames] == pytest.approx([0, 3600, 7200, 10800])


def test_frames_of_one_time_stamp(tmp_path: Path) -> None:
    """In whole files, too."""
    numbered_video(tmp_path / "v.mkv", 6, times=[0, 40, 80, 81, 81, 81], time_base=Fraction(1, 1000))
    _, frames = read(str(tmp_path / "v.mkv"))
    assert len(frames) == 6
