"""What the entry point makes of warnings, and of command lines that are wrong."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import memotr
from memotr.cli import entry
from memotr.errors import MemotrWarning
from memotr.signals import STOP_SIGNALS


def test_own_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    monkeypatch.setattr(sys, "argv", ["memotr", "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    assert warnings.formatwarning("too short: a", MemotrWarning, "/elsewhere/script.py", 7) == "memotr: too short: a\n"
    other = warnings.formatwarning("old", FutureWarning, "/elsewhere/library.py", 7)
    assert other.startswith("/elsewhere/library.py:7: FutureWarning: old\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trck a.mp4", "No such command 'trck'. Did you mean 'track'? (see memotr --help"),
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
    assert said.endswith(" --help)\n")
    assert said.count("\n") == 1


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", 0, monkeypatch, capsys).out == f"memotr {memotr.__version__}\n"
    said = run("--help", 0, monkeypatch, capsys).out
    assert said.index(" track ") < said.index(" train ") < said.index(" bench ")
    alone = run("", 2, monkeypatch, capsys)
    assert " track " in alone.out + alone.err


@pytest.mark.parametrize(
    ("line", "extra"),
    [("score a b", "eval"), ("train tiny", "train"), ("export a b.onnx", "export"), ("eval a", "backbones")],
)
def test_the_extra_that_a_command_needs(
    line: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"export": "onnxruntime", "backbones": "transformers"}.get(extra, "scipy")

    def broken(**_options: object) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(entry, "app", broken)
    assert run(line, 2, monkeypatch, capsys).err.endswith(
        f"is required but not installed: pip install 'memotr[{extra}]'\n"
    )


def run(
    line: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> pytest.CaptureResult[str]:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["memotr", *line.split()])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code or 0) == code
    return capsys.readouterr()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied; check the permissions of"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; raise the limit of open files, for"),
        (OSError(errno.ENOSPC, "No space left on device", "a", None, "b"), "a: b: No space left on device; free some"),
        (OSError("no number"), "no number\n"),
        (MemoryError(), "out of memory; "),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out of memory; "),
    ],
)
def test_errors_of_the_operating_system_are_one_line(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "app", raising(error))
    said = run("track a", 2, monkeypatch, capsys).err
    assert said.startswith(f"memotr: {message}")
    assert said.count("\n") == 1


def test_mistakes_of_this_package_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "app", raising(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):
        run("track a", 2, monkeypatch, capsys)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "app", raising(error))
    assert run("score a b", 130, monkeypatch, capsys).err == "memotr: stopped\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize(
    ("line", "called"),
    [
        ("score a b", "memotr.evaluation.ground_truth.load_ground_truth"),
        ("compare a b", "memotr.evaluation.run_folder.read_run"),
        ("errors a", "memotr.inspection.inspect_run.inspect_run"),
        ("data check a", "memotr.data.dataset_check.check"),
    ],
)
def test_signals_stop_every_command(
    line: str,
    called: str,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def not_handled(*_arguments: object) -> None:
        raise AssertionError(f"{number.name} does not reach the command")

    usual = signal.signal(number, not_handled if number != signal.SIGINT else signal.default_int_handler)
    before = signal.getsignal(number)
    try:
        monkeypatch.setattr(called, lambda *_arguments, **_options: signal.raise_signal(number))
        run(line, 130, monkeypatch, capsys)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, usual)


@pytest.mark.parametrize(
    "line",
    [
        *("track {} --checkpoint synthdance", "track a.mp4 --checkpoint {}", "track a.mp4 --checkpoint a --config {}"),
        *("score {} .", "score . {}", "compare {} {}", "errors {}", "info {}", "info {}.pt2", "info {}.onnx"),
        *("convert {} a.safetensors", "convert synthdance {}.safetensors", "data check {}", "train {}"),
        *("train --resume {}", "train tiny --pretrained {}", "train tiny --data-root {}"),
        *("eval --checkpoint synthdance --dataset {}", "submit --checkpoint synthdance --dataset {}"),
        *("eval --watch {} --dataset .", "submit --results {} --dataset ."),
    ],
)
def test_inaccessible_paths_are_one_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is too long fails where other paths merely do not exist, as folders do that may not be entered."""
    monkeypatch.chdir(tmp_path)
    said = run(line.format(*["x" * 300] * 2), 2, monkeypatch, capsys).err
    assert said.startswith("memotr: ")
    assert said.count("\n") == 1


def raising(error: BaseException) -> Callable[..., None]:
    def app(**_options: object) -> None:
        raise error

    return app
