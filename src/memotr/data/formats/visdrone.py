"""VisDrone multi-object tracking: ``annotations/<seq>.txt`` and ``sequences/<seq>/*.jpg`` in a folder of each split.

Annotations: ``frame, id, left, top, width, height, score, category, truncation, occlusion``; rows with score 0 are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from memotr.data.annotations import AnnotationTable
from memotr.data.formats.dataset_format import WHOLE, DatasetFormat, SplitRequest
from memotr.data.formats.frame_files import list_frames, subfolders
from memotr.data.formats.mot_text import CLASS, MARK, MOT_RESULTS, read_values, visdrone_table
from memotr.data.problems import Problems
from memotr.data.sequences import Recording


class VisDrone(DatasetFormat):
    """VisDrone: sequences and annotations in parallel folders."""

    name = "visdrone"
    layout = "<split>/sequences/<sequence> with <split>/annotations (VisDrone)"
    results = MOT_RESULTS
    rules = "visdrone"
    options = frozenset({"classes"})
    numbered = True

    def splits(self, root: Path) -> tuple[Mapping[str, Path], str]:
        if _is_split(root):
            return {WHOLE: root}, "VisDrone: sequences and annotations"
        found = {folder.name.partition("MOT-")[2] or folder.name: folder for folder in subfolders(root)}
        splits = {name: folder for name, folder in found.items() if _is_split(folder)}
        return splits, f"VisDrone: sequences and annotations in {', '.join(f.name for f in splits.values())}"

    def read(self, request: SplitRequest, problems: Problems) -> Iterator[Recording]:
        for images in subfolders(request.place / "sequences"):
            file = request.place / "annotations" / f"{images.name}.txt"
            if not request.selects(images.name) or problems.rejects_name(images.parent, "sequence", images.name):
                continue
            frames = list_frames(images)
            table = request.files.read(file, read_truth, problems) if file.is_file() else None
            annotated = 0 if table is None else int(table.frames.max(initial=0))
            last = int(frames.numbers[-1]) if len(frames) else annotated
            yield Recording(
                images.name,
                file if table is not None else images,
                frames.files,
                frames.numbers,
                range(1, last + 1),
                table,
                folder=images,
                image_folder=images,
                gapless=last == len(frames),
                length_known=len(frames) > 0,
            )


def _is_split(folder: Path) -> bool:
    return (folder / "sequences").is_dir() and (folder / "annotations").is_dir()


def read_truth(file: Path, problems: Problems) -> AnnotationTable:
    """Read ground truth; report rows whose score or category is not a whole number."""
    rows = read_values(file, problems)
    columns = rows.values.shape[1]
    if len(rows) and columns <= CLASS:
        problems.error(file, f"found {columns} columns; VisDrone annotations have 10", int(rows.lines[0]))
        rows = rows[np.zeros(len(rows), np.bool_)]
    for column, name in ((MARK, "score"), (CLASS, "category")):
        if (values := rows.column(column)) is not None:
            message = f"{name} {{value}} (column {column + 1}) is not a whole number"
            rows = rows.without(~(values == np.floor(values)) | ~np.isfinite(values), column, message, problems)
    return visdrone_table(rows, problems)
