"""Video files, streams and cameras as frames, decoded by FFmpeg (PyAV)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import av.container
import av.error
import av.video.frame
import av.video.stream
import cv2
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import Type as SideData
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.io.frames import DEFAULT_FPS, Frame, Selection, Source

# Sound files, too, may count a frame or two that is never shown (placeholders of packed B-frames).
LOST_FRAMES_ALLOWED = 2
# For containers that say how long a video is but not how many frames it has.
LOST_SECONDS_ALLOWED = 0.5
LOST_SHARE_ALLOWED = 0.05


class VideoSource(Source):
    """Whatever FFmpeg can decode: audio is ignored, rotation applied, damage passed over and noted.

    Frames with irregular time stamps are taken as they come, one by one: ``Frame.time`` is their true time and ``fps``
    the average rate. Frames before the start are decoded and dropped, because seeking does not count frames.

    Raises:
        UserError: there is no video in the container, or not one frame can be decoded.
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
    ) -> None:
        """Args: place: the file or address, for messages."""
        if not container.streams.video:
            raise UserError(f"there is no video in {place}")
        self._container = container
        self._stream = container.streams.video[0]
        self._stream.thread_type = "SLICE" if live else "AUTO"  # frames decoded side by side come late
        self._rate = _frame_rate(self._stream)
        exact = bool(self._stream.frames)
        super().__init__(name, kind, self._rate, None if live else self._count(), selection, exact=exact)
        self.live = live
        self._place = place
        self._harmed = False  # something in the container could not be decoded
        self._damaged = 0  # frames that could, but not wholly
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise UserError(f"no frame of {place} can be decoded: it is damaged, or cut short at its very beginning")
        self._orientation = Orientation.of(self._first)
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.pixel_aspect = 1 / aspect if self._orientation.transpose else aspect

    def __iter__(self) -> Generator[Frame, None, None]:
        if self._first is None:
            raise RuntimeError("a video is read once; open it again to read it again")
        frames = enumerate(chain([self._first], self._decoded))
        beginning, self._first = self._first.time or 0.0, None
        index, end = 0, 0.0
        for index, frame in frames:
            if self.selection.passed(index):
                return
            seconds = index / float(self._rate) if frame.pts is None else frame.time - beginning
            end = seconds + float(frame.duration * frame.time_base if frame.time_base else 0)
            if index in self.selection:
                image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)  # (H, W, 3)
                yield Frame(index, self._orientation.apply(image), seconds)
        self._look_for_loss(index + 1, end)
        if index < self.selection.start:
            raise UserError(
                f"{self._place} ends after {index + 1} frames; start {self.selection.start} is behind the last"
            )

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[av.video.frame.VideoFrame]:
        """Every frame that can be had, in the order of display. Damage is counted and passed over."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:  # the last packet was an empty one, which brings out what the decoder still holds
                return
            except av.error.BlockingIOError:  # a camera that has no new frame yet
                time.sleep(0.002)
                packets = self._container.demux(self._stream)
                continue
            except av.error.FFmpegError as error:
                silent = isinstance(error, av.error.ExitError)  # how a network timeout shows
                reason = "no more data came" if silent else error.strerror
                self.notes.append(f"reading {self._place} stopped before its end: {reason}")
                yield from self._frames_of(None)
                return
            yield from self._frames_of(packet)

    def _frames_of(self, packet: Packet[av.video.stream.VideoStream] | None) -> list[av.video.frame.VideoFrame]:
        self._harmed |= packet is not None and packet.is_corrupt
        try:
            frames = self._stream.decode(packet)
        except av.error.FFmpegError:
            self._harmed = True
            return []
        self._damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _count(self) -> int | None:
        """Frames in the container: exact where it says so, else estimated from its duration; None without either."""
        if self._stream.frames:
            return self._stream.frames - sum(entry.is_discard for entry in self._stream.index_entries)  # by edit lists
        seconds = self._seconds() or (self._container.duration or 0) / av.time_base
        return round(seconds * self._rate) or None

    def _seconds(self) -> float | None:
        """Duration of the video alone, as the container gives it."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        text = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
        if text:
            hours, minutes, seconds = text.groups()
            end = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            return max(0.0, end - self._beginning())  # it is counted from 0, wherever the video begins
        return None

    def _beginning(self) -> float:
        """Time stamp of the first frame in seconds, as far as the container says."""
        stream = self._stream
        if stream.start_time is not None and stream.time_base:
            return float(stream.start_time * stream.time_base)
        return (self._container.start_time or 0) / av.time_base

    def _look_for_loss(self, read: int, end: float) -> None:
        """Notes whether the video stopped before its announced end, or was damaged on the way."""
        if self.live:
            return
        announced = self._count() if self._stream.frames else None
        seconds = self._seconds()
        if announced is not None:
            lost = announced - read > LOST_FRAMES_ALLOWED
        else:
            allowed = max(LOST_SECONDS_ALLOWED, LOST_SHARE_ALLOWED * (seconds or 0.0))
            lost = seconds is not None and seconds - end > allowed
        if not lost and not self._harmed and not self._damaged:
            return
        total = f" of {announced}" if announced is not None else ""
        span = f", {end:.1f} of {seconds:.1f} seconds" if lost and announced is None else ""
        harm = f", {self._damaged} of them damaged" if self._damaged else ""
        self.notes.append(f"{self._place} is damaged or cut short: {read}{total} frames could be read{span}{harm}")


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned to stand upright: transposed first, then mirrored left-right and top-bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: av.video.frame.VideoFrame) -> Orientation:
        """From the display matrix of a frame; turns by other angles than quarters are left alone.

        The matrix maps stored (x, y) to shown (a·x + c·y, b·x + d·y).
        """
        (a, b), (c, d) = _display_matrix(frame)
        if not math.isclose(max(abs(a), abs(c)), 1, abs_tol=0.01):
            return cls()
        if abs(a) > abs(c):
            return cls(mirror_x=a < 0, mirror_y=d < 0)
        return cls(transpose=True, mirror_x=c < 0, mirror_y=b < 0)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as stored → (H, W, 3), or (W, H, 3) if transposed."""
        if self.transpose:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.mirror_x or self.mirror_y:
            axis = -1 if self.mirror_x and self.mirror_y else int(self.mirror_x)
            image = np.asarray(cv2.flip(image, axis), np.uint8)
        return image


def _display_matrix(frame: av.video.frame.VideoFrame) -> NDArray[np.float64]:
    """(2, 2) rows (a, b), (c, d); the identity where a frame has none."""
    try:
        side_data: Any = frame.side_data  # a mapping by kind, although PyAV declares it as one of motion vectors only
        stored = side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # PyAV refuses to list side data that it has no name for; the rotation it still tells
        angle = math.radians(frame.rotation)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if stored is None:
        return np.eye(2)
    matrix = np.frombuffer(stored, np.int32).reshape(3, 3)  # 16.16 fixed point
    return matrix[:2, :2] / np.float64(1 << 16)


def _frame_rate(stream: av.video.stream.VideoStream) -> Fraction:
    """Average frames per second; containers without a rate of their own give 0 or their clock's 90,000."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return Fraction(rate).limit_denominator(1001)  # 30000/1001 stays what it is
    return DEFAULT_FPS
