"""What the entry point makes of warnings, and of command lines that are wrong."""

from __future__ import annotations

import sys
import warnings

import pytest

import memotr
from memotr.cli import entry


def test_own_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    monkeypatch.setattr(sys, "argv", ["memotr", "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    assert warnings.formatwarning("too short: a", UserWarning, memotr.__file__, 7) == "memotr: too short: a\n"
    other = warnings.formatwarning("old", FutureWarning, "/elsewhere/library.py", 7)
    assert other.startswith("/elsewhere/library.py:7: FutureWarning: old\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trck a.mp4", "No such command 'trck'. Did you mean 'track'? (memotr --help"),
        ("track a.mp4 --chekpoint a.pth", "No such option: --chekpoint"),
        ("track", "Missing argument 'sources"),
        ("track a.mp4 --checkpoint a.pth --batch 0", "Invalid value for '--batch'"),
        ("data check", "Missing argument 'path"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(line, 2, monkeypatch, capsys).err
    assert said.lower().startswith(f"memotr: {message}".lower())
    assert said.endswith("--help says what there is)\n")
    assert said.count("\n") == 1


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", 0, monkeypatch, capsys).out == f"memotr {memotr.__version__}\n"
    said = run("--help", 0, monkeypatch, capsys).out
    assert said.index(" track ") < said.index(" train ") < said.index(" bench ")
    alone = run("", 2, monkeypatch, capsys)
    assert " track " in alone.out + alone.err


@pytest.mark.parametrize(
    ("line", "extra"), [("score a b", "eval"), ("train tiny", "train"), ("export a b.onnx", "export")]
)
def test_the_extra_that_a_command_needs(
    line: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = "onnxruntime" if extra == "export" else "scipy"

    def broken(**_options: object) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(entry, "app", broken)
    assert run(line, 2, monkeypatch, capsys).err.endswith(f"is not installed: pip install 'memotr[{extra}]'\n")


def run(
    line: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> pytest.CaptureResult[str]:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["memotr", *line.split()])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code or 0) == code
    return capsys.readouterr()
