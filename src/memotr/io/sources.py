"""Opening of sources by path, camera number or address."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from memotr.addresses import is_address, without_secrets
from memotr.errors import UserError, wrong_type
from memotr.io.animations import AnimationSource
from memotr.io.camera import open_camera
from memotr.io.frames import DEFAULT_FPS, Selection, Source, frame_rate
from memotr.io.image_files import IMAGE_SUFFIXES, read_header
from memotr.io.images import open_folder, open_image
from memotr.io.sound import Sound
from memotr.io.video import VideoSource, count_films, open_container

NETWORK_TIMEOUT = 10  # seconds without an answer or data after which reading a stream fails
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt", "tcp"})
SCHEMES = LIVE_SCHEMES | {"http", "https"}


def open_source(
    source: str | os.PathLike[str] | int,
    *,
    start: int = 0,
    end: int | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    skip_bad: bool = False,
    stream: int | None = None,
    fps: float | None = None,
) -> Source:
    """Open a source of frames.

    Args:
        source: video file, image, folder of images, MOT sequence folder (``img1/``, ``seqinfo.ini``), camera number
            (0, or "0" unless a file or folder has that name), or rtsp, rtmp, udp, srt or http address.
        start: number of the first frame, from 0.
        end: number of the first frame to leave out; None for the source's end.
        stride: take every ``stride``-th frame.
        max_frames: maximum number of frames to take.
        skip_bad: skip images that cannot be read (folders only; damage in a video is always skipped).
        stream: number of the video stream in a file or stream that has several; None for the main one.
        fps: frames per second of a folder of images or of the pages of a TIFF; None: 25, or what ``seqinfo.ini`` says.

    Returns:
        A source, to be used in a ``with`` statement.

    Raises:
        TypeError: the source is of another type, such as an array: :meth:`memotr.Tracker.track` takes frames.
        UserError: there is no such source, it has no frames, or the selection of frames is empty.
    """
    selection = Selection(start, end, stride, max_frames)
    rate = None if fps is None else frame_rate(fps)
    if not isinstance(source, str | os.PathLike | int | np.integer):
        raise wrong_type("a file, folder, camera number or address (Tracker.track takes frames, too)", source)
    text, path = str(source), Path(str(source))
    shown = without_secrets(text)
    if rate is not None and is_live(text):
        raise _own_times(shown)
    if _scheme(text) in SCHEMES:
        return _open_stream(text, selection, stream)
    try:
        exists = path.exists()
    except OSError as error:  # a name that no file can have
        raise UserError(f"cannot open {shown}: {error.strerror}") from None
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if stream is not None and (path.is_dir() or (exists and is_image)):
        raise UserError(f"{shown} is not a video and has no streams; leave out --stream")
    if path.is_dir():
        return open_folder(path, selection, skip_bad=skip_bad, fps=rate)
    if exists and is_image:
        return _open_image(path, selection, rate)
    if exists and rate is not None:
        raise _own_times(shown)
    if exists:
        return _open_video(path, selection, stream)
    if is_live(text):
        camera = open_camera(int(text))
        name = live_name(text)
        return VideoSource(camera, name=name, kind="camera", place=name, selection=selection, live=True, stream=stream)
    if is_address(text):
        known = ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
        raise UserError(f"cannot open {shown}: an address begins with one of {known}")
    raise UserError(f"no file or folder {shown}; it is not a camera number or the address of a stream either")


def is_live(source: str) -> bool:
    """Return whether a source is a camera number or the address of a stream, not a file or folder."""
    is_camera = re.fullmatch("[0-9]{1,3}", source) is not None and not Path(source).exists()
    return is_camera or _scheme(source) in SCHEMES


def live_name(source: str) -> str:
    """Return the name of a camera or of the address of a stream, without credentials."""
    if _scheme(source) is None:
        return f"camera{source}"
    try:
        shown = urlsplit(without_secrets(source))
    except ValueError:  # brackets
        return "stream"
    path_name = re.sub(r"\.\w{1,5}$", "", unquote(shown.path))
    return re.sub(r"[^\w.-]+", "_", f"{shown.hostname or ''}{path_name}").strip("_.") or "stream"


def _scheme(text: str) -> str | None:
    """Return the scheme of an address in lower case; None for other texts."""
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else None


def _open_image(path: Path, selection: Selection, fps: Fraction | None) -> Source:
    """Open an image as one frame, or as a video if the file has several frames."""
    header = read_header(path) if path.is_file() else None
    if header is None or header.frames == 1:
        return open_image(path, selection, fps)
    if header.format == "TIFF":
        return AnimationSource(path, selection, fps or DEFAULT_FPS)
    if fps is not None:
        raise _own_times(str(path))
    return _open_video(path, selection, None) if header.format in ("PNG", "GIF") else AnimationSource(path, selection)


def _own_times(shown: str) -> UserError:
    return UserError(f"{shown} has time stamps of its own; --fps is for folders of images, so leave it out")


def _open_video(path: Path, selection: Selection, stream: int | None) -> VideoSource:
    # As a file: address, because FFmpeg reads "a:b.mp4" as protocol a and "-" as standard input.
    container = open_container(f"file:{path}", str(path))
    video = VideoSource(container, name=path.stem, kind="video", place=str(path), selection=selection, stream=stream)
    video.file = path
    sound = container.streams.best("audio")
    if sound is not None and selection == Selection():
        video.sound = Sound(path, sound.index)
    if path.is_file() and (films := count_films(path)) > 1:
        video.notes.append(
            f"{path} is {films} MP4 files one after another, and possibly only the first is read; join them "
            "with `ffmpeg -f concat`"
        )
    return video


def _open_stream(text: str, selection: Selection, stream: int | None) -> VideoSource:
    place = without_secrets(text)
    scheme = _scheme(text) or ""
    try:
        address = urlsplit(text)
        if not address.netloc or address.port == 0:
            raise ValueError
    except ValueError:  # brackets, or a port that is no number
        raise UserError(
            f"cannot open {place}: expected {scheme}://host/path or {scheme}://user:password@host/path; in a user name "
            "or password write / as %2F, ? as %3F, # as %23"
        ) from None
    options = {}
    if scheme.startswith("rtsp"):
        options = {"rtsp_transport": "tcp"}  # UDP loses packets
    elif scheme.startswith("http"):
        options = {"formatprobesize": "32768"}  # bytes; FFmpeg refuses streams too short to probe
    lower = f"{scheme}{text[len(scheme) :]}"  # FFmpeg knows its schemes in lower case only
    container = open_container(lower, place, options=options, timeout=NETWORK_TIMEOUT)
    name = live_name(text)
    live = scheme in LIVE_SCHEMES
    return VideoSource(container, name=name, kind="stream", place=place, selection=selection, live=live, stream=stream)
