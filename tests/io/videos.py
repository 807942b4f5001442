"""Odd videos, made on the spot: frame i is grey of level 8·i, so that the first 32 tell their number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.stream
import numpy as np
from numpy.typing import NDArray

LEVEL = 8


def numbered(index: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), LEVEL * index % 256, np.uint8)


def number_of(image: NDArray[np.uint8]) -> int:
    """Which frame a decoded image is; fails on any other picture."""
    level = image.mean() / LEVEL
    assert abs(level - round(level)) < 0.35, f"not a numbered frame: level {image.mean()}"
    return round(level)


def write_video(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotate: float | None = None,
    mirror: bool = False,
    aspect: Fraction | None = None,
    audio: bool = False,
    muxer_options: dict[str, str] | None = None,
) -> Path:
    """Args: times: of the frames in time_base, instead of a constant rate."""
    with av.open(str(path), "w", options=muxer_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "1"} if codec == "libx264" else {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if rotate is not None:
            stream.set_display_rotation(rotate, hflip=mirror)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream("aac", rate=16000) if audio else None
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = time_base or 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_silence(container, sound)
    return path


def numbered_video(path: Path, count: int, *, height: int = 64, width: int = 96, **options: object) -> Path:
    return write_video(path, [numbered(i, height, width) for i in range(count)], **options)  # type: ignore[arg-type]


def two_streams(path: Path, first: tuple[str, int, int], second: tuple[str, int, int], *, cover: bool = False) -> Path:
    """Write two streams of (codec, frames, height); the frames of the first are numbered from 20."""
    with av.open(str(path), "w") as container:
        streams = []
        for codec, count, height in (first, second):
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = height, height
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
            streams.append((stream, count))
        if cover:
            streams[0][0].disposition = av.stream.Disposition.attached_pic
        for begin, (stream, count) in zip((20, 0), streams, strict=True):
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(numbered(begin + i, stream.height, stream.width), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _write_silence(container: av.container.OutputContainer, stream: av.audio.stream.AudioStream) -> None:
    for i in range(30):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, i * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
