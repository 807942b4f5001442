"""Made-up ground truth and results with all that makes scoring hard: misses, switches, false positives, distractors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

Row = Sequence[float]

CLASSES = (
    1,
    1,
    1,
    1,
    1,
    2,
    3,
    6,
    7,
    8,
    11,
    12,
)  # of the objects; 1 are pedestrians, 2, 6, 7, 8 and 12 may be distractors


def scene(seed: int, frames: int = 40, objects: int = 12) -> tuple[list[Row], list[Row]]:
    """Ground truth (nine columns) and results (ten) of a sequence in which objects cross in a narrow place."""
    rng = np.random.default_rng(seed)
    truth: list[Row] = []
    found: list[Row] = []
    place = rng.uniform(0, 220, (objects, 2))  # (objects, 2)
    size = rng.uniform((30, 60), (50, 110), (objects, 2))
    names = rng.permutation(3 * objects)[:objects] + 1  # with gaps
    tracks = 100 + 7 * np.arange(objects)
    for frame in range(1, frames + 1):
        place += rng.normal(0, 6, place.shape)
        swap = rng.integers(objects, size=2)
        if rng.random() < 0.3:
            tracks[swap] = tracks[swap[::-1]]
        for k in range(objects):
            if (frame + 5 * k) % 31 < 4:
                continue  # gone for a while
            box = np.round([*place[k], *size[k]], 1)
            mark = 0 if k % 6 == 5 else 1
            truth.append([frame, int(names[k]), *box, mark, CLASSES[k % len(CLASSES)], round(rng.random(), 2)])
            if rng.random() < 0.85:
                noisy = box + rng.normal(0, rng.choice([1, 5, 15]), 4) * (1, 1, 0.7, 0.7)
                found.append([frame, int(tracks[k]), *np.round(noisy, 2), round(rng.random(), 3), -1, -1, -1])
        for extra in range(rng.poisson(1.5)):
            box = np.round([*rng.uniform(0, 220, 2), *rng.uniform(20, 90, 2)], 2)
            found.append([frame, 1000 + frame // 8 * 10 + extra, *box, 0.5, -1, -1, -1])
    rng.shuffle(found)  # frames in any order, as some trackers write them
    return truth, found


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(",".join(f"{value:g}" if value % 1 else f"{value:.0f}" for value in row) + "\n" for row in rows)
    )
    return path


def write_sequence(folder: Path, rows: Iterable[Row], length: int) -> Path:
    """``gt/gt.txt`` and ``seqinfo.ini`` of a sequence."""
    write_rows(folder / "gt" / "gt.txt", rows)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname={folder.name}\nimDir=img1\nseqLength={length}\n")
    return folder


def write_split(root: Path, names: Sequence[str], frames: int = 40) -> tuple[Path, Path]:
    """A folder of sequences and one of results."""
    for seed, name in enumerate(names):
        length = frames + 3 * seed
        truth, found = scene(seed, length)
        write_sequence(root / "gt" / name, truth, length)
        write_rows(root / "results" / f"{name}.txt", found)
    return root / "gt", root / "results"
