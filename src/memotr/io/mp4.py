"""Writer of annotated video: H.264 in an MP4 that browsers can stream."""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.video.stream
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from memotr.errors import UserError
from memotr.files import Draft
from memotr.io.draw import Annotator
from memotr.io.frames import MIN_FPS, Frame
from memotr.io.sinks import Sink
from memotr.io.sound import Sound, copy_with_sound
from memotr.tracks import Tracks

# In order of preference; each build of PyAV has some of them. The settings of x264 give a sharp picture at four times
# its default speed.
ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {},
    "h264_videotoolbox": {},
    "h264_mf": {},
}
TICKS = 16  # time steps per frame at the average rate
BITS_PER_PIXEL = 0.15  # for encoders with a bit rate instead of a quality setting
BT709 = 1  # H.264's number of the HD colour space, which browsers assume
LIMITED_RANGE = 1


class VideoSink(Sink):
    """Sink for video of the frames with their tracks.

    The video has the size of the first frame, with the last row or column repeated if that is odd (4:2:0 colour needs
    even sizes). Later frames of another size are scaled and centred between black bars. Each frame is shown at its own
    time, rounded to a sixteenth of a frame, so variable frame rates and gaps (skipped images, a busy camera) are
    preserved.

    The sound of the source is copied at the end, if there is one. If that does not work, the video has none and a note
    gives the reason.

    Args:
        path: file to write.
        fps: average rate of the written frames.
        pixel_aspect: width of a pixel divided by its height; None: square pixels.
        annotator: draws the tracks; None uses the default style.
        sound: sound of a source all of whose frames are written, see :attr:`memotr.io.frames.Source.sound`.

    Raises:
        UserError: the file cannot be written, or this build of PyAV has no H.264 encoder.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | Fraction,
        pixel_aspect: Fraction | None = None,
        annotator: Annotator | None = None,
        sound: Sound | None = None,
    ) -> None:
        if not 0 < fps < math.inf:
            raise UserError(f"fps is {fps}; expected a number of frames per second above 0")
        self.fps = max(MIN_FPS, Fraction(fps).limit_denominator(100_000))  # H.264's clock has 32 bits
        self.pixel_aspect = pixel_aspect
        self.annotator = annotator or Annotator()
        self.sound = sound
        if not any(name in av.codecs_available for name in ENCODERS):
            raise UserError(
                f"this build of PyAV has no H.264 encoder to write {path}; leave out the video (--no-video)"
            )
        super().__init__(path)
        self._container: av.container.OutputContainer | None = None
        self._stream: av.video.stream.VideoStream | None = None
        self._beginning = 0.0  # time of the first frame written
        self._last = -1  # time of the last frame in ticks

    def _write(self, frame: Frame, tracks: Tracks) -> None:
        image = self.annotator.annotate(frame.image, tracks)
        try:
            if self._container is None or self._stream is None:
                self._beginning = frame.time
                self._container, self._stream = self._open(image.shape[0], image.shape[1])
            pixels = fit(image, self._stream.height, self._stream.width)
            picture = VideoFrame.from_numpy_buffer(pixels, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED_RANGE)
            ticks = round((frame.time - self._beginning) * float(self.fps) * TICKS)
            self._last = picture.pts = max(ticks, self._last + 1)
            picture.time_base = 1 / (self.fps * TICKS)
            self._container.mux(self._stream.encode(picture))
        except av.error.FFmpegError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error

    def _open(self, height: int, width: int) -> tuple[av.container.OutputContainer, av.video.stream.VideoStream]:
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        container = av.open(f"file:{self.part}", "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream(encoder, rate=self.fps, options=ENCODERS[encoder])
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / (self.fps * TICKS)
        if not ENCODERS[encoder]:
            stream.bit_rate = round(stream.height * stream.width * self.fps * BITS_PER_PIXEL)
        if self.pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = self.pixel_aspect
        stream.color_range = LIMITED_RANGE
        stream.colorspace = stream.color_primaries = stream.color_trc = BT709
        return container, stream

    def _finish(self) -> None:
        if self._container is None or self._stream is None:
            return
        try:
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
        except av.error.FFmpegError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error
        if self.sound is not None:
            self._add_sound(self.sound)

    def _add_sound(self, sound: Sound) -> None:
        """Replace the temporary file by one with the sound, if that can be written."""
        end = float((self._last + TICKS) / (self.fps * TICKS))  # of the last frame in seconds
        if sound.limit < end:
            self.notes.append(f"{sound.file}: its sound ends at {sound.limit:.1f} s, where its time stamps jump")
        unused = self._draft
        try:
            unused = draft = Draft(self.path)
            copy_with_sound(self.part, sound, min(sound.limit, math.inf if sound.complete else end), draft.part)
            unused, self._draft, self.part = self._draft, draft, draft.part
        except UserError as error:
            self.notes.append(f"{self.path} is without the sound of {sound.file}: {error}")
        finally:
            if unused is not self._draft:
                unused.drop()

    def _salvage(self) -> bool:
        """Return whether the file is complete; an MP4 without its index at the end cannot be read."""
        if self.failure is not None and self._container is not None:
            # No more packets: muxing one after a failed write of the header crashes the process.
            with suppress(av.error.FFmpegError):
                self._container.close()
        return self.failure is None


def fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Fit an image to (height, width, 3): repeat its last row and column, or scale and centre it on black."""
    below, beside = height - image.shape[0], width - image.shape[1]
    if below == beside == 0:
        return image
    if 0 <= below <= 1 and 0 <= beside <= 1:
        return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas
