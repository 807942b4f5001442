"""Output files of a tracked source."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from memotr.addresses import is_address, without_secrets
from memotr.errors import UserError
from memotr.files import hold_file
from memotr.io.frames import Source
from memotr.io.jsonl import JsonLinesSink
from memotr.io.mot import MotSink
from memotr.io.mp4 import VideoSink
from memotr.io.sinks import Sink


def open_outputs(source: Source, folder: Path, *, video: bool = True, audio: bool = True) -> list[Sink]:
    """Open sinks for ``folder/<source name>``: ``.txt`` (MOTChallenge), ``.jsonl`` and optionally annotated ``.mp4``.

    Files of an earlier run with the same name are replaced when the sinks are closed.

    Args:
        source: open source.
        folder: folder of the files.
        video: write the annotated video.
        audio: keep the sound of the source in it.

    Raises:
        UserError: the folder cannot be written, or the annotated video would replace the source itself.
    """
    if is_address(str(folder)):  # it may contain a password
        raise UserError(f"{without_secrets(str(folder))} is an address; choose a folder for the results")
    text, lines, annotated = _paths(folder, source.name)
    if video and source.file is not None and annotated.resolve() == source.file.resolve():
        raise UserError(f"the annotated video would replace the source {source.file}; choose another output folder")
    with ExitStack() as opened:
        sinks: list[Sink] = [opened.enter_context(MotSink(text)), opened.enter_context(JsonLinesSink(lines))]
        if video:
            sound = source.sound if audio else None
            sink = VideoSink(annotated, fps=source.fps, pixel_aspect=source.pixel_aspect, sound=sound)
            sinks.append(opened.enter_context(sink))
        opened.pop_all()  # all sinks are open: do not close them here
    return sinks


def check_outputs(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if another process is writing the results of a source with one of these names."""
    for name in names if folder.is_dir() else ():
        for path in _paths(folder, name):
            with hold_file(path):
                pass


def _paths(folder: Path, name: str) -> list[Path]:
    """Return the paths of text, JSON lines and video; suffixes are appended, because the name may contain dots."""
    return [folder / f"{name}{ending}" for ending in (".txt", ".jsonl", ".mp4")]
