"""CrowdHuman: ``annotation_{train,val}.odgt``, one JSON object a line, and ``images/{train,val}/*.jpg``.

Still images: training makes clips of them by shifting.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.formats.box_table import BoxTable
from memotr.data.formats.frame_files import images_in
from memotr.data.formats.json_files import numbers, objects
from memotr.data.formats.problems import Problems
from memotr.data.sequences import Sequence
from memotr.documents import DocumentError, on_one_line, parse_json, read_text

CLASSES = ("person",)


def read_sequences(annotations: Path, images: Path, problems: Problems) -> Iterator[Sequence]:
    """One still sequence a line of ``annotations``, with the full boxes (``fbox``) of persons not to be ignored.

    Lines whose image is not in the folder ``images`` are errors and not returned.
    """
    files = {name.rpartition(".")[0]: images / name for name in images_in(images)}
    if not files:
        problems.error(images, f"no images here, which {annotations.name} is about")
        return
    try:
        lines = read_text(annotations).split("\n")
    except DocumentError as error:
        problems.unreadable(annotations, error)
        return
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        record = _record(line, annotations, number, problems)
        if record is None:
            continue
        name = record["ID"]
        if name in seen:
            problems.error(annotations, f"image {on_one_line(name)} was annotated on an earlier line already", number)
        elif problems.refuses_name(annotations, "image", name, number):
            pass
        elif name not in files:
            problems.error(annotations, f"there is no image {images / name}.jpg", number)
        else:
            yield _still(record, annotations, number, files[name], problems)
        seen.add(name)
    others = len(files.keys() - seen)
    if others:
        problems.note(images, f"{others:,} images are not in {annotations.name}: left out")


def _record(line: str, file: Path, number: int, problems: Problems) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        record = parse_json(line, file)
    except DocumentError as error:
        problems.unreadable(file, error, number)
        return None
    known = isinstance(record, dict) and isinstance(record.get("ID"), str)
    if not known or objects(record.get("gtboxes")) is None:
        problems.error(file, 'expected {"ID": "…", "gtboxes": [{"tag": "person", "fbox": […], …}, …]}', number)
        return None
    return dict(record)


def _still(record: dict[str, Any], file: Path, number: int, image: Path, problems: Problems) -> Sequence:
    ids, xywh = [], []
    for k, box in enumerate(record["gtboxes"]):
        extra = box.get("extra")
        if box.get("tag", "person") != "person" or (isinstance(extra, dict) and extra.get("ignore") == 1):
            continue
        full = numbers(box.get("fbox"), 4)
        if full is None:
            problems.error(file, f"gtboxes[{k}] has no fbox of four numbers [left, top, width, height]", number)
            continue
        ids.append(k)
        xywh.append(full)
    boxes = np.array(xywh, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    n = len(ids)
    table = BoxTable(
        np.zeros(n, np.int64), np.array(ids, np.int64), np.zeros(n, np.int64), boxes, lambda _: (file, number)
    )
    return Sequence(record["ID"], (image,), table.by_frame(1, None, problems), CLASSES, still=True)
