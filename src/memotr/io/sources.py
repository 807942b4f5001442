"""From what a user types to frames: ``open_source`` finds out what the source is."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import av
import av.error

from memotr.errors import UserError
from memotr.io.camera import open_camera
from memotr.io.frames import Selection, Source
from memotr.io.image_files import IMAGE_SUFFIXES
from memotr.io.images import open_folder, open_image
from memotr.io.video import VideoSource

NETWORK_TIMEOUT = 10.0  # seconds without an answer, or without data, after which a stream is given up
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt", "tcp"})
SCHEMES = LIVE_SCHEMES | {"http", "https"}


def open_source(
    source: str | Path,
    *,
    start: int = 0,
    end: int | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    skip_bad: bool = False,
) -> Source:
    """Open whatever has frames.

    Args:
        source: a video file, an image, a folder of images, a MOT sequence folder (``img1/``, ``seqinfo.ini``), a camera
            number ("0", unless a file or folder has that name), or an rtsp, rtmp, udp, srt or http address.
        start: number of the first frame wanted, from 0.
        end: number of the first frame not wanted any more; None for the source's end.
        stride: every ``stride``-th frame is taken.
        max_frames: take no more frames than this.
        skip_bad: go on without images that cannot be read (folders only; damage in a video is always passed over).

    Returns:
        A source, to be used in a ``with`` statement.

    Raises:
        UserError: there is no such source, it holds no frames, or the choice of frames is empty.
    """
    selection = Selection(start, end, stride, max_frames)
    text, path = str(source), Path(source)
    try:
        address, exists = urlsplit(text), path.exists()
    except (ValueError, OSError) as error:  # brackets in an address; a name that no file can have
        raise UserError(f"cannot open {text}: {error}") from error
    if address.scheme in SCHEMES and address.netloc:
        return _open_stream(text, address, selection)
    if path.is_dir():
        return open_folder(path, selection, skip_bad=skip_bad)
    if exists:
        return open_image(path, selection) if path.suffix.lower() in IMAGE_SUFFIXES else _open_video(path, selection)
    if is_live(text):
        camera = open_camera(int(text))
        name = f"camera{text}"
        return VideoSource(camera, name=name, kind="camera", place=name, selection=selection, live=True)
    raise UserError(f"there is no file or folder {text}, nor is it a camera number or the address of a stream")


def is_live(source: str) -> bool:
    """Whether this names a camera, or by its form an address of a stream, not a file or folder."""
    address = urlsplit(source)
    is_address = address.scheme in SCHEMES and bool(address.netloc)
    return is_address or (bool(re.fullmatch("[0-9]{1,3}", source)) and not Path(source).exists())


def _open_video(path: Path, selection: Selection) -> VideoSource:
    try:
        # As a file: address, because FFmpeg takes "a:b.mp4" for protocol a and "-" for standard input.
        container = av.open(f"file:{path}", "r")
    except av.error.InvalidDataError as error:
        reason = "it is not a video, or was cut short before its index was written"
        raise UserError(f"cannot read {path}: {reason}") from error
    except av.error.FFmpegError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    video = VideoSource(container, name=path.stem, kind="video", place=str(path), selection=selection)
    video.file = path
    return video


def _open_stream(text: str, address: SplitResult, selection: Selection) -> VideoSource:
    # Without user name, password and query, which may hold a key: this goes into messages and file names.
    place = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    options = {"rtsp_transport": "tcp"} if address.scheme.startswith("rtsp") else {}  # over UDP packets go missing
    try:
        container = av.open(text, "r", options=options, timeout=NETWORK_TIMEOUT)
    except av.error.ExitError as error:
        raise UserError(f"cannot open {place}: no answer within {NETWORK_TIMEOUT:.0f} seconds") from error
    except av.error.FFmpegError as error:
        raise UserError(f"cannot open {place}: {error.strerror}") from error
    path_name = re.sub(r"\.\w{1,5}$", "", unquote(address.path))
    name = re.sub(r"[^\w.-]+", "_", f"{address.hostname}{path_name}").strip("_.")
    live = address.scheme in LIVE_SCHEMES
    return VideoSource(container, name=name, kind="stream", place=place, selection=selection, live=live)
