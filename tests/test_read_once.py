"""Every annotation file is opened once per command, however many of its parts need it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memotr.published import BDD100K_CLASSES
from memotr.weights.model_files import save_model
from tests.builders import tiny_model
from tests.data import layouts
from tests.evaluation.test_commands import Command, memotr  # noqa: F401 (a fixture)

ANNOTATIONS = ("gt.txt", ".json", ".odgt")

_counted: list[Counter[str]] = []  # audit hooks stay for ever: this one counts only while there is a counter


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if _counted and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _counted[-1][os.fsdecode(arguments[0])] += 1


sys.addaudithook(_count)


@contextmanager
def opens(root: Path) -> Iterator[Counter[Path]]:
    """Count how often each annotation file of a data set is opened in this process."""
    found: Counter[Path] = Counter()
    _counted.append(Counter())
    try:
        yield found
    finally:
        for name, count in _counted.pop().items():
            path = Path(name).absolute()
            if path.is_relative_to(root.absolute()) and path.name.endswith(ANNOTATIONS):
                found[path] += count


def write_data(kind: str, root: Path) -> tuple[Path, str]:
    """Write a data set; return its folder and how its annotation files are found in it."""
    if kind == "mot":
        layouts.write_dancetrack(root)
        return root / "DanceTrack", "*/*/gt/gt.txt"
    if kind == "bdd100k":
        layouts.write_bdd100k(root)
        return root / "BDD100K", "labels/box_track_20/*/*.json"
    layouts.write_coco_video(root / "coco")
    return root / "coco", "annotations/*.json"


def save_tiny(path: Path, classes: tuple[str, ...]) -> Path:
    model = tiny_model(classes=len(classes))
    small = model.config.input.model_copy(update={"short_side": 64})
    model.config = model.config.model_copy(update={"classes": classes, "input": small})
    save_model(model, path)
    return path


CLASSES = {"mot": ("person",), "bdd100k": BDD100K_CLASSES, "coco-video": ("car", "bus")}


@pytest.mark.parametrize("kind", CLASSES)
def test_score_eval_and_submit(kind: str, memotr: Command, tmp_path: Path) -> None:  # noqa: F811
    root, pattern = write_data(kind, tmp_path)
    weights = save_tiny(tmp_path / "weights.safetensors", CLASSES[kind])
    options = ("--dataset", root, "--checkpoint", weights, "--split", "val", "--output", tmp_path / "out")
    files = {path for path in root.glob(pattern) if "val" in str(path.relative_to(root))}
    assert files
    commands = {
        "eval": ("eval", *options),
        "score": ("score", root, tmp_path / "out" / "results", "--split", "val"),
    }
    if kind != "coco-video":  # which no server takes
        server = "dancetrack" if kind == "mot" else "bdd100k"
        commands["submit"] = ("submit", *options[:-1], tmp_path / "archive", "--partial", "--format", server)
    for name, command in commands.items():
        with opens(root) as found:
            code, _, errors = memotr(*command)
        assert code == 0, (name, errors)
        assert dict(found) == dict.fromkeys(files, 1), name


@pytest.mark.parametrize("kind", CLASSES)
def test_data_check(kind: str, memotr: Command, tmp_path: Path) -> None:  # noqa: F811
    root, pattern = write_data(kind, tmp_path)
    with opens(root) as found:
        memotr("data", "check", root, "--no-sheet")
    assert dict(found) == dict.fromkeys(root.glob(pattern), 1)


@pytest.mark.parametrize("kind", ["mot", "coco-video"])
def test_train_with_validation(kind: str, memotr: Command, tmp_path: Path) -> None:  # noqa: F811
    root, pattern = write_data(kind, tmp_path)
    settings = (
        f"data.train=[{{path: {root.name}, split: train, format: auto}}]",
        "training.epochs=1",
        "data.workers=0",
    )
    options = ("--data-root", root.parent, "--output", tmp_path / "run", "--device", "cpu", "--val-every", "1")
    with opens(root) as found:
        code, out, errors = memotr("train", "tiny", *settings, *options)
    assert code == 0, (out, errors)
    assert dict(found) == dict.fromkeys(root.glob(pattern), 1)
