"""Sources of video files, streams and cameras, decoded by FFmpeg (PyAV)."""

from __future__ import annotations

import errno
import math
import os
import re
import struct
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.format
import av.stream
import av.video.frame
import av.video.stream
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import Type as SideData
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import DEFAULT_FPS, MAX_FPS, Frame, Selection, Source
from memotr.io.orientation import Orientation

# Intact files may count one or two frames that are never shown (placeholders of packed B-frames).
LOST_FRAMES_ALLOWED = 2
# For containers that store the duration of a video but not its number of frames.
LOST_SECONDS_ALLOWED = 0.5
LOST_SHARE_ALLOWED = 0.05
# Per frame: twice 8K. A few bytes can announce any size, and each frame in memory has the announced size.
MAX_PIXELS = 1 << 26
# Seconds without a frame. In formats that can be concatenated (MPEG-TS, MPEG-PS, HLS) a longer gap is a joint of
# segments, as in FFmpeg. In others, such as a time lapse in an MP4, gaps of any length are genuine, and only time
# stamps beyond MAX_GAP are invalid.
MAX_GAP_WHERE_JOINED, MAX_GAP = 10.0, 1e9
TS_DISCONT: Any = av.format.Flags.ts_discont.value  # flag of these formats
RESOLUTION = 1e-6  # seconds; time stamps that differ by less are equal
# Maximum number of packets from the one that MPEG-TS marks as incomplete at a joint to the first of the next segment.
JOINT = 2
READ_TO_THE_FIRST_END = frozenset({"flv", "asf", "ivf"})
"""Formats of which FFmpeg reads only the first file, without an error, if several were joined by ``cat``."""
HEADER_LENGTH = 12  # bytes at the beginning that files of such a format have in common, and that occur nowhere else

MP4_BEGINNINGS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")  # first box of a file
PQ = 16  # H.273's number of the transfer function of HDR10 and Dolby Vision
NO_FILM = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def open_container(
    address: str,
    place: str,
    *,
    options: Mapping[str, str] | None = None,
    timeout: int | None = None,
) -> av.container.InputContainer:
    """Open a file or stream; tags that are not UTF-8 are accepted.

    Args:
        address: address for FFmpeg.
        place: address for messages, without credentials.
        options: options of FFmpeg.
        timeout: seconds without an answer or data after which reading a stream fails.

    Raises:
        UserError: FFmpeg refuses it.
    """
    try:
        return av.open(
            address,
            "r",
            options={"max_pixels": str(MAX_PIXELS), **(options or {})},
            timeout=timeout,
            metadata_errors="replace",
        )
    # FFmpeg's errors contain the address with its credentials, so they are not chained.
    except av.error.ExitError:
        raise UserError(f"cannot open {place}: no answer within {timeout} seconds") from None
    except av.error.InvalidDataError:
        raise UserError(
            f"cannot read {place}: it is not a video, or was cut short before its index was written"
        ) from None
    except av.error.FFmpegError as error:
        unreachable = timeout is not None and error.errno == errno.EIO
        reason = "the host does not exist, or it closed the connection at once" if unreachable else error.strerror
        raise UserError(f"cannot open {place}: {reason}") from None


def count_films(file: Path) -> int:
    """Return the number of MP4 files that were joined to a file by ``cat``: 1 for an ordinary MP4, 0 for other formats.

    FFmpeg silently skips all but the first, or some segments of fragmented ones.
    """
    films = 0
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        position = 0
        while position + 16 <= size:
            stream.seek(position)
            length, kind, longer = struct.unpack(">I4sQ", stream.read(16))
            if position == 0 and kind not in MP4_BEGINNINGS:
                return 0
            films += kind == b"moov"
            length = {0: size - position, 1: longer}.get(length, length)
            if length < 8:
                break
            position += length
    return films


