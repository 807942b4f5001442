"""Writer of SynthDance data sets in DanceTrack's layout. Folders of sequences are complete or absent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import yaml

from memotr.consoles import SafeConsole, progress_bar
from memotr.data.formats.dataset_format import DATASET_FILE
from memotr.data.synth import SEQUENCE, SETTINGS_FILE
from memotr.data.synth.dance_scene import Annotation, make_scene
from memotr.data.synth.settings import CLASSES, FPS, SynthSettings
from memotr.documents import DocumentError, on_one_line, read_yaml
from memotr.errors import UserError
from memotr.files import LOCK, hold_folder, replacing, replacing_folder
from memotr.processes import available_processors, process_pool, uninterrupted

GENERATOR = 2
"""Version of the generator. Increase it whenever the same settings give different pictures."""
JPEG_QUALITY = 90


def generate(
    output: Path, settings: SynthSettings, workers: int | None = None, progress: SafeConsole | None = None
) -> int:
    """Write a data set. Complete sequences of an interrupted run are kept.

    Args:
        output: folder that is new, empty, or begun with the same settings.
        settings: settings of the data set.
        workers: number of processes; 1: this process; None: one per processor. More than one require an importable main
            module (``if __name__ == "__main__":``).
        progress: console for a progress bar; None: no bar.

    Returns:
        Number of sequences that this call has written.

    Raises:
        UserError: the folder contains something else or cannot be written.
    """
    try:
        _refuse_other(output, settings)
        with hold_folder(output):
            _refuse_other(output, settings)  # again, because another process may have begun a data set meanwhile
            _prepare(output, settings)
            missing = [job for job in _jobs(settings) if not (output / job[0] / sequence_name(*job)).is_dir()]
            done = _write_all(output, settings, missing, available_processors() if workers is None else workers)
            with progress_bar(progress) as bar:
                for _ in bar.track(done, len(missing), description="writing"):
                    pass
    except OSError as error:
        raise UserError(f"cannot write {error.filename or output}: {error.strerror or error}") from error
    return len(missing)


def sequence_name(split: str, index: int) -> str:
    """Return the name of sequence ``index``, from 0, of a split, such as ``synthdance_train_0001``."""
    return f"{SEQUENCE}{split}_{index + 1:04d}"


def write_sequence(output: Path, settings: SynthSettings, split: str, index: int) -> None:
    """Write the folder of a sequence, which gets its name only when it is complete."""
    name = sequence_name(split, index)
    with replacing_folder(output / split / name) as draft:
        _fill(draft, name, settings, split, index)


def _fill(draft: Path, name: str, settings: SynthSettings, split: str, index: int) -> None:
    (draft / "img1").mkdir()
    (draft / "gt").mkdir()
    scene = make_scene(settings, split, index)
    rows = []
    for t in range(len(scene)):
        image, annotations = scene.frame(t)
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (draft / "img1" / f"{t + 1:08d}.jpg").write_bytes(data.tobytes())
        rows += [_row(t + 1, annotation) for annotation in annotations]
    height, width = settings.size
    info = {"name": name, "imDir": "img1", "frameRate": FPS, "seqLength": len(scene)}
    info |= {"imWidth": width, "imHeight": height, "imExt": ".jpg"}
    _write_lines(draft / "gt" / "gt.txt", rows)
    _write_lines(draft / "seqinfo.ini", ["[Sequence]", *(f"{key}={value}" for key, value in info.items())])


def _refuse_other(output: Path, settings: SynthSettings) -> None:
    """Raise UserError if the folder contains anything but this data set."""
    file = output / SETTINGS_FILE
    if file.is_file():
        _compare(file, _content(settings))
    elif output.exists() and (not output.is_dir() or any(found.name != LOCK for found in output.iterdir())):
        raise UserError(f"{output}: exists and is not a SynthDance data set (no {SETTINGS_FILE}); choose a new folder")


def _prepare(output: Path, settings: SynthSettings) -> None:
    """Write all files except the sequences. The seqmaps come first, so that readers refuse an unfinished data set."""
    for split, count in settings.splits.items():
        (output / split).mkdir(parents=True, exist_ok=True)
        names = [sequence_name(split, index) for index in range(count)]
        _replace(output / f"{split}_seqmap.txt", ["name", *names])
    classes = {"format": "mot", "classes": list(CLASSES[: settings.classes])}
    _replace(output / DATASET_FILE, yaml.safe_dump(classes, sort_keys=False).splitlines())
    _replace(output / SETTINGS_FILE, yaml.safe_dump(_content(settings), sort_keys=False).splitlines())


def _content(settings: SynthSettings) -> dict[str, Any]:
    plain = asdict(settings) | {"size": list(settings.size), "figures": list(settings.figures)}
    return {"generator": GENERATOR} | plain | {"splits": dict(settings.splits)}


def _compare(file: Path, content: dict[str, Any]) -> None:
    """Raise UserError if the data set in the folder was begun with other settings."""
    try:
        found = read_yaml(file)
    except DocumentError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: not readable as settings of SynthDance; choose a new folder")
    for key, value in content.items():
        if found.get(key) != value:
            message = f"this data set was made with {key} {on_one_line(str(found.get(key)))}, not {value}"
            raise UserError(f"{file}: {message}; choose a new folder, or give the same options")


def _jobs(settings: SynthSettings) -> list[tuple[str, int]]:
    return [(split, index) for split, count in settings.splits.items() for index in range(count)]


def _write_all(output: Path, settings: SynthSettings, jobs: list[tuple[str, int]], workers: int) -> Iterator[None]:
    """Write sequences, and yield after each of them, in any order."""
    if workers < 1:
        raise UserError(f"{workers} workers: at least one is needed")
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            write_sequence(output, settings, *job)
            yield
        return
    # One OpenCV thread per process, because the processes already use all processors.
    with process_pool(min(workers, len(jobs)), partial(cv2.setNumThreads, 1)) as pool:
        try:
            with uninterrupted():
                begun = [pool.submit(write_sequence, output, settings, *job) for job in jobs]
            for future in as_completed(begun):
                future.result()
                yield
        except BrokenProcessPool as error:
            raise UserError("a worker was killed, perhaps for lack of memory; --workers 1 needs the least") from error


def _row(frame: int, annotation: Annotation) -> str:
    left, top, width, height = annotation.box
    place = f"{left:g},{top:g},{width:g},{height:g}"
    return f"{frame},{annotation.id},{place},1,{annotation.label + 1},{annotation.visibility:.3f}"


def _replace(file: Path, lines: list[str]) -> None:
    """Write lines to a file. An existing file is replaced only by a complete one."""
    with replacing(file) as draft:
        _write_lines(draft, lines)


def _write_lines(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
