"""Copying of the sound of a video file into its annotated video, without decoding it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
from av.packet import Packet

from memotr.errors import UserError

PREROLL = 0.1  # seconds of packets before the first frame, which decoders need and players leave out


@dataclass
class Sound:
    """Sound of a video file, and the part of it that belongs to the frames.

    Attributes:
        file: the video file.
        stream: number of its stream with the sound.
        beginning: time stamp of the first frame in seconds; set once that is read.
        limit: seconds after the first frame at which the time stamps of the video jump: the sound no longer fits.
        complete: all frames were read.
    """

    file: Path
    stream: int
    beginning: float = 0.0
    limit: float = math.inf
    complete: bool = False


def copy_with_sound(video: Path, sound: Sound, until: float, target: Path) -> None:
    """Copy a video and the sound of its source into an MP4 file, packet by packet.

    Args:
        video: video that begins at 0.
        sound: sound to add.
        until: seconds from the first frame at which the sound ends.
        target: file to write.

    Raises:
        UserError: the sound cannot be read, or an MP4 file cannot hold it. The message is a reason without the file.
    """
    try:
        with (
            closing(av.open(f"file:{video}")) as pictures,
            closing(av.open(f"file:{sound.file}", metadata_errors="replace")) as source,
            closing(av.open(f"file:{target}", "w", format="mp4", options={"movflags": "+faststart"})) as container,
        ):
            heard: Any = source.streams[sound.stream]
            if heard.codec_context is None or heard.codec_context.name not in container.supported_codecs:
                name = "of an unknown codec" if heard.codec_context is None else heard.codec_context.name
                raise UserError(f"an MP4 file cannot hold this sound ({name})")
            seen = pictures.streams.video[0]
            outputs = [container.add_stream_from_template(stream) for stream in (seen, heard)]
            container.start_encoding()
            packets = heapq.merge(
                ((_seconds(packet), 0, packet) for packet in pictures.demux(seen) if packet.dts is not None),
                ((_seconds(packet), 1, packet) for packet in _audible(source, heard, sound.beginning, until)),
                key=lambda entry: entry[:2],
            )
            for _, number, packet in packets:
                packet.stream = outputs[number]
                container.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(getattr(error, "strerror", None) or str(error)) from error


def _audible(source: av.container.InputContainer, stream: Any, beginning: float, until: float) -> Iterator[Packet[Any]]:
    """Yield the packets of the sound, with time stamps that count from ``beginning`` seconds and increase."""
    shift = round(beginning / stream.time_base)
    last = -math.inf
    for packet in source.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue  # the last one, which is empty, or a damaged one
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        start = float(packet.pts * packet.time_base)
        if start >= until:
            return
        if start >= -PREROLL and packet.dts > last:
            last = packet.dts
            yield packet


def _seconds(packet: Packet[Any]) -> float:
    assert packet.dts is not None
    return float(packet.dts * packet.time_base)
