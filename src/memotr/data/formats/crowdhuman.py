"""CrowdHuman: ``annotation_{train,val}.odgt``, one JSON object per line, and ``images/{train,val}/*.jpg``.

Training turns these still images into clips by shifting them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memotr.data.annotations import AnnotationTable, Origin
from memotr.data.formats.coco_video import numbers
from memotr.data.formats.dataset_format import DatasetFormat, SplitRequest
from memotr.data.formats.frame_files import images_in
from memotr.data.formats.mot_text import MOT_RESULTS
from memotr.data.problems import Problems
from memotr.data.sequences import Recording
from memotr.documents import DocumentError, on_one_line, parse_json, read_text

PERSON = {0: "person"}


class CrowdHuman(DatasetFormat):
    """CrowdHuman: one annotation file and one image folder per split."""

    name = "crowdhuman"
    rules = "mot"
    scored = False
    layout = "annotation_<split>.odgt with images/<split> (CrowdHuman)"
    results = MOT_RESULTS

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        files = sorted(root.glob("annotation_*.odgt"))
        return {file.stem.removeprefix("annotation_"): file for file in files}, "CrowdHuman: annotation_*.odgt"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        """Yield one still image per line, with the full boxes (``fbox``) of persons; ignored persons become regions."""
        folders = request.image_folders()
        images = next((folder for folder in folders if folder.is_dir()), folders[0])
        return _read(request.place, images, request, problems)


def _read(annotations: Path, images: Path, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
    files = {name.rpartition(".")[0]: images / name for name in images_in(images)}
    if not files:
        problems.error(images, f"no images in this folder; copy the images of {annotations.name} there")
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
            problems.error(annotations, f"image {on_one_line(name)} is already annotated on an earlier line", number)
        elif problems.rejects_name(annotations, "image", name, number):
            pass
        elif name not in files:
            problems.error(annotations, f"no image {images / name}.jpg", number)
        elif request.selects(name):
            yield _still(record, annotations, number, files[name], problems)
        seen.add(name)
    unannotated = len(files.keys() - seen)
    if unannotated:
        problems.note(images, f"{unannotated:,} images are not in {annotations.name}: left out")


def _record(line: str, file: Path, number: int, problems: Problems) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        record = parse_json(line, file)
    except DocumentError as error:
        problems.unreadable(file, error, number)
        return None
    has_id = isinstance(record, dict) and isinstance(record.get("ID"), str)
    if not has_id or not _is_box_list(record.get("gtboxes")):
        problems.error(file, 'expected {"ID": "…", "gtboxes": [{"tag": "person", "fbox": […], …}, …]}', number)
        return None
    return dict(record)


def _is_box_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(box, dict) for box in value)


def _still(record: dict[str, Any], file: Path, number: int, image: Path, problems: Problems) -> Recording:
    ids, xywh, ignored = [], [], []
    for k, box in enumerate(record["gtboxes"]):
        if box.get("tag", "person") != "person":
            continue
        extra = box.get("extra")
        ignore = isinstance(extra, dict) and extra.get("ignore") == 1
        full = numbers(box.get("fbox"), 4)
        if full is None:
            if not ignore:
                message = f"gtboxes[{k}] has no fbox of four numbers [left, top, width, height]"
                problems.error(file, message, number)
            continue
        ids.append(k)
        xywh.append(full)
        ignored.append(ignore)
    boxes = np.array(xywh, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    zeros = np.zeros(len(ids), np.int64)
    table = AnnotationTable.from_columns(
        zeros, ids, zeros, boxes, Origin.from_lines(file, zeros + number), regions=np.array(ignored, np.bool_)
    ).checked(problems)
    return Recording(
        record["ID"], file, (image,), np.zeros(1, np.int64), range(1), table, PERSON, folder=image.parent, still=True
    )
