"""The sound of a source in its annotated video: flashes and beeps come at the same time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from memotr.errors import UserError
from memotr.io.mp4 import VideoSink
from memotr.io.outputs import open_outputs
from memotr.io.sinks import close_all
from memotr.io.sources import open_source
from tests.io.results import make_tracks

FPS, RATE, SECONDS = 25, 48000, 3
EVENTS = (1.0, 2.0)  # seconds of the flashes and beeps
BEEP = 0.9 * np.sin(np.arange(RATE // 50) * 2 * np.pi * 1000 / RATE).astype(np.float32)


def write_film(path: Path, codec: str, *, video: float = 0.0, audio: float = 0.0) -> Path:
    """Write a black film with white frames and beeps at ``EVENTS``.

    Args:
        path: the file.
        codec: codec of the sound.
        video: time stamp of the first frame in seconds.
        audio: time stamp at which the sound begins.
    """
    sound = np.zeros(int((SECONDS + video) * RATE), np.float32)
    for event in EVENTS:
        sound[int(event * RATE) :][: len(BEEP)] = BEEP
    sound = sound[int(audio * RATE) :]
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 1000)
        heard = container.add_stream(codec, rate=8000 if "law" in codec else RATE)
        heard.layout = "mono"
        resampler = av.AudioResampler(heard.format, "mono", heard.rate, frame_size=heard.codec_context.frame_size)
        for k in range(SECONDS * FPS):
            time = video + k / FPS
            image = np.full((64, 96, 3), 255 if min(abs(time - event) for event in EVENTS) < 1e-6 else 0, np.uint8)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = RATE, int(audio * RATE), Fraction(1, RATE)
        for part in (*resampler.resample(samples), *resampler.resample(None)):
            container.mux(heard.encode(part))
        container.mux(heard.encode(None))
    return path


def annotate(source: Path, folder: Path, frames: int | None = None, **options: object) -> tuple[Path, list[str]]:
    """Write the annotated video of a source, or of its first frames as after Ctrl-C; return it with all notes."""
    with open_source(source, **options) as video:  # type: ignore[arg-type]
        sinks = open_outputs(video, folder)
        for number, frame in enumerate(video):
            if number == frames:
                break
            for sink in sinks:
                sink.write(frame, make_tracks([], frame=frame.index))
        close_all(sinks)
        assert [sink.path for sink in sinks if sink.finished] == [sink.path for sink in sinks]
        assert len(list(folder.iterdir())) == 3, "no temporary file is left"
        return sinks[-1].path, [*video.notes, *sinks[-1].notes]


def seen(path: Path) -> list[float]:
    """Times of the white frames."""
    with av.open(str(path)) as container:
        return [float(f.time) for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 128]


def heard(path: Path) -> tuple[list[float], float]:
    """Times of the beeps, and of the end of the sound."""
    loud, end = [np.zeros(0)], 0.0
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono")
        for frame in container.decode(audio=0):
            (part,) = resampler.resample(frame)
            start = float(part.pts * part.time_base)
            end = start + part.samples / part.sample_rate
            loud.append(start + np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.3) / part.sample_rate)
    times = np.concatenate(loud)
    return times[np.diff(times, prepend=-1) > 0.1].tolist(), end


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def has_sound(path: Path) -> bool:
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 0
        return bool(container.streams.audio)


@pytest.mark.parametrize(
    ("name", "codec", "video", "audio"),
    [
        ("a.mp4", "aac", 0, 0),
        ("a.mp4", "libmp3lame", 0, 0),
        ("a.mp4", "libopus", 0, 0),
        ("a.mkv", "libopus", 0, 0),
        ("a.mkv", "aac", 0.6, 0),
        ("a.mkv", "libopus", 0.6, 0),
        ("a.mkv", "flac", 0.2, 0.4),
        ("a.mp4", "aac", 0, 0.5),
        ("a.mp4", "aac", 0.6, 0),
        ("a.ts", "aac", 0, 0),
    ],
)
def test_the_sound_stays_in_step(tmp_path: Path, name: str, codec: str, video: float, audio: float) -> None:
    source = write_film(tmp_path / name, codec, video=video, audio=audio)
    result, notes = annotate(source, tmp_path / "out")
    assert notes == []
    assert seen(result) == pytest.approx([event - video for event in EVENTS], abs=0.002)
    beeps, end = heard(result)
    assert beeps == pytest.approx([event - video for event in EVENTS], abs=0.002)
    assert end == pytest.approx(SECONDS, abs=0.06)
    if not name.endswith("ts"):  # whose packets have headers of their own
        assert packets(result) == packets(source)[-len(packets(result)) :], "it is copied, not encoded again"


@pytest.mark.parametrize("selection", [{"start": 1}, {"end": 50}, {"stride": 2}, {"max_frames": 50}], ids=str)
def test_without_some_frames_there_is_no_sound(tmp_path: Path, selection: dict[str, int]) -> None:
    result, notes = annotate(write_film(tmp_path / "a.mp4", "aac"), tmp_path / "out", **selection)
    assert not has_sound(result)
    assert notes == []


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    with open_source(write_film(tmp_path / "a.mp4", "aac")) as video:
        sinks = open_outputs(video, tmp_path / "out", audio=False)
        for frame in video:
            sinks[-1].write(frame, make_tracks([]))
        close_all(sinks)
    assert not has_sound(sinks[-1].path)


def test_a_stopped_run_has_the_sound_of_its_frames(tmp_path: Path) -> None:
    result, notes = annotate(write_film(tmp_path / "a.mp4", "aac"), tmp_path / "out", frames=40)
    beeps, end = heard(result)
    assert beeps == pytest.approx([1.0], abs=0.002)
    assert end == pytest.approx(1.6, abs=0.03)
    assert notes == []


def test_a_codec_that_mp4_lacks_is_named(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mov", "pcm_mulaw")
    result, notes = annotate(source, tmp_path / "out")
    assert notes == [f"{result} is without the sound of {source}: an MP4 file cannot hold this sound (pcm_mulaw)"]
    assert seen(result) == pytest.approx(list(EVENTS))
    assert not has_sound(result)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_damaged_sound_leaves_the_video_alone(tmp_path: Path, share: float) -> None:
    source = write_film(tmp_path / "a.mkv", "aac")
    data, rng = bytearray(source.read_bytes()), np.random.default_rng(0)
    for packet in packets(source):
        at = data.index(packet)
        if rng.random() < share:
            data[at : at + len(packet)] = rng.bytes(len(packet))
    source.write_bytes(data)
    result, _ = annotate(source, tmp_path / "out")
    assert seen(result) == pytest.approx(list(EVENTS))
    with open_source(result) as video:
        assert len(list(video)) == SECONDS * FPS


def test_sound_that_cannot_be_written_leaves_a_silent_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_film(tmp_path / "a.mp4", "aac")

    def full(*arguments: object) -> None:
        raise UserError("No space left on device")

    monkeypatch.setattr("memotr.io.mp4.copy_with_sound", full)
    result, notes = annotate(source, tmp_path / "out")
    assert notes == [f"{result} is without the sound of {source}: No space left on device"]
    assert seen(result) == pytest.approx(list(EVENTS))


def test_a_source_that_has_gone_leaves_a_silent_video(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", "aac")
    with open_source(source) as video, VideoSink(tmp_path / "b.mp4", fps=video.fps, sound=video.sound) as sink:
        for frame in video:
            sink.write(frame, make_tracks([]))
        source.unlink()
    assert sink.notes == [f"{sink.path} is without the sound of {source}: No such file or directory"]
    assert not has_sound(sink.path)


def test_sound_ends_where_segments_are_joined(tmp_path: Path) -> None:
    """Times go on there by the frame interval, and the sound would follow time stamps of its own."""
    segment = write_film(tmp_path / "a.ts", "aac")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * segment.read_bytes())
    result, notes = annotate(joined, tmp_path / "out")
    assert notes[-1] == f"{joined}: its sound ends at 3.0 s, where its time stamps jump"
    beeps, end = heard(result)
    assert beeps == pytest.approx(list(EVENTS), abs=0.002)
    assert end == pytest.approx(3.0, abs=0.03)
    assert seen(result) == pytest.approx([*EVENTS, *(3 + event for event in EVENTS)], abs=0.01)
