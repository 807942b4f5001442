"""``memotr score`` and ``memotr compare`` as users call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memotr.cli import main
from memotr.evaluation.scoring import evaluate
from tests.evaluation.generated import write_split

NAMES = ("MOT17-02", "MOT17-04")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def memotr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command: exit code, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memotr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_split(tmp_path, NAMES, frames=10)


def test_score_and_compare(memotr: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    gt, results = folders
    for name in ("a", "b"):
        code, out, errors = memotr("score", gt, results, "--output", tmp_path / name, "--workers", "2")
        assert (code, errors) == (0, "")
        assert "combined" in out
        assert "metrics.json" in out
    content = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert content["combined"] == evaluate(gt, results).combined
    assert content["source"]["results"] == str(results)
    code, out, errors = memotr(
        "compare", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "c", "--resamples", "100"
    )
    assert (code, errors) == (0, "")
    assert "b and a do not differ in HOTA." in out
    assert (tmp_path / "c" / "compare.png").is_file()


def test_options_reach_their_places(memotr: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    gt, results = folders
    (tmp_path / "map.txt").write_text("name\nMOT17-02\n")
    (results / "MOT17-04.txt").unlink()
    left_out = f"memotr: note: {tmp_path}/map.txt: does not name 1 of the sequences in {gt}: left out\n"
    for options, note in ((["--seqmap", tmp_path / "map.txt"], left_out), (["--sequences", "*-02"], "")):
        code, out, errors = memotr("score", gt, results, *options)
        assert (code, errors) == (0, note)
        assert "MOT17-04" not in out
    code, out, errors = memotr("score", gt, results, "--allow-missing")
    assert code == 0
    assert errors == "memotr: note: sequences without results, scored as empty: MOT17-04\n"


@pytest.mark.parametrize("options", [[], ["--half"], ["--split", "test"], ["--workers", "0", "--allow-missing"]])
def test_one_line_and_exit_code_2(memotr: Command, folders: tuple[Path, Path], options: list[str]) -> None:
    gt, results = folders
    (results / "MOT17-04.txt").unlink()
    code, out, errors = memotr("score", gt, results, *options)
    assert (code, out) == (2, "")
    assert errors.startswith("memotr: ")
    assert errors.count("\n") == 1


def test_compare_refuses_folders_without_scores(memotr: Command, tmp_path: Path) -> None:
    code, _, errors = memotr("compare", tmp_path, tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "no metrics.json" in errors


@pytest.mark.parametrize("option", ["--seed=-1", "--resamples=0"])
def test_numbers_that_nothing_can_be_drawn_with(memotr: Command, folders: tuple[Path, Path], option: str) -> None:
    code, _, errors = memotr("compare", *folders, option)
    assert code == 2
    assert f"Invalid value for '{option.partition('=')[0]}'" in errors


def with_module(folder: Path, text: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that finds another cv2."""
    folder.mkdir(exist_ok=True)
    (folder / "cv2.py").write_text(text)
    command = [sys.executable, "-m", "memotr", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_opencv_for_desktops_on_a_server(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Where trackeval's opencv-python has replaced the headless one and libGL is missing, one command mends it."""
    missing = "libGL.so.1: cannot open shared object file: No such file or directory"
    done = with_module(tmp_path / "broken", f"raise ImportError({missing!r})", "score", *folders)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install --force-reinstall --no-deps opencv-python-headless" in done.stderr
    assert "Traceback" in with_module(tmp_path / "broken", "raise ImportError('why')", "score", *folders).stderr