class VideoSource(Source):
    """Source of the frames of a video that FFmpeg can decode, upright; damage is skipped and noted.

    With irregular time stamps, every frame is used: ``Frame.time`` is its true time and ``fps`` the average rate. Where
    time stamps do not increase, or segments were joined, times advance by one frame interval, and a note reports it.
    Frames before the start are decoded and dropped, because seeking does not count frames.

    Args:
        container: open container.
        name: see :class:`Source`.
        kind: see :class:`Source`.
        place: file or address for messages.
        selection: see :class:`Source`.
        live: see :class:`Source`.
        stream: number of the video stream in the container; None for the main one.

    Raises:
        UserError: there is no video in the container, no such stream, or no frame can be decoded.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        *,
        name: str,
        kind: str,
        place: str,
        selection: Selection,
        live: bool = False,
        stream: int | None = None,
    ) -> None:
        self._container = container
        self._stream, others = _choose_stream(container, place, stream)
        codec: Any = self._stream.codec_context  # None without a decoder, contrary to PyAV's declaration
        if codec is None:
            raise UserError(f"no decoder for the video in {place}; convert it to another format, such as H.264")
        if self._stream.width * self._stream.height > MAX_PIXELS:
            raise UserError(
                f"the video in {place} has {self._stream.width} x {self._stream.height} pixels; at most "
                f"{MAX_PIXELS:,} pixels per frame are supported; make it smaller"
            )
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        # Frame threads delay frames and do not always report damage.
        self._stream.thread_type = "AUTO" if kind == "video" else "SLICE"
        self._rate = _frame_rate(self._stream)
        exact = bool(self._stream.frames)
        super().__init__(name, kind, self._rate, None if live else self._count(), selection, exact=exact)
        self.live = live
        self.notes += others
        self._place = place
        longest_gap = MAX_GAP_WHERE_JOINED if container.format.flags & TS_DISCONT else MAX_GAP
        self._times = _Times(self._rate, self._stream.time_base, longest_gap)
        self._joints = _Joints(self._stream.time_base, longest_gap)
        self._undecodable = False  # a packet could not be decoded
        self._damaged = 0  # number of frames that were decoded in part
        self._position = 0  # of the last packet in the file, in bytes
        self._error: av.error.FFmpegError | None = None  # error that ended the reading
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            reason = self._reason() or (
                f"it is damaged, cut short at its very beginning, or larger than {MAX_PIXELS:,} pixels"
            )
            raise UserError(f"no frame of {place} can be decoded: {reason}")
        if codec.color_trc == PQ:
            self.notes.append(
                f"{place} is HDR video (PQ), read without tone mapping: it looks pale, and objects may be missed; "
                "convert it to SDR"
            )
        self._orientation = Orientation.of_matrix(_display_matrix(self._first))
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.pixel_aspect = 1 / aspect if self._orientation.transpose else aspect

    def __iter__(self) -> Generator[Frame, None, None]:
        if self._first is None:
            raise RuntimeError("a video can be read only once; open it again")
        frames = enumerate(chain([self._first], self._decoded))
        self._first, times = None, self._times
        index, end = 0, 0.0
        for index, frame in frames:
            if self.selection.passed(index):
                return
            seconds = times.of(index, frame.time)
            if self.sound is not None:
                self.sound.beginning, self.sound.limit = times.beginning, times.jump
            if times.broken and not self._stream.frames:
                self.frame_count = None  # the estimate is from the same time stamps
            end = seconds + float(frame.duration * frame.time_base if frame.time_base else 0)
            if index in self.selection:
                yield Frame(index, self._orientation.apply(self._pixels(index, frame)), seconds)
        if self.sound is not None:
            self.sound.complete = True
        if times.broken:
            self.notes.append(times.note(self._place))
        self._note_loss(index + 1, end)
        if self._has_another_film():
            self.notes.append(
                f"{self._place} is several files one after another, and only the first was read; join them with "
                "`ffmpeg -f concat`"
            )
        if index < self.selection.start:
            raise UserError(
                f"{self._place} ends after {index + 1} frames; start {self.selection.start} is beyond the last one"
            )

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[av.video.frame.VideoFrame]:
        """Yield all frames that can be decoded, in the order of display; count and skip damage."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:  # the last packet was empty, which flushes the decoder
                return
            except av.error.BlockingIOError:  # a camera has no new frame yet
                time.sleep(0.002)
                packets = self._container.demux(self._stream)
                continue
            except av.error.FFmpegError as error:
                self._error = error
                rest: Any = Packet()  # flushes the decoder
                rest.time_base = self._stream.time_base  # frames inherit it
                yield from self._frames_of(rest)
                return
            yield from self._frames_of(packet)

    def _frames_of(self, packet: Packet[av.video.stream.VideoStream]) -> list[av.video.frame.VideoFrame]:
        self._joints.add(packet)
        self._position = packet.pos or self._position
        try:
            frames = self._stream.decode(packet)
        except av.error.FFmpegError:
            self._undecodable = True
            return []
        self._damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _pixels(self, index: int, frame: av.video.frame.VideoFrame) -> NDArray[np.uint8]:
        """Return a frame as (H, W, 3) RGB."""
        try:
            return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except (av.error.FFmpegError, ValueError):
            reason = f"its {frame.format.name} pixels cannot be converted to RGB; convert the video"
            raise UserError(f"cannot read frame {index} of {self._place}: {reason}") from None

    def _count(self) -> int | None:
        """Return the number of frames: stored, or estimated from the duration; None without either."""
        if self._stream.frames:
            return self._stream.frames - sum(entry.is_discard for entry in self._stream.index_entries)  # by edit lists
        seconds = self._seconds() or (self._container.duration or 0) / av.time_base
        return round(seconds * self._rate) or None

    def _seconds(self) -> float | None:
        """Return the duration of the video stream from the container; None if it is not stored."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        text = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
        if text:
            hours, minutes, seconds = text.groups()
            end = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            return max(0.0, end - self._beginning())  # the stored value counts from 0, not from the first frame
        return None

    def _beginning(self) -> float:
        """Return the time stamp of the first frame in seconds from the container, or 0."""
        stream = self._stream
        if stream.start_time is not None and stream.time_base:
            return float(stream.start_time * stream.time_base)
        return (self._container.start_time or 0) / av.time_base

    def _note_loss(self, read: int, end: float) -> None:
        """Add a note if reading stopped before the announced end or frames were damaged."""
        announced = self._count() if self._stream.frames and not self.live else None
        seconds = None if self.live or self._times.broken else self._seconds()
        closed = self._closed_by_server()
        if announced is not None:
            lost = announced - read > LOST_FRAMES_ALLOWED
        else:
            allowed = max(LOST_SECONDS_ALLOWED, LOST_SHARE_ALLOWED * (seconds or 0.0))
            lost = seconds is not None and seconds - end > (LOST_FRAMES_ALLOWED / self._rate if closed else allowed)
        damaged = lost or self._undecodable or self._joints.damaged or self._damaged > 0
        self.broke_off = self._error is not None and (damaged or not closed)
        if not self.broke_off and (self.live or not damaged):
            return
        total = f" of {announced}" if announced is not None else ""
        span = f", {end:.1f} of {seconds:.1f} seconds" if lost and announced is None else ""
        partly = f", {self._damaged} of them damaged" if self._damaged else ""
        state = f"broke off ({self._reason()})" if self.broke_off else "is damaged or cut short"
        self.notes.append(f"{self._place} {state}: {read}{total} frames could be read{span}{partly}")

    def _has_another_film(self) -> bool:
        """Return whether another film follows in the file: its beginning occurs again after the last packet."""
        if self.file is None or self._container.format.name not in READ_TO_THE_FIRST_END:
            return False
        with self.file.open("rb") as stream:
            beginning = stream.read(HEADER_LENGTH)
            stream.seek(max(self._position, HEADER_LENGTH))
            end = b""
            while chunk := stream.read(2**20):
                if beginning in end + chunk:
                    return True
                end = chunk[1 - HEADER_LENGTH :]
        return False

    def _reason(self) -> str:
        """Return the reason why reading stopped, for messages."""
        error = self._error
        if isinstance(error, av.error.ExitError):  # a network timeout
            return "no more data came"
        if self.kind == "stream" and error is not None and error.errno == errno.EIO:
            return "the connection was closed"
        return "" if error is None else error.strerror or str(error.errno)

    def _closed_by_server(self) -> bool:
        """Return whether reading stopped because the server closed a connection of unknown length.

        FFmpeg reports an error, but a complete response of HTTP/1.0 ends in the same way.
        """
        if self._error is None or self._error.errno != errno.EIO or self.kind != "stream" or self.live:
            return False
        return self._container.size < 0


class _Times:
    """Times of a video's frames in seconds since the first, always finite and increasing.

    A frame without a time stamp follows one frame interval after the previous one. So does one whose time stamp does
    not increase, jumps ahead, or increases by a single tick of a clock much faster than the frames (some writers
    correct equal stamps in this way). If the next stamp does not fit the earlier ones either, but fits this one,
    segments were joined here, and times follow the new stamps.

    Args:
        rate: frames per second.
        tick: unit of the time stamps in seconds.
        longest_gap: seconds; a time stamp this far ahead is a jump.

    Attributes:
        broken: number of frames with a time stamp that does not fit.
        beginning: time stamp of the first frame in seconds.
        jump: time from which on times follow other time stamps, because segments were joined; infinity: never.
    """

    def __init__(self, rate: Fraction, tick: Fraction | None, longest_gap: float) -> None:
        self.broken = 0
        self.beginning, self.jump = 0.0, math.inf
        self._first_broken = 0
        self._rate = rate
        self._shortest = 1.5 * float(tick) if tick and 1 / rate > 2 * tick else RESOLUTION
        self._longest = longest_gap
        self._last: float | None = None
        self._offsets: list[float] = []  # time minus time stamp: as before, and since the last frame that did not fit

    def of(self, index: int, stamp: float | None) -> float:
        """Return the time of the next frame, given its number and its time stamp in seconds."""
        time = 0.0 if self._last is None else self._last + float(1 / self._rate)
        if stamp is not None and math.isfinite(stamp):
            fitting = [offset for offset in self._offsets if self._fits(stamp + offset)]
            if fitting:
                if self._last is not None and fitting[0] != self._offsets[0]:
                    self.jump = min(self.jump, self._last)
                self._offsets, time = fitting[:1], stamp + fitting[0]
            elif self._offsets:
                self._first_broken = self._first_broken if self.broken else index
                self.broken += 1
            else:
                self.beginning = stamp - time
            if not fitting:
                self._offsets = [*self._offsets[:1], time - stamp]
        self._last = time
        return time

    def note(self, place: str) -> str:
        """Return a note about the broken time stamps."""
        frames = f"{self.broken} frame{'s' * (self.broken > 1)} (first at frame {self._first_broken})"
        interval = f"one frame interval ({float(1 / self._rate):.3g} s)"
        return f"{place}: time stamps do not increase, or jump, at {frames}; there times advance by {interval}"

    def _fits(self, time: float) -> bool:
        return self._last is None or self._shortest < time - self._last < self._longest


class _Joints:
    """Search for lost packets that are not explained by joined segments.

    MPEG-TS numbers its packets, and one after a gap is marked as incomplete. Either data was lost, or another segment
    begins: with a key frame, and often with new time stamps.

    Args:
        tick: unit of the time stamps in seconds.
        longest_gap: seconds; a time stamp this far ahead begins a segment.
    """

    def __init__(self, tick: Fraction | None, longest_gap: float) -> None:
        self._tick = float(tick or 0)
        self._longest = longest_gap
        self._last: int | None = None  # time stamp of the previous packet
        self._since: int | None = None  # number of packets since the marked one
        self._key = False  # the marked packet is a key frame
        self._lost = False

    @property
    def damaged(self) -> bool:
        """True if data was lost in the packets so far."""
        return self._lost or self._since is not None

    def add(self, packet: Packet[av.video.stream.VideoStream]) -> None:
        """Add the next packet."""
        if self._since is not None:
            self._since += 1
            self._lost |= self._since > JOINT
            if packet.is_keyframe and not self._key:
                self._since = None
        if packet.is_corrupt:
            self._since, self._key = 0, packet.is_keyframe
        if packet.dts is None:
            return
        if self._last is not None and not 0 < (packet.dts - self._last) * self._tick < self._longest:
            self._since = None
        self._last = packet.dts


def _display_matrix(frame: av.video.frame.VideoFrame) -> NDArray[np.float64]:
    """Return the display matrix (2, 2) with rows (a, b), (c, d); the identity if a frame has none."""
    try:
        side_data: Any = frame.side_data  # a mapping by kind; PyAV declares it for motion vectors only
        stored = side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # PyAV cannot list side data of unknown kinds, but returns the rotation
        angle = math.radians(frame.rotation)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if stored is None:
        return np.eye(2)
    matrix = np.frombuffer(stored, np.int32).reshape(3, 3)  # 16.16 fixed point
    return matrix[:2, :2] / np.float64(1 << 16)


def _frame_rate(stream: av.video.stream.VideoStream) -> Fraction:
    """Return the average frame rate; containers without one have 0 or the rate of their clock, such as 90,000."""
    clock = 1 / stream.time_base if stream.time_base else None
    guesses = [rate for rate in (stream.guessed_rate, stream.base_rate) if rate != clock]
    for rate in (stream.average_rate, *guesses, stream.codec_context.framerate):
        if rate and 0 < rate <= MAX_FPS:
            return Fraction(rate).limit_denominator(1001) or Fraction(rate)  # keeps 30000/1001
    return DEFAULT_FPS


def _choose_stream(
    container: av.container.InputContainer, place: str, number: int | None
) -> tuple[av.video.stream.VideoStream, list[str]]:
    """Return the stream with a number, or the main one, and notes about others.

    The main stream is FFmpeg's choice, except for cover pictures and thumbnails, which in an MP4 may only show by their
    single frame.
    """
    streams = container.streams.video
    films = [stream for stream in streams if not stream.disposition & NO_FILM]
    if number is not None:
        chosen = [stream for stream in streams if stream.index == number]
        if not chosen:
            raise UserError(f"no video stream {number} in {place}; available are {_listed(streams) or 'none'}")
        return chosen[0], []
    if not films:
        raise UserError(f"no video in {place}{', only a cover picture' * bool(streams)}")
    films = [stream for stream in films if stream.frames != 1] or films
    best = container.streams.best("video")
    if best not in films:
        best = max(films, key=lambda stream: math.prod(_size(stream)))
    if len(films) == 1:
        return best, []
    note = f"{place} has several video streams, {_listed(films)}: stream {best.index} is used"
    return best, [f"{note}; choose another with --stream"]


def _listed(streams: Iterable[av.video.stream.VideoStream]) -> str:
    return ", ".join("{} ({} x {})".format(stream.index, *_size(stream)) for stream in streams)


def _size(stream: av.video.stream.VideoStream) -> tuple[int, int]:
    """Return width and height, (0, 0) without a decoder."""
    codec: Any = stream.codec_context
    return (0, 0) if codec is None else (codec.width, codec.height)
