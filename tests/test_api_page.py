"""The examples of docs/api.md, run in order as they stand, and public names without one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import memotr
from memotr.export import engines
from memotr.weights import named, publish
from tests.builders import tiny_model
from tests.export.builders import EagerEngine
from tests.io.videos import write_video
from tests.training.builders import write_videos

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
TESTED = (PAGE, ROOT / "README.md", ROOT / "docs" / "extending.md")  # the last two by tests of their own
SMALL = (
    "data.workers=0",
    "training.batch_sizes=[2]",
    "data.sampling.lengths=[2]",
    "data.sampling.intervals=[1]",
    "data.sampling.steps=[]",
    "data.augmentation.short_sides=[32]",
)


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def imported(code: str) -> Iterator[str]:
    """Full names of what an example imports from the package, or uses as ``memotr.name``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "memotr":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "memotr":
            yield f"memotr.{node.attr}"


def test_every_public_name_has_an_example() -> None:
    documented = {f"memotr.{name}" for name in dir(memotr)}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for code in blocks(page):
            documented |= set(imported(code))
    shown = {name for page in TESTED for code in blocks(page) for name in imported(code)}
    assert documented - shown == {"memotr.__version__"}
    assert "`memotr.__version__`" in PAGE.read_text("utf-8")


class FakeHub:
    """Repositories in a folder, in the place of those of the Hugging Face Hub."""

    def __init__(self, token: str | None = None) -> None: ...

    def create_repo(self, repo: str, **_: object) -> None:
        Path("hub", repo).mkdir(parents=True)

    def file_exists(self, repo: str, name: str) -> bool:
        return Path("hub", repo, name).is_file()

    def upload_folder(self, *, repo_id: str, folder_path: str, **_: object) -> None:
        for file in Path(folder_path).iterdir():
            Path("hub", repo_id, file.name).write_bytes(file.read_bytes())


@pytest.mark.filterwarnings("ignore:.*trained on")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(6)]
    write_video(Path("video.mp4"), images)
    Path("frames").mkdir()
    for k, image in enumerate(images[:3]):
        cv2.imwrite(f"frames/{k}.png", image)
    write_videos(Path("my_videos"))
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    monkeypatch.setattr(publish, "is_offline", lambda: False)
    monkeypatch.setattr(named, "hub_file", lambda text: Path("hub", text.removeprefix("hf://"), "model.safetensors"))
    monkeypatch.setattr(engines, "open_engine", lambda path: EagerEngine(tiny_model()))

    names: dict[str, Any] = {}
    for code in blocks(PAGE):
        code = code.replace('"dancetrack"', '"synthdance"').replace(
            '["training.epochs=1"]', repr(["training.epochs=1", *SMALL])
        )
        exec(compile(code, f"docs/api.md: {code.splitlines()[0]}", "exec"), names)
    assert len(names["everything"]) == 3
    assert names["mine"].names == ["person"]
    assert [file.name for file in names["files"]] == [
        f"{name}.{kind}" for name in ("video", "frames") for kind in ("txt", "jsonl", "mp4")
    ]
    assert all(file.is_file() for file in names["files"])
    assert names["picture"].shape == (48, 64, 3)
    assert Path("mine.jsonl").read_text().count("\n") == 6
    assert len(names["images"]) == 3
    assert type(names["detections"]).__name__ == "Detections"
    assert names["run"] == Path("runs/mine")
    assert Path("hub/me/my-tracker/README.md").is_file()
    assert names["config"].model.num_queries == 50
    assert names["sequences"][0].name == "video0001"
    assert 0 <= names["scores"].combined["HOTA"] <= 1
    assert "did you mean 'dancetrack'" in capsys.readouterr().out
    assert Path("mine.safetensors").is_file()
    assert names["exported"].frame == 1
